package elector

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vip/viptest"
	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// speak puts an advertisement of another router on the segment.
func speak(t *testing.T, s *vrrptest.Segment, from string, vrid, priority uint8) {
	t.Helper()
	source, group := netip.MustParseAddr(from), netip.MustParseAddr("224.0.0.18")
	payload, err := vrrp.Advertisement{
		Version: vrrp.Version3,
		VRID:    vrid, Priority: priority, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.168.50.100")},
	}.Marshal(source, group)
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(vrrp.Packet{Source: source, Destination: group, TTL: 255, Payload: payload})
}

// announced returns what was announced since it was called last: "100ms
// 192.168.50.100", times since start. The two forms of ARP are one.
func (h *host) announced(start time.Time) []string {
	var got []string
	for _, f := range h.wire.Frames() {
		if f.Kind != "reply" {
			got = append(got, fmt.Sprintf("%v %s", f.Time.Sub(start), f.Address))
		}
	}
	return got
}

func expectAnnounced(t *testing.T, h *host, start time.Time, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.announced(start)); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
}

// down100 is the master down interval of priority 100 at 1 s.
const down100 = 3609375 * time.Microsecond

// A master that is preempted a second after its takeover and then left alone again
// has its second burst five seconds after the second takeover only.
func TestBurstsOfALostMastershipAreNotSent(t *testing.T) {
	bubble(t, "GARP-08", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		h := newHost(t, segment, "192.168.50.31")
		h.start(web(100, vip100))
		wait(down100)
		first := time.Now()
		wait(time.Second)
		h.wire.Frames()
		speak(t, segment, "192.168.50.39", 51, 200)
		wait(down100 - 1)
		expectAnnounced(t, h, first)
		wait(1)
		again := time.Now()
		if s := h.elector.Status()[0].State; s != "master" || again.Sub(first) > 5*time.Second {
			t.Fatalf("%s after %v", s, again.Sub(first))
		}
		wait(30 * time.Second)
		var want []string
		for _, at := range []string{"0s", "100ms", "200ms", "300ms", "400ms", "5s", "5.1s", "5.2s", "5.3s", "5.4s"} {
			want = append(want, at+" 192.168.50.100")
		}
		expectAnnounced(t, h, again, want...)
		h.stop()
	})
}

// A master that hears another one with a lower priority repairs at once what that
// one has told the neighbours, again five seconds later, and from the start when
// the other one has fallen silent. It does so for the addresses of this virtual
// router: those of another one of the group have an advertisement of their own.
func TestRivalIsAnsweredWithAnnouncements(t *testing.T) {
	bubble(t, "GARP-10", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		h := newHost(t, segment, "192.168.50.31")
		web, inner := web(100, vip100), web(100, "192.168.60.200/24")
		inner.Name, inner.VRID = "inner", 52
		web.Group, inner.Group = "both", "both"
		h.start(web, inner)
		wait(20*time.Second + 500*time.Millisecond)
		h.wire.Frames()
		h.journal.take()
		start := time.Now()
		speak(t, segment, "192.168.50.39", 51, 50)
		wait(time.Millisecond)
		if got := h.journal.take(); !slices.Contains(got, "advertise priority 100") || !slices.Contains(got, "announce") {
			t.Errorf("at once: %q, want an advertisement and announcements", got)
		}
		expectAnnounced(t, h, start, "0s 192.168.50.100")
		// 3 s and the skew of priority 50 later it is gone.
		wait(30 * time.Second)
		var want []string
		for _, at := range []string{
			"100ms", "200ms", "300ms", "400ms",
			"3.8046875s", "3.9046875s", "4.0046875s", "4.1046875s", "4.2046875s",
			"8.8046875s", "8.9046875s", "9.0046875s", "9.1046875s", "9.2046875s",
		} {
			want = append(want, at+" 192.168.50.100")
		}
		expectAnnounced(t, h, start, want...)
		if s := h.elector.Status(); s[1].State != "master" || s[1].Counters.RivalsHeard != 1 || s[0].Counters.RivalsHeard != 0 {
			t.Errorf("status %+v", s)
		}
		h.stop()
	})
}

// Twenty advertised addresses, then the extra ones of IPv4 and IPv6, round after
// round. The advertisement lists the twenty.
func TestRoundsGoOverAdvertisedThenExtraAddresses(t *testing.T) {
	bubble(t, "GARP-11", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		h := newHost(t, segment, "192.168.50.31")
		config := web(100)
		var round []string
		for n := range 20 {
			a := fmt.Sprintf("192.168.50.%d", 100+n)
			config.Addresses = append(config.Addresses, configs.Address{Prefix: netip.MustParsePrefix(a + "/24"), Interface: "eth2"})
			round = append(round, a)
		}
		for _, a := range []string{"192.168.50.200", "2001:db8::100"} {
			config.ExtraAddresses = append(config.ExtraAddresses, configs.Address{Prefix: netip.MustParsePrefix(a + "/32"), Interface: "eth2"})
			round = append(round, a)
		}
		h.start(config)
		wait(down100)
		start := time.Now()
		wait(time.Second)
		var want []string
		for _, at := range []string{"0s", "100ms", "200ms", "300ms", "400ms"} {
			for _, a := range round {
				want = append(want, at+" "+a)
			}
		}
		expectAnnounced(t, h, start, want...)
		if n := segment.Sent()[0].Packet.Payload[3]; n != 20 {
			t.Errorf("%d addresses advertised", n)
		}
		h.stop()
	})
}

// An address that the kernel refuses is not announced, says why, and keeps the
// other one neither from being held nor from being announced. Once the kernel
// takes it, it is announced like a new one. While it refuses, a rival and a reload
// are no reason to announce it either.
func TestOnlyAddressesInPlaceAreAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"GARP-12 refused", syscall.EACCES},
		{"GARP-12 there already", syscall.EEXIST},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			segment := vrrptest.NewSegment(1)
			h := newHost(t, segment, "192.168.50.31")
			config := web(100, vip100, "192.168.50.101/24")
			h.start(config)
			refused := netip.MustParseAddr("192.168.50.101")
			h.Fail(func(op viptest.Op, a vip.Address) error {
				if op == viptest.OpAdd && a.Prefix.Addr() == refused {
					return tt.err
				}
				return nil
			})
			wait(down100 + time.Second)
			only := func(event string) {
				t.Helper()
				frames := h.wire.Frames()
				if len(frames) == 0 {
					t.Errorf("%s: nothing was announced", event)
				}
				for _, f := range frames {
					if f.Address == refused {
						t.Errorf("%s: %s was announced", event, f.Address)
						return
					}
				}
			}
			only("takeover")
			s := h.elector.Status()[0]
			if s.State != "master" || !s.Addresses[0].Held || s.Addresses[1].Held || s.Counters.HolderErrors != 1 {
				t.Errorf("status %+v", s)
			}
			speak(t, segment, "192.168.50.39", 51, 50)
			wait(time.Second)
			only("rival")
			config.ExtraAddresses = []configs.Address{{Prefix: netip.MustParsePrefix("192.168.50.102/24"), Interface: "eth2"}}
			h.elector.Configure([]configs.Instance{config})
			wait(time.Second)
			only("reload")
			wait(10 * time.Second)
			h.wire.Frames()

			h.Fail(nil)
			start := time.Now()
			wait(20 * time.Second)
			got := h.announced(start)
			if n := len(got); n != 10 {
				t.Errorf("announced %q, want ten rounds of the one that came", got)
			}
			for _, g := range got {
				if d, err := time.ParseDuration(g[:len(g)-len(" 192.168.50.101")]); err != nil || d > 7*time.Second {
					t.Errorf("announced %q, want the address that came within a second", g)
				}
			}
			if s := h.elector.Status()[0]; !s.Addresses[1].Held {
				t.Errorf("status %+v", s)
			}
			h.stop()
		})
	}
}

// Somebody takes an address away from a master that has just been preempted and
// lets it linger. It comes back, for those who still send here, but silently.
func TestAddressPutBackWhileYieldingIsNotAnnounced(t *testing.T) {
	bubble(t, "GARP-09, FLT-05", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		h := newHost(t, segment, "192.168.50.31")
		h.start(web(100, vip100))
		wait(20 * time.Second)
		h.wire.Frames()
		speak(t, segment, "192.168.50.39", 51, 200)
		wait(time.Millisecond)
		h.Take(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)})
		wait(50 * time.Millisecond)
		if frames := h.wire.Frames(); !h.holds(vip100) || len(frames) != 0 {
			t.Errorf("holding: %t, announced: %v; want the address held and nothing announced", h.holds(vip100), frames)
		}
		h.stop()
	})
}
