package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// journal writes down what happens and when, as seconds since the beginning of the test.
type journal struct {
	mu    sync.Mutex
	begin time.Time
	lines []string
}

func newJournal() *journal { return &journal{begin: time.Now()} }

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%v ", time.Since(j.begin))+fmt.Sprintf(format, args...))
}

// shift moves the beginning.
func (j *journal) shift(by time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.begin = j.begin.Add(by)
}

// take returns what was written since the last time.
func (j *journal) take() []string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, j.take()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func (j *journal) report(r Report) {
	j.add("%s is %s: %s", r.ID, r.Verdict.State, r.Verdict.Reason)
}

// server is a Checker that takes a while, then passes or fails as it was told to. It is a pointer, so that
// two of them are the same check only if they are the same server.
type server struct {
	*journal
	name string

	mu      sync.Mutex
	takes   time.Duration
	err     error
	running bool
}

func (s *server) set(takes time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.err = takes, err
}

func (s *server) Check(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.add("%s: overlap", s.name)
	}
	s.running = true
	takes, err := s.takes, s.err
	s.mu.Unlock()
	s.add("%s: start", s.name)
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			err = explain(ctx, ctx.Err())
			s.add("%s: stopped", s.name)
		}
	}
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	return err
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// run runs m in the background of a bubble until the test ends.
func run(t *testing.T, m *Monitor) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	synctest.Wait()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// settle sleeps until the second check on the server's own beat is over, and throws away the journal: from
// there the checks of a server that agrees with its verdict are exactly an interval apart.
func settle(j *journal, id string, interval time.Duration) {
	time.Sleep(phase(id, interval) + interval + interval/2)
	j.take()
	j.shift(time.Since(j.begin) - interval/2)
}

func TestFirstCheckComesAtOnceAndCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		run(t, m)
		m.Set(map[string]Check{
			"good": {Checker: &server{journal: j, name: "good", takes: 10 * time.Millisecond}, Interval: time.Minute},
		})
		time.Sleep(12 * time.Millisecond) // two checks begin within 2 ms
		for _, line := range j.take() {
			if _, text, _ := strings.Cut(line, " "); text != "good: start" && text != "good is up: passed" {
				t.Error(line)
			}
		}
		if v := m.Verdicts()["good"]; v.State != Up {
			t.Errorf("got %+v", v)
		}

		m.Set(map[string]Check{
			"bad": {Checker: &server{journal: j, name: "bad", err: errors.New("no")}, Interval: time.Minute},
		})
		time.Sleep(2 * time.Millisecond)
		if v := m.Verdicts()["bad"]; v.State != Down || v.Reason != "no" {
			t.Errorf("got %+v", v)
		}
	})
}

func TestIntervalIsFromStartToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		m.Set(map[string]Check{"a": {Checker: &server{journal: j, name: "a", takes: 700 * time.Millisecond}}})
		run(t, m)
		settle(j, "a", DefaultInterval)
		time.Sleep(7500 * time.Millisecond)
		j.want(t, "2s a: start", "4s a: start", "6s a: start", "8s a: start")
	})
}

func TestDownAfterIntervalAndQuickChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		s := &server{journal: j, name: "a"}
		m.Set(map[string]Check{"a": {Checker: s}})
		run(t, m)
		settle(j, "a", DefaultInterval)
		s.set(10*time.Millisecond, errors.New("connect: connection refused"))
		time.Sleep(1500 * time.Millisecond)
		j.want(t, "2s a: start", "2.2s a: start", "2.4s a: start",
			"2.41s a is down: connect: connection refused")
		if v := m.Verdicts()["a"]; v.State != Down || v.Since.Sub(j.begin) != 2410*time.Millisecond {
			t.Errorf("got %+v", v)
		}
		// Back on its own beat, and quick again as soon as it passes.
		time.Sleep(3 * time.Second)
		j.want(t, "4s a: start")
		s.set(0, nil)
		time.Sleep(2 * time.Second)
		j.want(t, "6s a: start", "6.2s a: start", "6.2s a is up: passed")
		time.Sleep(2 * time.Second)
		j.want(t, "8s a: start")
	})
}

func TestFailingIsVisibleBeforeItIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		s := &server{journal: j, name: "a"}
		m.Set(map[string]Check{"a": {Checker: s}})
		run(t, m)
		settle(j, "a", DefaultInterval)
		s.set(0, errors.New("status 503, want 200-399"))
		time.Sleep(1100 * time.Millisecond)
		v := m.Verdicts()["a"]
		if v.State != Up || v.Reason != Passed || v.Latest != "status 503, want 200-399" || v.Contrary != 1 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestTimeoutIsAbsoluteAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		m.Set(map[string]Check{"a": {
			Checker: &server{journal: j, name: "a", takes: time.Hour},
			Timeout: 1500 * time.Millisecond,
		}})
		j.shift(phase("a", spreadEach))
		run(t, m)
		time.Sleep(1600 * time.Millisecond)
		j.want(t, "0s a: start", "1.5s a: stopped", "1.5s a is down: timed out after 1.5s")
	})
}

func TestCheckNeverOverlapsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		s := &server{journal: j, name: "a", takes: 2500 * time.Millisecond}
		m.Set(map[string]Check{"a": {Checker: s, Timeout: 10 * time.Second}})
		run(t, m)
		time.Sleep(time.Minute)
		lines := j.take()
		for _, line := range lines {
			if strings.Contains(line, "overlap") {
				t.Fatal(line)
			}
		}
		// Each takes a beat and a half: one starts on every second beat.
		if n := len(lines); n < 15 || n > 17 {
			t.Errorf("%d lines in a minute:\n%s", n, strings.Join(lines, "\n"))
		}
	})
}

func TestSetLeavesUnchangedChecksAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		check := Check{Checker: &server{journal: j, name: "a", takes: 100 * time.Millisecond}}
		m.Set(map[string]Check{"a": check})
		run(t, m)
		settle(j, "a", DefaultInterval)
		for range 100 { // every 50 ms, also in the middle of a check
			time.Sleep(50 * time.Millisecond)
			m.Set(map[string]Check{"a": check})
		}
		j.want(t, "2s a: start", "4s a: start", "6s a: start")
	})
}

func TestChangedCheckKeepsItsVerdictAndIsCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		old := &server{journal: j, name: "old"}
		m.Set(map[string]Check{"a": {Checker: old}})
		run(t, m)
		settle(j, "a", DefaultInterval)
		before := m.Verdicts()["a"]

		// In the middle of a check, which is abandoned.
		old.set(time.Hour, nil)
		time.Sleep(1100 * time.Millisecond)
		j.shift(phase("a", spreadEach))
		bad := errors.New("status 404")
		m.Set(map[string]Check{"a": {Checker: &server{journal: j, name: "new", err: bad}}})
		if diff := cmp.Diff(before, m.Verdicts()["a"]); diff != "" {
			t.Errorf("verdict changed with the check (-want +got)\n%s", diff)
		}
		time.Sleep(1300 * time.Millisecond)
		lines := j.take()
		want := []string{"old: start", "old: stopped", "new: start", "new: start", "new: start", "a is down: status 404"}
		for i := range lines {
			_, lines[i], _ = strings.Cut(lines[i], " ")
		}
		if diff := cmp.Diff(want, lines[:min(len(lines), len(want))]); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if v := m.Verdicts()["a"]; v.Since.Sub(j.begin) != 2500*time.Millisecond {
			t.Errorf("down after %v: not checked at once after the change at 2.1s", v.Since.Sub(j.begin))
		}
	})
}

func TestRemovedCheckReportsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		// It does not listen to its context, and its result comes after it was removed.
		deaf := probe(func(context.Context) error {
			j.add("start")
			time.Sleep(500 * time.Millisecond)
			j.add("end")
			return nil
		})
		m.Set(map[string]Check{"a": {Checker: deaf}})
		j.shift(phase("a", spreadEach))
		run(t, m)
		time.Sleep(100 * time.Millisecond)
		m.Set(nil)
		if v, ok := m.Verdicts()["a"]; ok {
			t.Errorf("still has verdict %+v", v)
		}
		time.Sleep(time.Minute)
		j.want(t, "0s start", "500ms end")
	})
}

// deaf returns a check that takes half a second and does not listen to its context.
func deaf(j *journal, name string) Check {
	return Check{Checker: probe(func(context.Context) error {
		j.add("%s starts", name)
		time.Sleep(500 * time.Millisecond)
		j.add("%s ends", name)
		return nil
	})}
}

func TestFollowerWaitsForACheckUnderWay(t *testing.T) {
	for _, test := range []struct {
		name   string
		follow func(*Monitor, *journal)
	}{
		{"changed", func(m *Monitor, j *journal) {
			m.Set(map[string]Check{"a": deaf(j, "second")})
		}},
		{"changed twice", func(m *Monitor, j *journal) {
			m.Set(map[string]Check{"a": deaf(j, "never")})
			m.Set(map[string]Check{"a": deaf(j, "second")})
		}},
		{"removed and added again, twice", func(m *Monitor, j *journal) {
			m.Set(nil)
			m.Set(map[string]Check{"a": deaf(j, "never")})
			m.Set(nil)
			m.Set(map[string]Check{"a": deaf(j, "second")})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJournal()
				m := NewMonitor(j.report, quiet)
				m.Set(map[string]Check{"a": deaf(j, "first")})
				run(t, m)
				time.Sleep(100 * time.Millisecond)
				test.follow(m, j)
				if v := m.Verdicts()["a"]; v.State != Unknown || v.Reason != NotChecked {
					t.Errorf("got %+v", v)
				}
				time.Sleep(1000 * time.Millisecond)
				lines := j.take()
				for i := range lines {
					_, lines[i], _ = strings.Cut(lines[i], " ")
				}
				want := []string{"first starts", "first ends", "second starts", "second ends", "a is up: passed"}
				if diff := cmp.Diff(want, lines); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if len(m.leaving) != 0 {
					t.Errorf("%d targets are still leaving", len(m.leaving))
				}
			})
		})
	}
}

func TestLeavingIsForgottenByTheLatestOnly(t *testing.T) {
	m := NewMonitor(nil, quiet)
	first, second := &target{id: "a", done: make(chan struct{})}, &target{id: "a", done: make(chan struct{})}
	m.leaving["a"] = second.done
	m.leave(first)
	if m.leaving["a"] != second.done {
		t.Error("an earlier one forgot a later one")
	}
	m.leave(second)
	if len(m.leaving) != 0 {
		t.Error("not forgotten")
	}
}

func TestReportsOfAServerAreInOrderHoweverSlowTheReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		var m *Monitor
		m = NewMonitor(func(r Report) {
			time.Sleep(3 * time.Second)
			j.report(r)
			m.Verdicts() // and Set: no lock is held
			m.Set(map[string]Check{"a": {Checker: &server{journal: newJournal(), err: errors.New("no")}, Fall: 1}})
		}, quiet)
		m.Set(map[string]Check{"a": {Checker: &server{journal: newJournal()}}})
		run(t, m)
		time.Sleep(10 * time.Second)
		lines := j.take()
		for i := range lines {
			_, lines[i], _ = strings.Cut(lines[i], " ")
		}
		if diff := cmp.Diff([]string{"a is up: passed", "a is down: no"}, lines); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestStartsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const servers, interval = 2000, 10 * time.Second
		var (
			mu     sync.Mutex
			starts = make(map[string][]time.Duration)
			begin  = time.Now()
		)
		m := NewMonitor(func(Report) {}, quiet)
		checks := make(map[string]Check)
		for i := range servers {
			id := fmt.Sprintf("web/10.0.%d.%d:80", i/250, i%250)
			checks[id] = Check{Interval: interval, Checker: probe(func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				starts[id] = append(starts[id], time.Since(begin))
				return nil
			})}
		}
		m.Set(checks)
		run(t, m)
		time.Sleep(25 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		var first, later [10]int // starts in each tenth: of the first second, and of the second to third interval
		for id, times := range starts {
			if times[0] >= time.Second {
				t.Fatalf("%s: first check after %v", id, times[0])
			}
			first[times[0]/(100*time.Millisecond)]++
			for i := 1; i < len(times); i++ {
				gap := times[i] - times[i-1]
				if gap > interval || i > 1 && gap != interval {
					t.Fatalf("%s: checked at %v", id, times)
				}
				if times[i] >= interval && times[i] < 2*interval {
					later[(times[i]-interval)/time.Second]++
				}
			}
		}
		for i := range 10 {
			if first[i] < 140 || first[i] > 260 || later[i] < 140 || later[i] > 260 {
				t.Errorf("not spread: %v in the first second, %v in an interval", first, later)
				break
			}
		}
	})
}

// TestLateTimersDoNotStayInStep is about a machine that was frozen: all checks are due at the same moment when it
// goes on, and must not stay so.
func TestLateTimersDoNotStayInStep(t *testing.T) {
	const interval = 10 * time.Second
	woken := noon.Add(time.Hour + 3*time.Second)
	for _, id := range []string{"a", "b", "c"} {
		origin := noon.Add(phase(id, interval))
		next := beat(origin, woken, interval)
		if gap := next.Sub(woken); gap <= 0 || gap > interval || next.Sub(origin)%interval != 0 {
			t.Errorf("%s: next check %v after the late one", id, gap)
		}
	}
	if got := beat(noon, noon, interval); got.Sub(noon) != interval {
		t.Errorf("on the beat: next after %v", got.Sub(noon))
	}
	if got := beat(noon, noon.Add(-time.Second), interval); !got.Equal(noon) {
		t.Errorf("before the first beat: next at %v", got)
	}
}

func TestPanicIsAFailureOfThatCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		m.Set(map[string]Check{
			"bad":  {Checker: probe(func(context.Context) error { panic("index\x00 out of range") })},
			"none": {},
			"good": {Checker: probe(func(context.Context) error { return nil })},
		})
		run(t, m)
		time.Sleep(10 * time.Millisecond)
		v := m.Verdicts()
		if got := v["bad"]; got.State != Down || got.Reason != `the check itself panicked: index\x00 out of range` {
			t.Errorf("got %+v", got)
		}
		if got := v["none"]; got.State != Down {
			t.Errorf("got %+v", got)
		}
		if got := v["good"]; got.State != Up {
			t.Errorf("got %+v", got)
		}
	})
}

func TestFaultOfOurOwnLeavesVerdictsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		var logged strings.Builder
		m := NewMonitor(j.report, slog.New(slog.NewTextHandler(&logged, nil)))
		s := &server{journal: j, name: "a"}
		m.Set(map[string]Check{"a": {Checker: s}})
		run(t, m)
		settle(j, "a", DefaultInterval)
		// As package net reports it.
		s.set(0, explain(t.Context(), &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}))
		time.Sleep(9 * time.Second)
		j.want(t, "2s a: start", "4s a: start", "6s a: start", "8s a: start", "10s a: start")
		if v := m.Verdicts()["a"]; v.State != Up || v.Reason != Passed || v.Latest != "not checked: too many open files" {
			t.Errorf("got %+v", v)
		}
		if n := strings.Count(logged.String(), "cannot check"); n != 1 {
			t.Errorf("%d warnings in %s", n, &logged)
		}
	})
}

func TestRunEndsWhenEveryCheckHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		m := NewMonitor(j.report, quiet)
		m.Set(map[string]Check{
			"waiting": {Checker: &server{journal: newJournal()}},
			"obeying": {Checker: &server{journal: newJournal(), takes: time.Hour}},
			"deaf": {Checker: probe(func(context.Context) error {
				time.Sleep(700 * time.Millisecond)
				j.add("deaf ended")
				return nil
			})},
		})
		stop := run(t, m)
		time.Sleep(100 * time.Millisecond)
		j.take()
		stop()
		j.add("Run ended")
		lines := j.take()
		for i := range lines {
			_, lines[i], _ = strings.Cut(lines[i], " ")
		}
		if diff := cmp.Diff([]string{"deaf ended", "Run ended"}, lines); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		m.Set(map[string]Check{"late": {Checker: &server{journal: j}}}) // starts nothing
		if v := m.Verdicts()["late"]; v.State != Unknown || m.targets["late"].cancel != nil {
			t.Errorf("got %+v", v)
		}
	})
}

func TestCheckDefaults(t *testing.T) {
	got := Check{}.withDefaults()
	want := Check{Interval: 2 * time.Second, FastInterval: 200 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := (Check{Interval: 100 * time.Millisecond}).withDefaults(); got.FastInterval != 100*time.Millisecond {
		t.Errorf("fast interval %v is longer than the interval", got.FastInterval)
	}
}

func BenchmarkMonitorSet(b *testing.B) {
	m := NewMonitor(func(Report) {}, quiet)
	checks := make(map[string]Check)
	for i := range 10000 {
		checks[fmt.Sprint(i)] = Check{Checker: HTTP{Host: "www.example.com", Path: "/", Status: StatusRanges{{200, 399}}}}
	}
	m.Set(checks)
	for b.Loop() {
		m.Set(checks)
	}
}
