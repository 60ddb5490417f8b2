package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

var (
	// ErrRefused: a half cannot start. It has said why on standard error.
	ErrRefused = errors.New("a half of lvsd cannot start")

	// ErrUnclean: a half that was told to end did not do so properly, so
	// something of ours may be left in the kernel.
	ErrUnclean = errors.New("not ended properly")
)

// Options are what a supervisor needs.
type Options struct {
	// Halves are the processes, in the order in which they end.
	Halves []Half

	// Keep are files that are held open by the halves, too.
	Keep []*os.File

	// Ready is called once, when all halves have said that they are ready. It
	// must not block.
	Ready func()

	Log *slog.Logger
}

// Supervisor runs the halves. See the package comment.
type Supervisor struct {
	options Options
	started time.Time
	halves  []*half
	gone    chan struct{} // has a token when a half has ended for good
	kill    chan struct{} // closed when the halves are to be killed
	killing sync.Once

	mu      sync.Mutex     // guards what follows
	waiting map[*half]bool // for the first word that it is ready
}

// New returns a supervisor that has started nothing yet.
func New(o Options) *Supervisor {
	s := &Supervisor{
		options: o,
		started: time.Now(),
		gone:    make(chan struct{}, len(o.Halves)),
		kill:    make(chan struct{}),
		waiting: make(map[*half]bool),
	}
	for _, spec := range o.Halves {
		h := &half{
			Half:       spec,
			supervisor: s,
			stop:       make(chan struct{}),
			ended:      make(chan struct{}),
			reload:     make(chan chan<- struct{}),
		}
		s.halves = append(s.halves, h)
		s.waiting[h] = true
	}
	return s
}

// Run runs the halves until ctx ends, and then ends them one after the other. An
// error that wraps ErrRefused means that one of them could not be started in the
// first place, one that wraps ErrUnclean that something may be left behind.
func (s *Supervisor) Run(ctx context.Context) error {
	for _, h := range s.halves {
		go func() {
			h.run()
			s.gone <- struct{}{}
		}()
	}
	select {
	case <-ctx.Done():
	case <-s.gone:
	}
	var errs []error
	for _, h := range s.halves {
		close(h.stop)
		<-h.ended
		errs = append(errs, h.err)
	}
	return errors.Join(errs...)
}

// Reload tells a half to read the configuration again, and waits until it has
// answered, or has died.
func (s *Supervisor) Reload(ctx context.Context, name string) {
	for _, h := range s.halves {
		if h.Name != name {
			continue
		}
		done := make(chan struct{})
		select {
		case h.reload <- done:
		case <-h.ended:
			return
		case <-ctx.Done():
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// Kill kills the halves: Run is not to wait for their proper end any longer.
func (s *Supervisor) Kill() { s.killing.Do(func() { close(s.kill) }) }

// begun says whether all halves have been ready once.
func (s *Supervisor) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) == 0
}

// heardReady notes that a half is ready.
func (s *Supervisor) heardReady(h *half) {
	s.mu.Lock()
	waited := len(s.waiting) > 0
	delete(s.waiting, h)
	begins := waited && len(s.waiting) == 0
	s.mu.Unlock()
	if begins {
		s.options.Ready()
	}
}
