package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// defaultPeriod is how often the kernel is looked at when nothing happens:
	// what was changed behind lvsd's back is repaired within a second even if
	// the kernel's event about it was lost.
	defaultPeriod = 500 * time.Millisecond

	// A look that did not end as wanted is repeated after backoffMin, then after
	// twice as long each time, up to backoffMax.
	backoffMin = 10 * time.Millisecond
	backoffMax = time.Second

	// wakeSpacing is the least time between two looks that the kernel's events
	// ask for: some hosts change addresses thousands of times a second, and each
	// look lists them all.
	wakeSpacing = 10 * time.Millisecond
)

// Options are the settings of a Reconciler.
type Options struct {
	// StateFile is where the Reconciler remembers which addresses it put on the
	// machine. It is written before an address is added, so it belongs on a file
	// system in memory, such as /run. Empty: nothing is remembered.
	StateFile string
	// Period is how often the kernel is looked at when nothing happens. Zero
	// means 500 ms.
	Period time.Duration
	// Repaired, if set, is told the addresses that were put back after somebody
	// had taken them away, and those that came late: after a look at which they
	// could not be added. It is called by Run and must not block.
	Repaired func([]Address)
	// Log receives what an operator wants to know. Nil discards it.
	Log *slog.Logger
}

// Status is what a Reconciler found when it last looked at the kernel.
type Status struct {
	Held    []Address // wanted, on the machine
	Missing []Address // wanted, not on the machine
	Fought  []Address // repaired so often that further repairs are held back
	Repairs uint64    // addresses put back, put right or taken away again, since the start
	Err     error     // what stands in the way; nil when all is as wanted
	Since   time.Time // since when Err stands in the way

	// Repaired has the latest repair of each address that is held or known.
	Repaired map[Address]Repair
}

// A Repair is what was done about an address that somebody else had changed.
type Repair struct {
	Address  Address
	Time     time.Time
	Differed string // in words: "removed by NetworkManager (pid 812)", "was missing"
}

// An ApplyError says what Apply did not reach.
type ApplyError struct {
	Missing   []Address // to be held, not known to be on the machine
	Unlike    []Address // to be held, on the machine with other attributes
	Remaining []Address // not to be held, not known to be gone
	Err       error     // why
}

// Error returns the addresses and the reason in words.
func (e *ApplyError) Error() string {
	var parts []string
	for _, part := range []struct {
		what      string
		addresses []Address
	}{{"not in place", e.Missing}, {"not changed", e.Unlike}, {"not removed", e.Remaining}} {
		if len(part.addresses) > 0 {
			parts = append(parts, part.what+": "+list(part.addresses))
		}
	}
	if parts == nil {
		parts = []string{"not looked at since"}
	}
	return fmt.Sprintf("addresses %s: %v", strings.Join(parts, "; "), e.Err)
}

// Unwrap returns the reason.
func (e *ApplyError) Unwrap() error { return e.Err }

// A Reconciler makes the kernel carry the addresses that it was told to hold.
//
// It is level-triggered: it lists what is there, makes the least change, and
// looks again, when the wish changes, when the kernel reports a change, and now
// and then. What is there already is adopted as it is, unless its attributes are
// others than wanted: then it gets those. What lvsd put there once and is not to
// hold any more is removed. What is not lvsd's own is never touched.
type Reconciler struct {
	kernel  Kernel
	options Options
	log     *slog.Logger
	mailbox chan struct{} // one slot: desired has changed

	mu         sync.Mutex // guards everything up to the blank line
	desired    Desired
	generation uint64 // of desired; 0 until the first Set
	outcome    outcome
	changed    chan struct{} // closed, and replaced, with each new outcome
	status     Status

	// The rest belongs to the goroutine in Run.
	memory   *memory
	fights   fights
	placed   map[Address]Attributes // held, and seen on the machine since with these
	cleared  set                    // known but not held, and seen absent since
	failures int                    // looks that did not end as wanted since the last one that did
	again    bool                   // this look follows the one before at once
}

// outcome is how far the newest look has come.
type outcome struct {
	generation uint64
	// final: looking again soon will not bring more. Either all is as wanted, or
	// what is missing belongs to interfaces that do not exist.
	final bool
	err   *ApplyError // nil when all is as wanted
}

// NewReconciler returns a Reconciler for the kernel k. It reads the state file,
// and touches nothing until Run has been started and Set or Apply called.
func NewReconciler(k Kernel, o Options) (*Reconciler, error) {
	if k == nil {
		return nil, errors.New("address reconciler: no kernel")
	}
	if o.Period < 0 {
		return nil, fmt.Errorf("address reconciler: period %v: must not be negative", o.Period)
	}
	if o.Period == 0 {
		o.Period = defaultPeriod
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{
		kernel:  k,
		options: o,
		log:     o.Log,
		mailbox: make(chan struct{}, 1),
		changed: make(chan struct{}),
		memory:  loadMemory(o.StateFile, o.Log),
		fights:  fights{},
		placed:  map[Address]Attributes{},
		cleared: set{},
	}, nil
}

// Set replaces what the machine is to carry. It returns at once; Run does the
// work, and of several wishes that come quicker than it works the latest wins.
func (r *Reconciler) Set(d Desired) { r.set(d) }

func (r *Reconciler) set(d Desired) (generation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.desired = d.clone()
	r.generation++
	select {
	case r.mailbox <- struct{}{}:
	default: // the slot is full: Run has not seen the wish before this one
	}
	return r.generation
}

// Apply is Set, and waits until the kernel has been seen to carry what d says,
// or a newer wish that has replaced it in the meantime.
//
// Otherwise the error is an *ApplyError that names what is missing: as soon as
// all of it belongs to interfaces that do not exist (the error wraps ErrNoLink),
// or else when ctx is done. Run goes on trying in either case.
func (r *Reconciler) Apply(ctx context.Context, d Desired) error {
	return r.await(ctx, r.set(d), d)
}

// Applied waits as Apply does, for what was last given to Set.
func (r *Reconciler) Applied(ctx context.Context) error {
	r.mu.Lock()
	generation, d := r.generation, r.desired
	r.mu.Unlock()
	return r.await(ctx, generation, d)
}

// await waits until the wish of a generation, or a newer one, is reached.
func (r *Reconciler) await(ctx context.Context, generation uint64, d Desired) error {
	for {
		r.mu.Lock()
		out, changed := r.outcome, r.changed
		r.mu.Unlock()

		seen := out.generation >= generation
		if seen && out.final {
			if out.err != nil {
				return out.err
			}
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			e := ApplyError{Missing: slices.Clone(d.Held), Err: ctx.Err()}
			if !seen && len(d.Held) == 0 {
				e.Remaining = slices.Clone(d.Known)
			}
			if seen && out.err != nil {
				e = *out.err
				e.Err = fmt.Errorf("%w (%w)", out.err.Err, ctx.Err())
			}
			return &e
		}
	}
}

// Status returns what the newest look at the kernel found.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Held, s.Missing, s.Fought = slices.Clone(s.Held), slices.Clone(s.Missing), slices.Clone(s.Fought)
	s.Repaired = maps.Clone(s.Repaired)
	return s
}

// Run does the work until ctx ends, and then returns nil; the addresses stay as
// they are. A receive from wake, which may be nil, says that the kernel's
// addresses or interfaces may have changed.
func (r *Reconciler) Run(ctx context.Context, wake <-chan struct{}) error {
	// Before the first wish nothing is known to be unwanted.
	select {
	case <-r.mailbox:
	case <-ctx.Done():
		return nil
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		start := time.Now()
		due := start.Add(r.look(start))

		for waiting := true; waiting; {
			timer.Reset(time.Until(due))
			select {
			case <-ctx.Done():
				return nil
			case <-r.mailbox:
				r.failures, r.again, waiting = 0, false, false
			case _, open := <-wake:
				if !open {
					wake = nil
				} else if soon := start.Add(wakeSpacing); soon.Before(due) {
					due = soon
				}
			case <-timer.C:
				waiting = false
			}
		}
	}
}

// look compares the kernel with the wish once and changes what differs. It
// returns how long after the start of this look the next one is due.
func (r *Reconciler) look(now time.Time) time.Duration {
	r.mu.Lock()
	d, generation, missed := r.desired, r.generation, newSet(r.status.Missing)
	r.mu.Unlock()

	have, err := r.kernel.Addresses()
	if err != nil {
		// Nothing is known about the machine, so nothing is changed. Status goes
		// on showing what was there when that was last known.
		err = fmt.Errorf("looking at the kernel: %w", err)
		r.publish(outcome{generation, false, &ApplyError{Missing: d.Held, Err: err}}, err, nil)
		return min(r.backoff(), r.options.Period)
	}
	r.memory.update(d, have)
	r.note(d, have)
	r.fights.calm(now)
	add, change, remove := Diff(d, r.memory.list(), have)

	p := &pass{now: now}
	r.carryOut(p, d, add, change, remove)
	repaired := p.restored
	for _, a := range p.added {
		if missed.has(a) {
			repaired = append(repaired, a)
		}
	}
	if len(repaired) > 0 && r.options.Repaired != nil {
		r.options.Repaired(repaired)
	}

	next := r.options.Period
	final := false
	switch {
	case len(add)+len(change)+len(remove) == 0:
		r.failures, r.again = 0, false
		final = true
	case p.tried == 0:
		next = min(next, p.wait) // all that differs is fought over
	case (p.changed > 0 || p.stale) && !r.again:
		r.again = true
		next = 0 // see whether all is there now, or what really is
	default:
		r.again = false
		next = min(next, r.backoff())
		final = p.changed == 0 && p.onlyNoLink()
	}
	r.publish(outcome{generation, final, p.undone()}, p.err(), func(s *Status) {
		missing := newSet(p.missing)
		s.Held = nil
		for _, a := range d.Held {
			if !missing.has(a) {
				s.Held = append(s.Held, a)
				missing[a] = struct{}{} // a second mention counts once
			}
		}
		s.Missing = p.missing
		s.Fought = r.fights.list()
		s.Repairs += uint64(len(p.repairs))
		s.Repaired = repairsOf(d, s.Repaired, p.repairs)
	})
	return next
}

// repairsOf returns the latest repairs of the addresses that d names.
func repairsOf(d Desired, before map[Address]Repair, now []Repair) map[Address]Repair {
	if len(before)+len(now) == 0 {
		return nil
	}
	after := make(map[Address]Repair, len(before)+len(now))
	maps.Copy(after, before)
	for _, repair := range now {
		after[repair.Address] = repair
	}
	ours := newSet(d.Held, d.Known)
	maps.DeleteFunc(after, func(a Address, _ Repair) bool { return !ours.has(a) })
	return after
}

// backoff returns the pause after one more look that did not end as wanted.
func (r *Reconciler) backoff() time.Duration {
	r.failures = min(r.failures+1, 16)
	return min(backoffMin<<(r.failures-1), backoffMax)
}

// note updates what is known to have been as wanted since it was wanted.
func (r *Reconciler) note(d Desired, have []Entry) {
	present := make(set, len(have))
	sound := make(set, len(have)) // with the attributes that are wanted
	for _, e := range have {
		present[e.Address] = struct{}{}
		if d.asWanted(e) {
			sound[e.Address] = struct{}{}
		}
	}
	placed, cleared := make(map[Address]Attributes, len(d.Held)), make(set, len(d.Known))
	for _, a := range d.Held {
		if sound.has(a) {
			placed[a] = d.attributes(a)
		} else if before, ok := r.placed[a]; ok {
			placed[a] = before
		}
	}
	held := newSet(d.Held)
	for _, a := range d.Known {
		if !held.has(a) && (!present.has(a) || r.cleared.has(a)) {
			cleared[a] = struct{}{}
		}
	}
	r.placed, r.cleared = placed, cleared
}

// publish makes the outcome of a look known, and logs what is new about errors.
func (r *Reconciler) publish(out outcome, err error, update func(*Status)) {
	r.mu.Lock()
	before := r.status.Err
	if update != nil {
		update(&r.status)
	}
	r.status.Err = err
	switch {
	case err == nil:
		r.status.Since = time.Time{}
	case before == nil:
		r.status.Since = time.Now()
	}
	r.outcome = out
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()

	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		r.log.Error("addresses are not as wanted, trying again", "error", err)
	case err == nil && before != nil:
		r.log.Info("addresses are as wanted again")
	}
}
