package health

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// spreadEach and spreadMost say over how much time the first checks are spread when many begin at the same
	// moment: so much for each of them, but not more than that, or than the interval.
	spreadEach = time.Millisecond
	spreadMost = time.Second

	// warnPeriod is how far apart warnings are at least that we could not check.
	warnPeriod = 10 * time.Second
)

// Monitor runs checks, each in a goroutine of its own, and reports verdicts that changed.
type Monitor struct {
	report func(Report)
	log    *slog.Logger

	mu      sync.Mutex // guards everything that follows, and the tracker of each target
	targets map[string]*target
	leaving map[string]<-chan struct{} // of targets that were removed: closed when the last of an ID has ended
	start   func(*target)              // starts the goroutine of a target; nil while Run does not run
	warned  time.Time
}

// target is one check under one configuration. A changed check is another target that inherits the tracker.
type target struct {
	id       string
	check    Check
	tracker  *Tracker
	delay    time.Duration   // of the first check
	previous <-chan struct{} // closed when the target that this one follows has ended; nil if there is none
	cancel   context.CancelFunc
	done     chan struct{} // closed when its goroutine has ended
}

// NewMonitor returns a monitor without checks.
//
// report is called on every change of a state, and when a down server has another reason than was reported
// (not more often than every [ReasonPeriod]). For one ID the calls come one after the other and in order; for
// different IDs they come from different goroutines at the same time. No lock is held, so report may call Set and
// Verdicts; while it runs, the next check of that server waits. It must return when the context of Run ends.
//
// The monitor logs nothing above Debug but what is wrong with the director itself: who knows what the IDs mean
// logs the reports.
func NewMonitor(report func(Report), log *slog.Logger) *Monitor {
	return &Monitor{
		report:  report,
		log:     log,
		targets: make(map[string]*target),
		leaving: make(map[string]<-chan struct{}),
	}
}

// Set replaces what is checked, by ID. Checks that did not change are not disturbed. A changed one keeps its
// verdict, and is checked at once. A new one is checked at once, too; if there are many of either, within a second
// (or its interval, if that is shorter). One that is missing stops, and its check under way is abandoned: no
// report of it begins after Set, though one that has begun may still be on its way to its receiver.
func (m *Monitor) Set(checks map[string]Check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, t := range m.targets {
		if _, ok := checks[id]; !ok {
			delete(m.targets, id)
			if t.cancel != nil {
				t.cancel()
				m.leaving[id] = t.done
			}
		}
	}
	var fresh []*target
	for id, check := range checks {
		check = check.withDefaults()
		t := &target{id: id, check: check, previous: m.leaving[id], done: make(chan struct{})}
		old, ok := m.targets[id]
		switch {
		case !ok:
			t.tracker = NewTracker(check.Rise, check.Fall)
		case reflect.DeepEqual(old.check, check):
			continue
		default:
			t.tracker = old.tracker
			t.tracker.Configure(check.Rise, check.Fall)
			if old.cancel != nil {
				old.cancel()
				t.previous = old.done
			}
		}
		m.targets[id] = t
		fresh = append(fresh, t)
	}
	m.begin(fresh)
}

// begin starts targets, spread over a time that grows with their number. The caller holds mu.
func (m *Monitor) begin(fresh []*target) {
	if m.start == nil {
		return
	}
	for _, t := range fresh {
		spread := min(time.Duration(len(fresh))*spreadEach, spreadMost, t.check.Interval)
		t.delay = phase(t.id, spread)
		m.start(t)
	}
}

// Verdicts returns the verdict on every server that is checked, as of its latest check.
func (m *Monitor) Verdicts() map[string]Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	verdicts := make(map[string]Verdict, len(m.targets))
	for id, t := range m.targets {
		verdicts[id] = t.tracker.Verdict()
	}
	return verdicts
}

// Run checks until ctx ends, and returns nil when every check under way has ended. It is called once.
func (m *Monitor) Run(ctx context.Context) error {
	var running sync.WaitGroup
	epoch := time.Now()

	m.mu.Lock()
	m.start = func(t *target) {
		ctx, cancel := context.WithCancel(ctx)
		t.cancel = cancel
		running.Go(func() {
			defer cancel()
			m.watch(ctx, t, epoch)
		})
	}
	waiting := make([]*target, 0, len(m.targets))
	for _, t := range m.targets {
		waiting = append(waiting, t)
	}
	m.begin(waiting)
	m.mu.Unlock()

	<-ctx.Done()
	m.mu.Lock()
	m.start = nil
	m.mu.Unlock()
	running.Wait()
	return nil
}

// watch checks a target until ctx ends.
func (m *Monitor) watch(ctx context.Context, t *target, epoch time.Time) {
	defer m.leave(t)
	if t.previous != nil {
		<-t.previous // its context has ended; a check never overlaps itself, and reports are in order
		t.previous = nil
	}
	offset := phase(t.id, t.check.Interval)
	timer := time.NewTimer(t.delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		err := m.run(ctx, t.check)
		quick, ok := m.record(ctx, t, err)
		if !ok {
			return
		}
		now := time.Now()
		next := start.Add(t.check.FastInterval)
		if !quick {
			// Back on the server's own beat, so that what made many checks start at the same moment
			// (a reload, a machine that was frozen) does not keep them there.
			next = beat(epoch.Add(offset), start, t.check.Interval)
			if next.Before(now) {
				next = beat(epoch.Add(offset), now, t.check.Interval)
			}
		}
		timer.Reset(next.Sub(now))
	}
}

// run makes one check. A check that panics has failed.
func (m *Monitor) run(ctx context.Context, check Check) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, check.Timeout, timeoutError(check.Timeout))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = clean(fmt.Errorf("the check itself panicked: %v", p))
			m.log.Error("check panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return check.Checker.Check(ctx)
}

// record takes the result of a check, and reports it if it is worth that. It says whether the quick interval
// applies, and false for ok if the target is checked no more.
func (m *Monitor) record(ctx context.Context, t *target, err error) (quick, ok bool) {
	m.mu.Lock()
	if ctx.Err() != nil {
		m.mu.Unlock()
		return false, false // what the check found is of its being abandoned
	}
	now := time.Now()
	worth, warn := false, false
	if isLocal(err) {
		t.tracker.Skip(err)
		if warn = m.warned.IsZero() || now.Sub(m.warned) >= warnPeriod; warn {
			m.warned = now
		}
	} else {
		worth = t.tracker.Record(now, err)
	}
	verdict, quick := t.tracker.Verdict(), t.tracker.Quick()
	m.mu.Unlock()

	if warn {
		m.log.Warn("cannot check, verdicts stay as they are", "id", t.id, "reason", verdict.Latest)
	}
	m.log.Debug("checked", "id", t.id, "state", verdict.State, "result", verdict.Latest)
	if worth {
		m.report(Report{ID: t.id, Verdict: verdict})
	}
	return quick, true
}

// leave notes that the goroutine of a target has ended.
func (m *Monitor) leave(t *target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(t.done)
	if m.leaving[t.id] == t.done {
		delete(m.leaving, t.id)
	}
}

// phase returns a duration from 0 to below length that is always the same for an ID.
func phase(id string, length time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(id))
	return time.Duration(h.Sum64() % uint64(length))
}

// beat returns the first instant after t that is a whole number of intervals away from origin.
func beat(origin, t time.Time, interval time.Duration) time.Time {
	since := t.Sub(origin)
	if since < 0 { // origin is less than an interval after the start of the monitor
		return origin
	}
	return origin.Add((since/interval + 1) * interval)
}
