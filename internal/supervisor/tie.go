package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// What a half finds open when it starts. From firstKept on there are the files
// of Options.Keep.
const (
	saysFD = 3 + iota
	ordersFD
	firstKept
)

// variable is the environment variable that tells a half about its life.
const variable = "LVSD_LIFE"

// What a half says, in one byte.
const (
	sayAlive    = '.'
	sayReady    = 'r' // it does its work
	sayReloaded = 'l' // it has read the configuration again, or refused it
)

// What a half is ordered to do, in one byte.
const (
	orderEnd    = 'e'
	orderReload = 'l'
)

const (
	// beatPeriod lies between two signs of life.
	beatPeriod = 50 * time.Millisecond

	// workLimit is how long the goroutine that does the work may be without a
	// sign of its own. It may wait for the kernel, or for the disk that a
	// configuration is read from, but not for ever.
	workLimit = 5 * time.Second

	// startLimit is workLimit before the first such sign: kernel modules are
	// loaded, a large configuration is read.
	startLimit = 30 * time.Second

	// orphanGrace is how long a half goes on after the death of its supervisor.
	// systemd kills within this time what is left of the service and starts it
	// again: a hand-over that has just begun would only disturb.
	orphanGrace = 200 * time.Millisecond
)

// Why a half ends.
var (
	ErrTold   = errors.New("told to end")
	ErrOrphan = errors.New("the supervisor has died")
)

// Process is the life of one half.
type Process struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"` // when this process was started

	// Restarts counts how often the half was started again since the daemon was
	// started, RestartedAt is when it was the last time, and Reason why.
	Restarts    int       `json:"restarts"`
	RestartedAt time.Time `json:"restarted_at,omitzero"`
	Reason      string    `json:"reason,omitempty"`
}

// life is what a supervisor tells a half about itself.
type life struct {
	Supervisor int       `json:"supervisor"` // its PID
	Started    time.Time `json:"started"`    // when it was
	Process    Process   `json:"process"`
	Kept       int       `json:"kept"` // how many files are open from firstKept on
}

// Tie connects a half with its supervisor. A nil Tie is that of a half that
// somebody has started by hand: it says nothing and gets no orders.
type Tie struct {
	life   life
	says   func(byte)
	orders *os.File
	begin  time.Time
	reload chan struct{} // one slot

	worked atomic.Int64 // the last sign of the work, in nanoseconds after begin; 0 before the first
	ending atomic.Bool  // the end may take its time
}

// Attach returns the tie of this process to its supervisor, nil if it has none.
func Attach() (*Tie, error) {
	text, supervised := os.LookupEnv(variable)
	if !supervised {
		return nil, nil
	}
	t := &Tie{begin: time.Now(), reload: make(chan struct{}, 1)}
	if err := json.Unmarshal([]byte(text), &t.life); err != nil {
		return nil, fmt.Errorf("reading %s: %w", variable, err)
	}
	// What this process starts is no half, and has nothing to say.
	if err := os.Unsetenv(variable); err != nil {
		return nil, err
	}
	for fd := range firstKept + t.life.Kept {
		if fd >= saysFD {
			syscall.CloseOnExec(fd)
		}
	}
	// A supervisor that hangs must not stop its halves.
	if err := errors.Join(syscall.SetNonblock(saysFD, true), syscall.SetNonblock(ordersFD, true)); err != nil {
		return nil, fmt.Errorf("preparing the tie to the supervisor: %w", err)
	}
	t.orders = os.NewFile(ordersFD, "orders")
	// Nothing can be done about an error: when the supervisor has died, the orders
	// end.
	t.says = func(b byte) { _, _ = syscall.Write(saysFD, []byte{b}) }
	return t, nil
}

// Process returns the life of this half.
func (t *Tie) Process() Process {
	if t == nil {
		return Process{PID: os.Getpid()}
	}
	p := t.life.Process
	p.PID = os.Getpid()
	return p
}

// Daemon returns the process id of the supervisor and when it was started. Both
// are zero if there is none.
func (t *Tie) Daemon() (pid int, since time.Time) {
	if t == nil {
		return 0, time.Time{}
	}
	return t.life.Supervisor, t.life.Started
}

// Restarted says whether an earlier process of this half has died, in the same
// life of the daemon.
func (t *Tie) Restarted() bool { return t != nil && t.life.Process.Restarts > 0 }

// Alive is the sign of life of the goroutine that does the work, which calls it
// a few times a second. It does not block.
func (t *Tie) Alive() {
	if t != nil {
		t.worked.Store(max(1, int64(time.Since(t.begin))))
	}
}

// Ready says that the half does its work.
func (t *Tie) Ready() { t.say(sayReady) }

// Reloaded says that the half has done what Reload asked for.
func (t *Tie) Reloaded() { t.say(sayReloaded) }

// Reload asks for the configuration to be read again.
func (t *Tie) Reload() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.reload
}

func (t *Tie) say(b byte) {
	if t != nil {
		t.says(b)
	}
}

// Run gives signs of life until ctx ends, and calls end, once, with ErrTold or
// ErrOrphan when the half is to end.
func (t *Tie) Run(ctx context.Context, end func(error)) {
	if t == nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.obey(ctx, end)
	}()
	t.beat(ctx)
	// A read does not know of contexts: this ends it.
	_ = t.orders.SetReadDeadline(time.Unix(1, 0))
	<-ended
}

// beat says that this process runs, as long as the work gives its signs too.
func (t *Tie) beat(ctx context.Context) {
	ticker := time.NewTicker(beatPeriod)
	defer ticker.Stop()
	idle := NewSilence(beatPeriod)
	var last int64
	for {
		if worked := t.worked.Load(); worked != last {
			last = worked
			idle.Break()
		}
		limit := workLimit
		if last == 0 {
			limit = startLimit
		}
		if idle.Look() < limit || t.ending.Load() {
			t.say(sayAlive)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// obey takes orders until the supervisor has died or ctx has ended.
func (t *Tie) obey(ctx context.Context, end func(error)) {
	for {
		var order [1]byte
		n, err := t.orders.Read(order[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case n == 0 || err != nil:
			if t.ending.Swap(true) {
				return
			}
			select {
			case <-time.After(orphanGrace):
				end(ErrOrphan)
			case <-ctx.Done():
			}
			return
		case order[0] == orderEnd && !t.ending.Swap(true):
			end(ErrTold)
		case order[0] == orderReload:
			select {
			case t.reload <- struct{}{}:
			default: // the one before has not been begun
			}
		}
	}
}
