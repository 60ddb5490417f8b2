package elector

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp/vrrptest"
)

// advertisements counts those with a priority that are in a journal.
func advertisements(entries []string, priority string) (n int) {
	for _, e := range entries {
		if e == "advertise priority "+priority {
			n++
		}
	}
	return n
}

// A cable that is pulled and plugged ten times leaves nothing behind: no address
// where the carrier is away at the end, and one advertisement a second from one
// master where it is there.
func TestFlappingCarrierEndsConsistent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flaps int
		up    bool
	}{
		{"FLT-03 up at the end", 20, true},
		{"FLT-03 without carrier at the end", 21, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			a, b := pair(t, nil)
			a.journal.take()
			for n := range tt.flaps {
				a.SetLink("eth2", func(l *vip.Link) { l.Carrier = n%2 == 1 })
				wait(100 * time.Millisecond)
			}
			if flapped := a.journal.take(); advertisements(flapped, "0") != 1 || advertisements(flapped, "150") != 0 {
				t.Errorf("advertised while it flapped: %q, want one resignation", flapped)
			}
			wait(5 * time.Second)
			a.journal.take()
			b.journal.take()
			wait(10 * time.Second)
			sent := advertisements(a.journal.take(), "150")
			others := advertisements(b.journal.take(), "100")
			s := a.elector.Status()[0]
			if tt.up {
				expectOwner(t, a, b)
				if s.State != "master" || sent != 10 || others != 0 {
					t.Errorf("%s because %q, %d advertisements in ten seconds, %d of the other one", s.State, s.Reason, sent, others)
				}
			} else {
				expectOwner(t, b, a)
				if s.State != "fault" || sent != 0 || others != 10 {
					t.Errorf("%s because %q, %d advertisements in ten seconds, %d of the other one", s.State, s.Reason, sent, others)
				}
			}
			b.stop()
			a.stop()
		})
	}
}

// Something tracked without a weight goes down: one resignation, and the other
// director is master after its skew time.
func TestTrackedFaultHandsOver(t *testing.T) {
	bubble(t, "FLT-04", func(t *testing.T) {
		track := configs.Track{Service: "web"}
		a, b := pair(t, nil)
		a.elector.SetReport("", map[string]configs.Finding{track.Key(): {Up: true}})
		tracking := web(150, vip100)
		tracking.Track = []configs.Track{track}
		a.elector.Configure([]configs.Instance{tracking})
		wait(time.Second)
		a.journal.take()
		a.elector.SetReport("", map[string]configs.Finding{track.Key(): {Reason: "no real server is up"}})
		wait(200*time.Microsecond + 609375*time.Microsecond - 1)
		if b.holds(vip100) {
			t.Error("the backup did not wait for its skew time")
		}
		wait(1)
		expectOwner(t, b, a)
		wait(10 * time.Second)
		if sent := a.journal.take(); advertisements(sent, "0") != 1 || advertisements(sent, "150") != 0 {
			t.Errorf("journal %q, want one resignation", sent)
		}
		if s := a.elector.Status()[0]; s.State != "fault" || s.Reason != "service web is down: no real server is up" {
			t.Errorf("%s because %q", s.State, s.Reason)
		}
		b.stop()
		a.stop()
	})
}

// A backup that hears nobody, because of a packet filter, becomes a second master.
// The other one hears it, counts it, and shows it.
func TestSecondMasterIsShown(t *testing.T) {
	bubble(t, "FLT-12", func(t *testing.T) {
		a, b := pair(t, nil)
		b.deaf.Store(true)
		wait(4 * time.Second)
		if !a.holds(vip100) || !b.holds(vip100) {
			t.Fatal("there should be two masters")
		}
		s := a.elector.Status()[0]
		if s.State != "master" || s.Rival != "192.168.50.32" || s.Counters.RivalsHeard == 0 || time.Since(s.RivalSince) > 2*time.Second {
			t.Errorf("on the one that hears: %+v", s)
		}
		if s := b.elector.Status()[0]; s.State != "master" || s.Rival != "" || s.Counters.RivalsHeard != 0 {
			t.Errorf("on the deaf one: %+v", s)
		}
		heard := s.Counters.RivalsHeard
		wait(10 * time.Second)
		if s := a.elector.Status()[0]; s.Counters.RivalsHeard != heard+10 {
			t.Errorf("%d of its advertisements were counted in ten seconds", s.Counters.RivalsHeard-heard)
		}
		b.deaf.Store(false)
		wait(5 * time.Second)
		expectOwner(t, a, b)
		if s := a.elector.Status()[0]; s.Rival != "" {
			t.Errorf("a rival is shown that has gone: %+v", s)
		}
		b.stop()
		a.stop()
	})
}

// A master that falls below the backup says so in its next advertisement. The
// backup lets its timer run out and takes over: three intervals and its skew time
// after the last advertisement that outranked it.
func TestLowerPriorityMovesTheMastership(t *testing.T) {
	bubble(t, "TRK-05", func(t *testing.T) {
		track := configs.Track{Service: "web", Weight: -60}
		a, b := pair(t, nil)
		a.elector.SetReport("", map[string]configs.Finding{track.Key(): {Up: true}})
		tracking := web(150, vip100)
		tracking.Track = []configs.Track{track}
		a.elector.Configure([]configs.Instance{tracking})
		a.journal.take()
		for advertisements(a.journal.take(), "150") == 0 {
			wait(time.Millisecond)
		}
		last := time.Now()
		wait(300 * time.Millisecond)
		a.elector.SetReport("", map[string]configs.Finding{track.Key(): {Reason: "no real server is up"}})
		for b.elector.Status()[0].State != "master" {
			unbroken(t, time.Millisecond, a, b)
			if time.Since(last) > 5*time.Second {
				t.Fatal("the backup has not taken over")
			}
		}
		// This test looks once a millisecond.
		if took := time.Since(last); took < down100-time.Millisecond || took > down100+2*time.Millisecond {
			t.Errorf("taken over %v after the last advertisement of priority 150, want %v", took, down100)
		}
		sent := a.journal.take()
		if !slices.Contains(sent, "advertise priority 90") || advertisements(sent, "150")+advertisements(sent, "0") > 0 {
			t.Errorf("journal %q", sent)
		}
		wait(time.Second)
		expectOwner(t, b, a)
		b.stop()
		a.stop()
	})
}

// An address of one instance of a group is taken away: it is put back in place, and
// neither instance leaves the lead.
func TestDeletedAddressLeavesTheGroupAlone(t *testing.T) {
	bubble(t, "SYN-04", func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		outer, inner := web(150, vip100), web(150, "192.168.60.200/24")
		inner.Name, inner.VRID = "inner", 52
		outer.Group, inner.Group = "both", "both"
		h.start(outer, inner)
		wait(20*time.Second + 800*time.Millisecond) // between two advertisements
		h.journal.take()
		h.wire.Frames()
		h.Take(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)})
		wait(50 * time.Millisecond)
		expectJournal(t, h.journal, "add 192.168.50.100/24 on eth2", "announce")
		for _, f := range h.wire.Frames() {
			if f.Address != netip.MustParseAddr("192.168.50.100") {
				t.Errorf("announced: %s", f)
			}
		}
		wait(10 * time.Second)
		for _, s := range h.elector.Status() {
			if s.State != "master" || s.Counters.PriorityZeroSent != 0 || s.Counters.MasterTransitions != 1 || !s.Addresses[0].Held {
				t.Errorf("%+v", s)
			}
		}
		h.stop()
	})
}
