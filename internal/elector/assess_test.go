package elector

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp/vrrptest"
)

// TRK-01 to TRK-04, TRK-06.
func TestWeigh(t *testing.T) {
	up, down := configs.Finding{Up: true}, configs.Finding{Reason: "status 1"}
	tests := []struct {
		name     string
		base     uint8
		weights  []int // of services; with numbers: of files
		findings []configs.Finding
		files    bool
		want     standing
	}{
		{name: "nothing tracked", base: 100, want: standing{priority: 100}},
		{name: "TRK-01 down with a negative weight", base: 150, weights: []int{-60}, findings: []configs.Finding{down}, want: standing{priority: 90}},
		{name: "TRK-01 up with a negative weight", base: 150, weights: []int{-60}, findings: []configs.Finding{up}, want: standing{priority: 150}},
		{name: "up with a positive weight", base: 100, weights: []int{20}, findings: []configs.Finding{up}, want: standing{priority: 120}},
		{name: "down with a positive weight", base: 100, weights: []int{20}, findings: []configs.Finding{down}, want: standing{priority: 100}},
		{name: "TRK-02 never above 254", base: 240, weights: []int{60}, findings: []configs.Finding{up}, want: standing{priority: 254}},
		{name: "TRK-03 never below 1", base: 10, weights: []int{-60, -60}, findings: []configs.Finding{down, down}, want: standing{priority: 1}},
		{name: "TRK-04 the owner's stays", base: 255, weights: []int{-60}, findings: []configs.Finding{down}, want: standing{priority: 255}},
		{name: "down without a weight", base: 100, weights: []int{0}, findings: []configs.Finding{down}, want: standing{priority: 100, fault: "service s0 is down: status 1"}},
		{name: "up without a weight", base: 100, weights: []int{0}, findings: []configs.Finding{up}, want: standing{priority: 100}},
		{name: "two faults", base: 100, weights: []int{0, 0}, findings: []configs.Finding{down, down}, want: standing{priority: 100, fault: "service s0 is down: status 1; service s1 is down: status 1"}},
		{name: "TRK-06 a number of -254", base: 100, weights: []int{1}, findings: []configs.Finding{{Number: -254}}, files: true, want: standing{priority: 1, fault: "file /s0 says -254"}},
		{name: "TRK-06 a number of -253", base: 100, weights: []int{1}, findings: []configs.Finding{{Number: -253}}, files: true, want: standing{priority: 1}},
		{name: "TRK-06 a number of 400", base: 1, weights: []int{1}, findings: []configs.Finding{{Number: 400}}, files: true, want: standing{priority: 254}},
		{name: "a number times its weight", base: 100, weights: []int{-2}, findings: []configs.Finding{{Number: 10}}, files: true, want: standing{priority: 80}},
		{name: "nothing known yet", base: 100, weights: []int{-60, 0}, want: standing{priority: 100, unknown: "service s0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tracks []configs.Track
			findings := make(map[string]configs.Finding)
			for i, w := range tt.weights {
				name := "s" + string(rune('0'+i))
				track := configs.Track{Service: name, Weight: w}
				if tt.files {
					track = configs.Track{File: "/" + name, Weight: w}
				}
				tracks = append(tracks, track)
				if i < len(tt.findings) {
					findings[track.Key()] = tt.findings[i]
				}
			}
			got := weigh(tt.base, tracks, func(t configs.Track) (configs.Finding, bool) { f, ok := findings[t.Key()]; return f, ok })
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// pair starts two directors, the first of which becomes master.
func pair(t *testing.T, change func(*configs.Instance)) (a, b *host) {
	t.Helper()
	segment := vrrptest.NewSegment(1)
	segment.SetDelay(200 * time.Microsecond)
	a, b = newHost(t, segment, "192.168.50.31"), newHost(t, segment, "192.168.50.32")
	for _, h := range []*host{a, b} {
		priority := uint8(100)
		if h == a {
			priority = 150
		}
		i := web(priority, vip100)
		if change != nil {
			change(&i)
		}
		h.start(i)
	}
	wait(4 * time.Second)
	expectOwner(t, a, b)
	return a, b
}

func expectOwner(t *testing.T, owner, other *host) {
	t.Helper()
	if !owner.holds(vip100) || other.holds(vip100) {
		t.Errorf("%s should hold the address alone: held by it: %t, by %s: %t", owner.address, owner.holds(vip100), other.address, other.holds(vip100))
	}
}

// unbroken watches, every millisecond, that somebody holds the address.
func unbroken(t *testing.T, d time.Duration, a, b *host) {
	t.Helper()
	for range d / time.Millisecond {
		wait(time.Millisecond)
		if !a.holds(vip100) && !b.holds(vip100) {
			t.Fatal("nobody holds the address")
		}
	}
}

// A director that finds no real server gives way to one that does, and takes over
// again when it finds one.
func TestTrackedServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := configs.Track{Service: "web", Weight: -60}
		key := track.Key()
		segment := vrrptest.NewSegment(1)
		a, b := newHost(t, segment, "192.168.50.31"), newHost(t, segment, "192.168.50.32")
		for _, h := range []*host{a, b} {
			i := web(150, vip100)
			if h == b {
				i.Priority = 100
			}
			i.Track = []configs.Track{track}
			h.start(i)
			h.elector.SetReport("", map[string]configs.Finding{key: {Up: true}})
		}
		wait(4 * time.Second)
		expectOwner(t, a, b)
		a.elector.SetReport("", map[string]configs.Finding{key: {Reason: "no real server is up"}})
		unbroken(t, 6*time.Second, a, b)
		expectOwner(t, b, a)
		if s := a.elector.Status()[0]; s.EffectivePriority != 90 || s.Priority != 150 {
			t.Errorf("priority %d, effective %d, want 150 and 90", s.Priority, s.EffectivePriority)
		}
		a.elector.SetReport("", map[string]configs.Finding{key: {Up: true}})
		unbroken(t, 6*time.Second, a, b)
		expectOwner(t, a, b)
		b.stop()
		a.stop()
	})
}

// A new director waits for the first verdicts before it takes over, but not for
// ever.
func TestNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		a := newHost(t, segment, "192.168.50.31")
		a.start(web(150, vip100))
		a.elector.SetReport("2 checks have no verdict yet", nil)
		wait(5 * time.Second)
		s := a.elector.Status()[0]
		if s.State != "backup" || s.Waiting != "the director is not ready: 2 checks have no verdict yet" {
			t.Errorf("state %s, waiting %q", s.State, s.Waiting)
		}
		a.elector.SetReport("", nil)
		wait(time.Millisecond)
		if !a.holds(vip100) {
			t.Error("it should have become master as soon as it was ready")
		}
		a.stop()

		b := newHost(t, segment, "192.168.50.32")
		b.start(web(100, vip100))
		b.elector.SetReport("2 checks have no verdict yet", nil)
		wait(readyLimit - time.Millisecond)
		if b.holds(vip100) {
			t.Error("it did not wait")
		}
		wait(2 * time.Millisecond)
		if !b.holds(vip100) {
			t.Error("it waits for ever")
		}
		b.stop()
	})
}

// A master whose director half is gone gives way at once, to a living director
// only, and comes back when the half does.
func TestTheDirectorHalfIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, nil)
		a.elector.SetAbsent("the director half is gone")
		unbroken(t, 800*time.Millisecond, a, b)
		expectOwner(t, b, a)
		unbroken(t, 8*time.Second, a, b)
		expectOwner(t, b, a)
		a.elector.SetAbsent("")
		unbroken(t, 5*time.Second, a, b)
		expectOwner(t, a, b)

		b.stop()
		a.elector.SetAbsent("the director half is gone")
		for range 10_000 {
			wait(time.Millisecond)
			if !a.holds(vip100) {
				t.Fatal("nobody holds the address")
			}
		}
		if s := a.elector.Status()[0]; s.State != "master" || s.Reason != "nobody has taken over" {
			t.Errorf("%s because %q", s.State, s.Reason)
		}
		a.stop()
	})
}

func TestSwitchover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, nil)
		switchover := func(h *host, name string, hold bool) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- h.elector.Switchover(ctx, name, hold) }()
			for range 20_000 {
				select {
				case err := <-result:
					wait(200 * time.Millisecond) // the addresses linger
					return err
				default:
				}
				wait(time.Millisecond)
				if !a.holds(vip100) && !b.holds(vip100) {
					t.Fatal("nobody holds the address")
				}
			}
			return <-result
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		for range 3 {
			must(switchover(a, "web", false))
			expectOwner(t, b, a)
			unbroken(t, 10*time.Second, a, b)
			expectOwner(t, b, a) // it leaves the lead to the other one
			must(switchover(a, "", false))
			expectOwner(t, a, b)
		}
		if err := switchover(b, "web", false); err == nil || !strings.Contains(err.Error(), "192.168.50.31 is master with priority 150, this director has 100: run lvsd switchover there") {
			t.Errorf("on the director that is backup by right: %v", err)
		}
		if err := switchover(b, "wbe", false); err == nil || err.Error() != `there is no instance "wbe": must be one of web` {
			t.Errorf("of an instance that does not exist: %v", err)
		}

		// Held back, it stays backup even if nobody else is there.
		must(switchover(a, "web", true))
		expectOwner(t, b, a)
		a.stop()
		a.start(web(150, vip100)) // a restart does not end it
		b.stop()
		wait(20 * time.Second)
		if s := a.elector.Status()[0]; s.State != "backup" || !s.Held || s.Waiting != "held back by an operator" {
			t.Errorf("%s, held %t, waiting %q", s.State, s.Held, s.Waiting)
		}
		must(a.elector.Switchover(t.Context(), "web", false))
		if !a.holds(vip100) {
			t.Error("it has not taken the address back")
		}

		// With nobody to take over, it stays master.
		if err := a.elector.Switchover(t.Context(), "web", true); err == nil || err.Error() != "instance web: nobody has taken over: it stays master here" {
			t.Errorf("without another director: %v", err)
		}
		if s := a.elector.Status()[0]; s.State != "master" || s.Held {
			t.Errorf("%s, held %t", s.State, s.Held)
		}
		a.stop()
	})
}

// Two instances of a group are on one director together.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const vip200 = "192.168.60.200/24"
		segment := vrrptest.NewSegment(1)
		segment.SetDelay(200 * time.Microsecond)
		a, b := newHost(t, segment, "192.168.50.31"), newHost(t, segment, "192.168.50.32")
		for _, h := range []*host{a, b} {
			outer := web(150, vip100)
			inner := web(150, vip200)
			if h == b {
				outer.Priority, inner.Priority = 100, 100
			}
			outer.Group, inner.Group = "both", "both"
			inner.Name, inner.VRID = "inner", 52
			inner.Track = []configs.Track{{Interface: "eth3"}}
			h.AddLink("eth3")
			h.SetLink("eth3", func(l *vip.Link) { l.Up, l.Carrier = true, true })
			h.start(outer, inner)
		}
		expect := func(owner, other *host) {
			t.Helper()
			for _, v := range []string{vip100, vip200} {
				if !owner.holds(v) || other.holds(v) {
					t.Errorf("%s should be on %s alone: there %t, on the other %t", v, owner.address, owner.holds(v), other.holds(v))
				}
			}
		}
		wait(4 * time.Second)
		expect(a, b)
		// One of two cables is cut: both instances move.
		a.SetLink("eth3", func(l *vip.Link) { l.Carrier = false })
		wait(time.Second)
		expect(b, a)
		for _, s := range a.elector.Status() {
			want := "interface eth3 is down: it has no carrier"
			if s.Name == "web" {
				want = "instance inner of the group: " + want
			}
			if s.State != "fault" || s.Reason != want {
				t.Errorf("%s is in %s because %q, want fault because %q", s.Name, s.State, s.Reason, want)
			}
		}
		a.SetLink("eth3", func(l *vip.Link) { l.Carrier = true })
		wait(4 * time.Second)
		expect(a, b)
		b.stop()
		a.stop()
	})
}
