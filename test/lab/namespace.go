package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// newNamespace makes a network namespace that lives as long as the returned file is open or a process is in it. It
// has no name in the file system, so nothing is left when this process dies.
func newNamespace() (*os.File, error) {
	runtime.LockOSThread()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer before.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if e := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); e != nil {
		// The thread stays locked and is thrown away with its goroutine; going on with it would put
		// unrelated code into the new namespace.
		return nil, fmt.Errorf("going back from a new network namespace: %w", errors.Join(e, err))
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("opening a new network namespace: %w", err)
	}
	return ns, nil
}

// inNamespace calls f on a thread that is in the namespace. Goroutines that f starts are not in it.
func inNamespace(ns *os.File, f func()) error {
	runtime.LockOSThread()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer before.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	// Deferred because a test that fails inside of f ends its goroutine there.
	defer func() {
		if unix.Setns(int(before.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread is thrown away with its goroutine
		}
	}()
	f()
	return nil
}
