package vrrp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// said is n advertisements of a host by a rule.
type said struct {
	host int
	n    int
	rule vrrp.Checksum
}

const (
	pseudo  = vrrp.ChecksumPseudoHeader
	message = vrrp.ChecksumMessage
	old     = vrrp.ChecksumPseudoHeaderGroup
)

// By which rule a Master sends that may choose, after it has heard the others.
func TestChecksumFollowsThePeers(t *testing.T) {
	all := func(rule vrrp.Checksum) map[netip.Addr]vrrp.Checksum {
		return map[netip.Addr]vrrp.Checksum{group: rule}
	}
	each := func(to8, to9 vrrp.Checksum) map[netip.Addr]vrrp.Checksum {
		return map[netip.Addr]vrrp.Checksum{host(8): to8, host(9): to9}
	}
	to := unicast(config(100), host(1), host(8), host(9))
	for _, tt := range []struct {
		name   string
		config vrrp.Config
		heard  []said
		want   map[netip.Addr]vrrp.Checksum
	}{
		{"nobody was heard", config(100), nil, all(pseudo)},
		{"two in a row are not enough", config(100), []said{{9, 2, message}}, all(pseudo)},
		{"three in a row are", config(100), []said{{9, 3, message}}, all(message)},
		{"three, but not in a row", config(100), []said{{9, 2, message}, {9, 1, pseudo}, {9, 2, message}}, all(pseudo)},
		{"back again", config(100), []said{{9, 5, message}, {9, 3, pseudo}}, all(pseudo)},
		{"one packet in its name changes nothing", config(100), []said{{9, 5, message}, {9, 1, pseudo}}, all(message)},
		{"nor do two", config(100), []said{{9, 5, message}, {9, 2, pseudo}}, all(message)},
		{"all peers do the same", config(100), []said{{9, 3, message}, {8, 3, message}}, all(message)},
		{"they differ", config(100), []said{{9, 9, message}, {8, 3, pseudo}}, all(pseudo)},
		{"they differ the other way round", config(100), []said{{9, 3, pseudo}, {8, 9, message}}, all(pseudo)},
		{"two of three", config(100), []said{{9, 9, message}, {8, 9, message}, {7, 9, pseudo}}, all(pseudo)},
		{"a stranger once", config(100), []said{{9, 3, message}, {8, 1, pseudo}}, all(message)},
		{"a stranger once with the same rule", config(100), []said{{9, 3, message}, {8, 1, message}}, all(message)},
		{"each peer of unicast has its own", to, []said{{8, 3, message}, {9, 3, old}}, each(message, old)},
		{"a peer of unicast that was not heard", to, []said{{8, 3, message}}, each(message, pseudo)},
		{"IOP-05 the old rule to that peer only", to, []said{{9, 3, old}, {8, 3, pseudo}}, each(pseudo, old)},
		{"IOP-05 two in a row are not enough", to, []said{{9, 2, old}}, each(pseudo, pseudo)},
		{"fixed to the pseudo-header", changed(func(c *vrrp.Config) { c.Checksum = vrrp.ChecksumAlwaysPseudoHeader }), []said{{9, 9, message}}, all(pseudo)},
		{"fixed to the message", changed(func(c *vrrp.Config) { c.Checksum = vrrp.ChecksumAlwaysMessage }), []said{{9, 9, pseudo}}, all(message)},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			r := start(t, s, 1, tt.config, vrrp.Options{})
			untilMaster(t, r)
			for _, h := range tt.heard {
				destination := group
				if len(tt.config.Peers) > 0 {
					destination = host(1)
				}
				for range h.n {
					s.Inject(forged(t, host(h.host), destination, func(a *vrrp.Advertisement) { a.Priority, a.Checksum = 50, h.rule }))
				}
			}
			sleep(200 * ms)
			n := len(s.Sent())
			sleep(time.Second) // the next regular advertisement
			got := make(map[netip.Addr]vrrp.Checksum)
			for _, p := range s.Sent()[n:] {
				a, err := vrrp.Parse(p.Packet.Payload, p.Packet.Source, p.Packet.Destination)
				if err != nil {
					t.Error(err)
				}
				got[p.Packet.Destination] = a.Checksum
			}
			if diff := cmp.Diff(tt.want, got, compareAddr); diff != "" {
				t.Errorf("rules (-want +got)\n%s", diff)
			}
		})
	}
}

// keepalived with v3_checksum_as_v2, as it was captured: it is believed from its first advertisement on, and from the
// third on it is answered by its own rule.
func TestChecksumFollowsKeepalived(t *testing.T) {
	bubble(t, "IOP-03", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 2, config(100), vrrp.Options{})
		sleep(0)
		hello, bye := packet(t, goldenPacket(t, "v3_ipv4_rfc9568").Packet), packet(t, goldenPacket(t, "v3_ipv4_rfc9568_prio0").Packet)
		for range 3 {
			s.Inject(hello)
			sleep(time.Second)
		}
		s.Inject(bye)
		sleep(time.Second)
		wantState(t, r, vrrp.Master)
		sent := s.Sent()[0].Packet
		if a, err := vrrp.Parse(sent.Payload, sent.Source, sent.Destination); err != nil || a.Checksum != message {
			t.Errorf("sent by the rule %q, %v", a.Checksum, err)
		}
		if dropped := r.dropped(); len(dropped) != 0 {
			t.Errorf("dropped %v", dropped)
		}
	})
	// To the second peer of several it sends a sum that is right under no rule. That cannot be accepted, but explained.
	for _, tt := range []struct {
		name  string
		peers []netip.Addr
		want  bool
	}{
		{"IOP-04 the second peer", []netip.Addr{host(1), host(2)}, true},
		{"IOP-04 the only peer", []netip.Addr{host(1)}, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			r := start(t, s, 3, unicast(config(100), host(3), tt.peers...), vrrp.Options{})
			sleep(0)
			s.Inject(packet(t, goldenPacket(t, "v3_ipv4_rfc9568_unicast_peer2_broken").Packet))
			sleep(0)
			wantDropped(t, r, vrrp.DropChecksum, 1)
			got := r.logs.lines("dropping")
			if len(got) != 1 || strings.Contains(got[0], "keepalived with v3_checksum_as_v2 sends such sums to all peers but its first one") != tt.want {
				t.Errorf("logged %q", got)
			}
		})
	}
}

// FRR with a list of its own is believed; the difference is reported.
func TestFRRWithAnotherList(t *testing.T) {
	bubble(t, "IOP-07", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := startAt(t, s, host6(1), config6(50), vrrp.Options{})
		sleep(0)
		for _, c := range readCaptures(t) {
			if c.Source == netip.MustParseAddr("fe80::ff:fe00:5102") && slices.Equal(c.Captures, []string{"frr_v3_ipv6_global_only"}) {
				s.Inject(vrrp.Packet{Source: c.Source, Destination: c.Destination, TTL: c.TTL, Payload: c.Payload})
			}
		}
		sleep(0)
		if st := r.Status(); st.Counters.Received == 0 || st.Counters.AddressMismatches != st.Counters.Received || len(r.dropped()) != 0 {
			t.Errorf("received %+v", st.Counters)
		}
		if got := r.logs.lines("lists other addresses"); len(got) != 1 || !slices.ContainsFunc(got, func(l string) bool {
			return l == `level=WARN msg="another router lists other addresses" instance=web vrid=51 interface=eth0 source=fe80::ff:fe00:5102 listed=[2001:db8:99::100] configured="[fe80::99:100 2001:db8:99::100]"`
		}) {
			t.Errorf("logged %q", got)
		}
	})
}

func TestPeersInTheStatus(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		if got := r.Status().Peers; len(got) != 0 {
			t.Errorf("peers %+v before anybody was heard", got)
		}
		p.send(150, 2*time.Second)
		sleep(time.Second)
		p.send(160, time.Second)
		p.send(0, time.Second)
		sleep(500 * ms)
		other := forged(t, host(8), group, func(a *vrrp.Advertisement) { a.Priority, a.Checksum = 50, message })
		r.receive(t, other)
		want := []vrrp.PeerStatus{
			{
				Source: host(9), Heard: epoch.Add(time.Second), Priority: 0, Interval: time.Second,
				Checksum: pseudo, Run: 3, Received: 3, PriorityZeroReceived: 1,
			},
			{Source: host(8), Heard: epoch.Add(1500 * ms), Priority: 50, Interval: time.Second, Checksum: message, Run: 1, Received: 1},
		}
		if diff := cmp.Diff(want, r.Status().Peers, compareAddr); diff != "" {
			t.Errorf("peers (-want +got)\n%s", diff)
		}
		if c := r.Status().Counters; c.Received != 4 || c.PriorityZeroReceived != 1 || c.IntervalMismatches != 1 {
			t.Errorf("counters %+v", c)
		}
		// What was dropped is nobody's.
		bad := forged(t, host(7), group, nil)
		bad.TTL = 3
		r.receive(t, bad)
		r.Status().Peers[0].Priority = 77 // a snapshot: nobody else sees it
		if diff := cmp.Diff(want, r.Status().Peers, compareAddr); diff != "" {
			t.Errorf("peers (-want +got)\n%s", diff)
		}
	})
}

// receive has a packet arrive at the router.
func (r *router) receive(t *testing.T, p vrrp.Packet) {
	t.Helper()
	r.segment.Inject(p)
	sleep(0)
}

// Of more than 32 peers the one is forgotten that was heard the longest ago.
func TestPeersAreForgotten(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, _ *peer) {
		hear := func(n int) {
			r.receive(t, forged(t, host(n), group, func(a *vrrp.Advertisement) { a.Priority = 200 }))
			sleep(ms)
		}
		for n := 10; n < 42; n++ {
			hear(n)
		}
		hear(10) // is the freshest now
		hear(42)
		hear(43)
		var want []string
		for n := 10; n < 44; n++ {
			if n != 11 && n != 12 {
				want = append(want, fmt.Sprintf("%s heard %d times", host(n), map[bool]int{true: 2, false: 1}[n == 10]))
			}
		}
		var got []string
		for _, p := range r.Status().Peers {
			got = append(got, fmt.Sprintf("%s heard %d times", p.Source, p.Received))
		}
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
			t.Errorf("peers (-want +got)\n%s", diff)
		}
	})
}

// A timer that was noticed late is counted if that was more than a tenth of the interval; the latest one is kept.
func TestLateness(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		wantLate := func(n uint64, latest time.Duration) {
			t.Helper()
			if c := r.Status().Counters; c.Late != n || c.MaxLate != latest {
				t.Errorf("at %s: %d were late, the latest by %s, want %d and %s", time.Since(epoch), c.Late, c.MaxLate, n, latest)
			}
		}
		wantLate(0, 0)
		for _, tt := range []struct {
			late   time.Duration
			count  uint64
			latest time.Duration
		}{
			{100 * ms, 0, 100 * ms},
			{100*ms + 1, 1, 100*ms + 1},
			{50 * ms, 1, 100*ms + 1},
			{700 * ms, 2, 700 * ms},
		} {
			// Frozen from half a second before the next advertisement until so much after it.
			sleep(500 * ms)
			freeze(r, p, 500*ms+tt.late)
			sleep(1500 * ms)
			wantLate(tt.count, tt.latest)
		}
	})
	// A takeover that is late counts as well.
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		r.holder.mu.Lock()
		r.holder.release = func() { time.Sleep(5 * time.Second) }
		r.holder.mu.Unlock()
		p.send(200, time.Second)
		sleep(7 * time.Second)
		wantState(t, r, vrrp.Master)
		if c := r.Status().Counters; c.Late != 1 || c.MaxLate != 5*time.Second+100*ms-down {
			t.Errorf("%d were late, the latest by %s", c.Late, c.MaxLate)
		}
	})
}
