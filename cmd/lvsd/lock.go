package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long the processes of a daemon that was killed may take to
// be gone.
const lockPatience = time.Second

// errRuns means that a daemon runs in the runtime folder.
var errRuns = errors.New("another lvsd runs there; stop that one first")

// takeRuntime takes the runtime folder for this daemon until the file is closed,
// in this process and in those that have inherited it. A lock on a file, not the
// sockets, says whether a daemon runs: one that hangs holds it, one that has
// died does not.
func takeRuntime(runtime string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(runtime), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking the runtime folder: %w", err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EWOULDBLOCK) && time.Since(begin) < lockPatience:
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = errRuns
		}
		f.Close()
		return nil, fmt.Errorf("taking the runtime folder %s: %w", runtime, err)
	}
}
