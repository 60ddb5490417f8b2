package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options are the settings of a Reconciler.
type Options struct {
	// StateFile is where the Reconciler remembers which services are ours. Its
	// folder must exist. "" remembers nothing beyond the process.
	StateFile string

	// Period is how often the table is compared, because IPVS reports no
	// events. 0 means 500 ms: what somebody undid is back within a second.
	Period time.Duration

	// Log takes what is repaired, and errors; nil logs nothing.
	Log *slog.Logger
}

const (
	defaultPeriod = 500 * time.Millisecond

	// After an error the table is looked at again after minBackoff, and after
	// double the time with every further error, up to maxBackoff, but never
	// later than after Period.
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// ErrStopped is returned to those who wait for a Reconciler whose Run has returned.
var ErrStopped = errors.New("the IPVS reconciler has stopped")

// Status tells how a Reconciler is doing.
type Status struct {
	// Applied is when the table last given to Set was first in the kernel
	// completely; zero while it is not.
	Applied time.Time

	// Error says what keeps the kernel from showing what is wanted, or the state
	// file from being written, "" when nothing does. Since is when it was first
	// seen.
	Error string
	Since time.Time

	// Repairs counts the changes made because the kernel differed although
	// nothing else was wanted: somebody else had changed the table.
	Repairs uint64
}

// A Reconciler makes a kernel's table what is wanted and keeps it so.
//
// What matches already is left alone, also at start; services that are not
// wanted are removed if they are ours, that is if this Reconciler or one before
// it with the same state file made them, and never otherwise. A wanted service
// becomes ours, whoever made it.
type Reconciler struct {
	kernel  Kernel
	options Options
	log     *slog.Logger
	memory  *memory // used by Run's goroutine alone

	wake    chan struct{}    // one slot: the wanted table was replaced
	lists   chan listRequest // to Run's goroutine
	stopped chan struct{}    // closed when Run has returned

	// expected is what the kernel should hold since the last pass; nil before
	// the first one. Used by Run's goroutine alone.
	expected index
	// memoryErr is why the last pass could not write the state file. Used by
	// Run's goroutine alone.
	memoryErr error

	mu         sync.Mutex // guards everything below
	want       Table
	generation uint64 // of want: how often Set was called
	applied    uint64 // the generation that is in the kernel
	progress   chan struct{}
	lastErr    error
	status     Status
}

type listRequest struct {
	reply chan<- listReply // has room for one
}

type listReply struct {
	table Table
	err   error
}

// NewReconciler returns a Reconciler for the kernel k, which it uses from the
// goroutine of Run alone. It reads the state file; a file that makes no sense is
// reported to the log and taken as empty, so nothing is removed on its account.
// A file that cannot be read is an error.
func NewReconciler(k Kernel, o Options) (*Reconciler, error) {
	if o.Period == 0 {
		o.Period = defaultPeriod
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m, err := loadMemory(o.StateFile)
	if errors.Is(err, errMemory) {
		log.Warn("services of an earlier run stay in the kernel", "error", err)
	} else if err != nil {
		return nil, err
	}
	return &Reconciler{
		kernel:   k,
		options:  o,
		log:      log,
		memory:   m,
		wake:     make(chan struct{}, 1),
		lists:    make(chan listRequest),
		stopped:  make(chan struct{}),
		progress: make(chan struct{}),
	}, nil
}

// Set replaces what is wanted and returns at once. The table must not be changed
// afterwards. Until the first Set the kernel is left as it is.
func (r *Reconciler) Set(t Table) {
	r.mu.Lock()
	r.want = t
	r.generation++
	r.status.Applied = time.Time{}
	r.mu.Unlock()

	select {
	case r.wake <- struct{}{}:
	default: // Run has not taken the last one yet and will find this one
	}
}

// Applied waits until the table of the last Set is in the kernel. It returns the
// error of ctx, joined with what keeps the table out, when ctx is done before; the
// work goes on. Run must be running; ErrStopped tells that it has returned.
func (r *Reconciler) Applied(ctx context.Context) error {
	r.mu.Lock()
	target := r.generation
	r.mu.Unlock()
	return r.waitFor(ctx, target)
}

func (r *Reconciler) waitFor(ctx context.Context, generation uint64) error {
	for {
		r.mu.Lock()
		done, progress, err := r.applied >= generation, r.progress, r.lastErr
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-progress:
		case <-r.stopped:
			return errors.Join(ErrStopped, err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Clear removes every service that is ours and waits until they are gone; foreign
// ones stay. It counts as a Set of an empty table: a later Set is honoured. Errors
// are those of Applied.
func (r *Reconciler) Clear(ctx context.Context) error {
	r.Set(nil)
	return r.Applied(ctx)
}

// List returns what the kernel holds now, foreign services included, read by Run's
// goroutine; Run must be running. It returns the error of ctx if that is done
// before, and ErrStopped if Run has returned.
func (r *Reconciler) List(ctx context.Context) (Table, error) {
	reply := make(chan listReply, 1)
	select {
	case r.lists <- listRequest{reply}:
	case <-r.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("listing the IPVS table: %w", ctx.Err())
	}
	select {
	case l := <-reply:
		return l.table, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("listing the IPVS table: %w", ctx.Err())
	}
}

// Status returns how the Reconciler is doing now.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run owns the kernel until ctx is done, then returns nil and leaves the table as
// it is. It must be called once. It does not close the kernel.
func (r *Reconciler) Run(ctx context.Context) error {
	defer close(r.stopped)

	timer := time.NewTimer(r.options.Period)
	defer timer.Stop()
	var backoff time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-r.lists:
			table, err := r.kernel.List()
			l.reply <- listReply{table, err}
			continue
		case <-r.wake:
			backoff = 0
		case <-timer.C:
		}

		wait := r.options.Period
		if err := r.pass(ctx); err != nil {
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			wait = min(wait, backoff)
		} else {
			backoff = 0
		}
		timer.Reset(wait)
	}
}

// pass brings the kernel once to what is wanted now. If the kernel turned out to
// hold something else than what was listed, it lists and changes once more.
func (r *Reconciler) pass(ctx context.Context) error {
	r.mu.Lock()
	want, generation := r.want, r.generation
	r.mu.Unlock()
	if generation == 0 {
		return nil
	}

	changes, err := r.reconcile(ctx, want)
	if isStale(err) {
		var more int
		more, err = r.reconcile(ctx, want)
		changes += more
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.report(generation, len(want), changes, err)
	return err
}

// report makes the outcome of a pass known.
func (r *Reconciler) report(generation uint64, services, changes int, err error) {
	now := time.Now()
	text := ""
	// The table serves as well where it cannot be remembered.
	if problem := errors.Join(err, r.memoryErr); problem != nil {
		text = strings.ReplaceAll(problem.Error(), "\n", "; ")
	}

	r.mu.Lock()
	before := r.status.Error
	first := err == nil && r.applied < generation
	if text != before {
		r.status.Error, r.status.Since = text, now
		if text == "" {
			r.status.Since = time.Time{}
		}
	}
	r.lastErr = err
	if first {
		r.applied = generation
		if r.generation == generation {
			r.status.Applied = now
		}
	}
	close(r.progress)
	r.progress = make(chan struct{})
	r.mu.Unlock()

	switch {
	case text != "" && text != before:
		r.log.Error("keeping the IPVS table as wanted", "error", text)
	case text == "" && before != "":
		r.log.Info("the IPVS table is as wanted again")
	}
	if first && changes > 0 {
		r.log.Info("IPVS table applied", "services", services, "changes", changes)
	}
}

// reconcile lists the kernel and applies what differs from want. A change that
// fails does not keep the others from being applied; only when ctx is done it stops.
// It returns the number of changes made, and all errors joined.
func (r *Reconciler) reconcile(ctx context.Context, want Table) (int, error) {
	table, err := r.kernel.List()
	if err != nil {
		return 0, fmt.Errorf("listing the IPVS table: %w", err)
	}
	have := table.index()
	wanted, refused := valid(want)

	// What is wanted is ours from before it is made; what is ours stays ours
	// until it is gone.
	ours := make(map[Key]bool, len(wanted))
	for k := range wanted {
		ours[k] = true
	}
	for k := range r.memory.keys {
		if have[k] != nil {
			ours[k] = true
		}
	}
	r.memoryErr = r.memory.set(maps.Clone(ours))
	// A service that is wanted in a form that is refused stays as it is.
	owned := func(k Key) bool { return ours[k] && refused[k] == nil }

	changes := diff(wanted, have, owned)
	r.noteRepairs(changes, wanted, owned)

	errs := slices.Collect(maps.Values(refused))
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	made := 0
	for _, c := range changes {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		if c.takes() && wanted.serving(c.Key) > 0 && have.serving(c.Key) < 2 {
			// What should have replaced it could not be added. It might serve
			// still, and nothing else does.
			errs = append(errs, fmt.Errorf("%s: not done, it is the last real server in service", c))
			continue
		}
		if err := r.apply(c); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c, err))
			continue
		}
		have.apply(c)
		made++
		if c.Kind == DeleteService {
			delete(ours, c.Key)
		}
	}
	r.expected = have
	if err := r.memory.set(ours); err != nil {
		r.memoryErr = err
	}
	return made, errors.Join(errs...)
}

// valid returns the services of the table that the kernel can be asked for, and
// for each of the others why it cannot.
func valid(want Table) (index, map[Key]error) {
	wanted := want.index()
	refused := make(map[Key]error)
	for _, s := range want {
		if err := s.Validate(); err != nil {
			refused[s.Key] = fmt.Errorf("%s: %w", s.Key, err)
			delete(wanted, s.Key)
		}
	}
	return wanted, refused
}

// noteRepairs logs and counts those of the changes that would not be needed if
// the kernel held what it was left with.
func (r *Reconciler) noteRepairs(changes []Change, want index, owned func(Key) bool) {
	if r.expected == nil || len(changes) == 0 {
		return
	}
	foreseen := make(map[string]bool)
	for _, c := range diff(want, r.expected, owned) {
		foreseen[c.String()] = true
	}
	for _, c := range changes {
		if foreseen[c.String()] {
			continue
		}
		r.log.Warn("the IPVS table was changed by somebody else, repairing", "repair", c.String())
		r.mu.Lock()
		r.status.Repairs++
		r.mu.Unlock()
	}
}

// apply makes one change.
func (r *Reconciler) apply(c Change) error {
	r.log.Debug("changing the IPVS table", "change", c.String())
	switch c.Kind {
	case AddService:
		return r.kernel.AddService(c.Service)
	case UpdateService:
		return r.kernel.UpdateService(c.Service)
	case DeleteService:
		return r.kernel.DeleteService(c.Key)
	case AddDestination:
		return r.kernel.AddDestination(c.Key, c.Destination)
	case UpdateDestination:
		return r.kernel.UpdateDestination(c.Key, c.Destination)
	case DeleteDestination:
		return r.kernel.DeleteDestination(c.Key, c.Destination)
	default:
		panic(fmt.Sprintf("ipvs: %s", c))
	}
}

// isStale reports whether an error says that the kernel holds something else than
// what was listed.
func isStale(err error) bool {
	return errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH)
}
