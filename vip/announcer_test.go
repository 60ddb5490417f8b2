package vip_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// herald is an Announcer on fake interfaces, inside a bubble.
type herald struct {
	*testing.T
	*viptest.Wire
	kernel *viptest.Kernel
	a      *vip.Announcer
	log    *logbook
	start  time.Time
	stop   func()
}

func announce(t *testing.T, o vip.AnnouncerOptions, interfaces ...string) *herald {
	t.Helper()
	h := &herald{T: t, Wire: &viptest.Wire{}, kernel: viptest.NewKernel(interfaces...), log: &logbook{}, start: time.Now()}
	if o.Link == nil {
		o.Link = h.kernel.Link
	}
	o.Dial, o.Log = h.Dial, h.log.logger()
	h.a = vip.NewAnnouncer(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- h.a.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if open, _ := h.Conns(); open != 0 {
			t.Errorf("%d connections left open", open)
		}
	}
	return h
}

// until lets time pass up to d after the start.
func (h *herald) until(d time.Duration) {
	time.Sleep(time.Until(h.start.Add(d)))
	synctest.Wait()
}

// sent compares what was sent since it was called last: "5.1s eth0 request
// 10.0.0.100", times since the start.
func (h *herald) sent(want ...string) {
	h.Helper()
	var got []string
	for _, f := range h.Frames() {
		got = append(got, fmt.Sprintf("%v %s %s %s", f.Time.Sub(h.start), f.Interface, f.Kind, f.Address))
	}
	if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
		h.Errorf("sent (-want +got):\n%s", diff)
	}
}

// rounds returns the lines for sent: both forms of ARP at each of the times.
func rounds(address string, times ...string) []string {
	var lines []string
	for _, at := range times {
		lines = append(lines, at+" eth0 request "+address, at+" eth0 reply "+address)
	}
	return lines
}

var one = viptest.Addresses("eth0", "10.0.0.100/24")

func TestAnnouncementsAreSentOnSchedule(t *testing.T) {
	bubble(t, "GARP-01 one address", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.sent(rounds("10.0.0.100", "0s")...)
		h.until(4 * time.Second)
		h.sent(rounds("10.0.0.100", "100ms", "200ms", "300ms", "400ms")...)
		h.until(64 * time.Second)
		h.sent(rounds("10.0.0.100", "5s", "5.1s", "5.2s", "5.3s", "5.4s")...)
		h.until(200 * time.Second)
		h.sent(rounds("10.0.0.100", "1m5s", "2m5s", "3m5s")...)
		if open, dialed := h.Conns(); open != 1 || dialed != 1 {
			t.Errorf("%d connections open, %d dialed", open, dialed)
		}
		if diff := cmp.Diff(vip.AnnouncerStatus{Addresses: 1, Sent: 26, Failing: map[string]string{}}, h.a.Status()); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})
}

// All addresses have their first round before one has its second.
func TestRoundsGoOverAllAddresses(t *testing.T) {
	bubble(t, "GARP-01, GARP-11", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{Repeat: 2}, "eth0", "eth1")
		defer h.stop()
		all := join(one, viptest.Addresses("eth1", "2001:db8::1/64"), viptest.Addresses("eth0", "10.0.0.101/32"))
		if err := h.a.Announce(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		h.until(time.Second)
		var want []string
		for _, at := range []string{"0s", "100ms"} {
			want = append(want, rounds("10.0.0.100", at)...)
			want = append(want, at+" eth1 advertisement 2001:db8::1")
			want = append(want, rounds("10.0.0.101", at)...)
		}
		h.sent(want...)
	})
}

func TestNewCallReplacesTheOldSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		for _, at := range []time.Duration{0, 1250 * time.Millisecond} {
			h.until(at)
			if err := h.a.Announce(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		h.until(60 * time.Second)
		h.sent(rounds("10.0.0.100",
			"0s", "100ms", "200ms", "300ms", "400ms",
			"1.25s", "1.35s", "1.45s", "1.55s", "1.65s",
			"6.25s", "6.35s", "6.45s", "6.55s", "6.65s")...)
	})
}

func TestWithdrawnAddressIsSilentAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{Repeat: 3}, "eth0")
		defer h.stop()
		other := viptest.Addresses("eth0", "10.0.0.101/24")
		if err := h.a.Announce(t.Context(), join(one, other)); err != nil {
			t.Fatal(err)
		}
		h.until(150 * time.Millisecond)
		h.Frames()
		h.a.Withdraw(one)
		h.a.Withdraw(one) // again, and nothing happens
		h.until(time.Minute)
		h.sent(rounds("10.0.0.101", "200ms", "5s", "5.1s", "5.2s")...)

		// Withdrawn and announced again: the delayed burst belongs to the new one.
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.until(64 * time.Second)
		h.sent(rounds("10.0.0.100", "1m0s", "1m0.1s", "1m0.2s")...)
	})
}

func thousand() []vip.Address {
	var all []vip.Address
	for i := range 1000 {
		all = append(all, vip.Address{Interface: "eth0", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)}), 16)})
	}
	return all
}

// A thousand addresses are 2,000 frames a round: 100 at a time, then 10 ms of
// silence, and the first leaves at once.
func TestManyAddressesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		all := thousand()
		if err := h.a.Announce(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if spent := time.Since(h.start); spent != 190*time.Millisecond {
			t.Errorf("the first round took %v", spent)
		}
		first := h.Frames()
		if len(first) != 2000 {
			t.Fatalf("%d frames in the first round", len(first))
		}
		for i, f := range first {
			if want := time.Duration(i/100) * 10 * time.Millisecond; f.Time.Sub(h.start) != want {
				t.Fatalf("frame %d was sent at %v, want %v", i, f.Time.Sub(h.start), want)
			}
			if want := all[i/2].Prefix.Addr(); f.Address != want {
				t.Fatalf("frame %d is about %s, want %s", i, f.Address, want)
			}
		}

		h.until(4 * time.Second)
		rest := h.Frames()
		if len(rest) != 8000 {
			t.Fatalf("%d frames in the next four rounds", len(rest))
		}
		last := first[len(first)-1].Time
		count := map[time.Time]int{}
		for _, f := range rest {
			if gap := f.Time.Sub(last); gap != 0 && gap < 10*time.Millisecond {
				t.Fatalf("a pause of %v", gap)
			}
			last = f.Time
			if count[f.Time]++; count[f.Time] > 100 {
				t.Fatal("more than 100 frames at once")
			}
		}
	})
}

// Frames of both families count, and an odd number of them is not rounded up.
func TestBurstIsAnUpperBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{Burst: 4}, "eth0")
		defer h.stop()
		if err := h.a.Announce(t.Context(), viptest.Addresses("eth0", "2001:db8::1/64", "10.0.0.1/24", "10.0.0.2/24")); err != nil {
			t.Fatal(err)
		}
		h.sent("0s eth0 advertisement 2001:db8::1", "0s eth0 request 10.0.0.1", "0s eth0 reply 10.0.0.1",
			"10ms eth0 request 10.0.0.2", "10ms eth0 reply 10.0.0.2")
	})
}

// What was sent long ago does not count.
func TestBurstBeginsAnewAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		all := thousand()
		for i, at := range []time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond} {
			h.until(at)
			if err := h.a.Announce(t.Context(), all[40*i:40*i+40]); err != nil {
				t.Fatal(err)
			}
			if late := time.Since(h.start) - at; late != 0 {
				t.Errorf("call %d took %v", i, late)
			}
		}
	})
}

// A takeover in the midst of somebody's repetitions goes before them.
func TestFirstRoundGoesBeforeRepetitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0", "eth1")
		defer h.stop()
		if err := h.a.Announce(t.Context(), thousand()); err != nil {
			t.Fatal(err)
		}
		h.until(5*time.Second + 15*time.Millisecond)
		start := time.Now()
		if err := h.a.Announce(t.Context(), viptest.Addresses("eth1", "10.9.0.1/24")); err != nil {
			t.Fatal(err)
		}
		if spent := time.Since(start); spent > 10*time.Millisecond {
			t.Errorf("waited %v behind repetitions", spent)
		}
	})
}

func TestWithdrawStopsAPacedQueue(t *testing.T) {
	bubble(t, "GARP-09", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		all := thousand()
		result := make(chan error)
		go func() { result <- h.a.Announce(t.Context(), all) }()
		h.until(45 * time.Millisecond)
		if n := len(h.Frames()); n != 500 {
			t.Fatalf("%d frames before", n)
		}
		h.a.Withdraw(all)
		if err := <-result; err == nil || err.Error() != "announcing 750 addresses on eth0: withdrawn" {
			t.Errorf("Announce: %v", err)
		}
		h.until(10 * time.Minute)
		h.sent()
	})
}

func TestAnnounceEndsWithItsContextAndTheWorkGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Millisecond)
		defer cancel()
		err := h.a.Announce(ctx, thousand())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "announcing 1000 addresses: 750 of them not sent yet: ") {
			t.Errorf("Announce: %v", err)
		}
		h.until(4 * time.Second)
		if n := len(h.Frames()); n != 10000 {
			t.Errorf("%d frames in the first burst", n)
		}
	})
}

// A kernel that is slow to answer keeps neither Announce nor Withdraw.
func TestSlowKernelDoesNotBlockCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := viptest.NewKernel("eth0")
		h := announce(t, vip.AnnouncerOptions{Link: func(name string) (vip.Link, error) {
			time.Sleep(10 * time.Second)
			return k.Link(name)
		}})
		defer h.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := h.a.Announce(ctx, one); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Announce: %v", err)
		}
		h.a.Withdraw(one)
		if spent := time.Since(h.start); spent != 50*time.Millisecond {
			t.Errorf("waited %v", spent)
		}
		h.until(time.Minute)
		h.sent() // withdrawn while the interface was looked up
	})
}

func TestInterfaceWithoutARPIsPassedOver(t *testing.T) {
	bubble(t, "GARP-13", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0", "dummy0")
		defer h.stop()
		h.kernel.SetLink("dummy0", func(l *vip.Link) { l.NoARP = true })
		if err := h.a.Announce(t.Context(), join(viptest.Addresses("dummy0", "10.9.0.1/32"), one)); err != nil {
			t.Fatal(err)
		}
		h.sent(rounds("10.0.0.100", "0s")...)
		if s := h.a.Status(); s.Errors != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestVanishedInterfaceIsCountedAndSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0", "eth1")
		defer h.stop()
		two := viptest.Addresses("eth1", "10.9.0.1/24", "10.9.0.2/24")
		if err := h.a.Announce(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		h.kernel.RemoveLink("eth1")
		h.until(time.Millisecond)
		err := h.a.Announce(t.Context(), join(two, one))
		if !errors.Is(err, vip.ErrNoLink) || err.Error() != "announcing 2 addresses on eth1: no such interface: eth1" {
			t.Errorf("Announce: %v", err)
		}
		h.until(4 * time.Second)
		s := h.a.Status()
		if s.Errors != 10 || s.Failing["eth1"] != "no such interface: eth1" {
			t.Errorf("status %+v", s)
		}
		if n := len(h.log.lines("level=ERROR", "interface=eth1")); n != 1 {
			t.Errorf("said %d times", n)
		}
		if open, _ := h.Conns(); open != 1 {
			t.Errorf("%d connections open", open)
		}

		// It comes back with another index and hardware address.
		h.kernel.AddLink("eth1")
		h.Frames()
		h.until(6 * time.Second)
		link, _ := h.kernel.Link("eth1")
		n := 0
		for _, f := range h.Frames() {
			if f.Interface == "eth1" {
				n++
				if f.Index != link.Index || f.Source != link.HardwareAddr.String() {
					t.Fatalf("sent %s on index %d, want %s on %d", f, f.Index, link.HardwareAddr, link.Index)
				}
			}
		}
		if n != 20 {
			t.Errorf("%d frames on the new interface", n)
		}
		if n := len(h.log.lines("announced again", "interface=eth1")); n != 1 {
			t.Errorf("the end was said %d times", n)
		}
	})
}

// An interface that took the name of another gets a connection of its own.
func TestConnectionIsReopenedWhenTheIndexChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{Repeat: 2}, "eth0")
		defer h.stop()
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.Frames()
		h.kernel.RemoveLink("eth0")
		h.kernel.AddLink("eth0")
		h.until(150 * time.Millisecond)
		if f := h.Frames(); len(f) != 2 || f[0].Index != 2 || f[0].Source != "02:00:00:00:00:02" {
			t.Errorf("frames %v", f)
		}
		if open, dialed := h.Conns(); open != 1 || dialed != 2 {
			t.Errorf("%d connections open, %d dialed", open, dialed)
		}

		// A new hardware address alone needs none.
		h.kernel.SetLink("eth0", func(l *vip.Link) { l.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 9} })
		h.until(5 * time.Second)
		if f := h.Frames(); len(f) != 2 || f[0].Source != "02:00:00:00:00:09" {
			t.Errorf("frames %v", f)
		}
		if _, dialed := h.Conns(); dialed != 2 {
			t.Errorf("%d dialed", dialed)
		}
	})
}

func TestSendErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		dialed int // one at the start
	}{
		{syscall.ENOBUFS, 1},  // a full queue: the connection is as good as before
		{syscall.ENETDOWN, 2}, // anything else: a new one for the next round
		{syscall.ENXIO, 2},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := announce(t, vip.AnnouncerOptions{Repeat: 2}, "eth0")
				defer h.stop()
				h.Fail(func(string) error { return tt.err })
				if err := h.a.Announce(t.Context(), one); !errors.Is(err, tt.err) {
					t.Errorf("Announce: %v", err)
				}
				h.Fail(nil)
				h.until(time.Second)
				h.sent(rounds("10.0.0.100", "100ms")...)
				if open, dialed := h.Conns(); open != 1 || dialed != tt.dialed {
					t.Errorf("%d connections open, %d dialed", open, dialed)
				}
				if s := h.a.Status(); s.Errors != 1 || s.Sent != 2 || len(s.Failing) != 0 {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// A process that was stopped for a while must not shout what was due meanwhile:
// the addresses may be another director's by now.
func TestRoundsMissedByAFrozenProcessAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := viptest.NewKernel("eth0")
		freeze := time.Duration(0)
		h := announce(t, vip.AnnouncerOptions{Link: func(name string) (vip.Link, error) {
			if name == "freeze" {
				time.Sleep(freeze) // the goroutine that sends stands still
			}
			return k.Link(name)
		}})
		defer h.stop()
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.until(250 * time.Millisecond)
		h.sent(rounds("10.0.0.100", "0s", "100ms", "200ms")...)
		freeze = 6 * time.Second
		gone := viptest.Addresses("freeze", "10.9.0.1/24")
		if err := h.a.Announce(t.Context(), gone); !errors.Is(err, vip.ErrNoLink) {
			t.Errorf("Announce: %v", err)
		}
		h.a.Withdraw(gone)
		h.until(66 * time.Second)
		h.sent(rounds("10.0.0.100", "1m5s")...)
	})
}

func TestAnnouncerThatEndsLetsCallersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		result := make(chan error)
		go func() { result <- h.a.Announce(t.Context(), thousand()) }()
		h.until(15 * time.Millisecond)
		h.stop()
		if err := <-result; err == nil || err.Error() != "announcing 900 addresses on eth0: announcer stopped" {
			t.Errorf("Announce: %v", err)
		}
	})
}

func TestAnnounceOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		if err := h.a.Announce(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if err := h.a.Announce(t.Context(), join(one, one)); err != nil {
			t.Error(err)
		}
		h.sent(rounds("10.0.0.100", "0s")...)
	})
}
