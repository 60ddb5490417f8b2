package vrrp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// accepted sends a packet of priority 200 to a Master, which has to yield.
func accepted(t *testing.T, name string, x target, p vrrp.Packet) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := x.start(t, s)
		untilMaster(t, r)
		s.Inject(p)
		sleep(0)
		wantState(t, r, vrrp.Backup)
		if dropped := r.dropped(); len(dropped) != 0 {
			t.Errorf("dropped %v", dropped)
		}
	})
}

// Unicast may cross routers, which count the TTL down; keepalived sends IPv6 unicast with a hop limit of 64 anyway.
func TestUnicastMayHaveAnyTTL(t *testing.T) {
	for _, ttl := range []int{255, 254, 64, 1} {
		p := forged(t, host(9), host(1), nil)
		p.TTL = ttl
		accepted(t, fmt.Sprintf("RX-04 TTL %d", ttl), targetUnicast, p)
		p = forged(t, global6(9), global6(1), nil)
		p.TTL = ttl
		accepted(t, fmt.Sprintf("RX-04 hop limit %d", ttl), targetUnicast6, p)
	}
	for _, name := range []string{"v3_ipv4_unicast_ttl64", "v3_ipv6_unicast_hl64"} { // of priority 150, from .1 to .2
		c := goldenPacket(t, name)
		p := packet(t, c.Packet)
		virtual := config(100)
		virtual.Addresses = c.Addresses
		accepted(t, "RX-04 as keepalived sent it, "+name, target{name, c.Destination, unicast(virtual, c.Destination, c.Source)}, p)
	}
}

// Every rule for the checksum that is in use is accepted, and it is remembered who follows which.
func TestEveryChecksumIsAccepted(t *testing.T) {
	for _, rule := range []vrrp.Checksum{vrrp.ChecksumPseudoHeader, vrrp.ChecksumMessage, vrrp.ChecksumPseudoHeaderGroup} {
		for _, x := range []target{target3, targetUnicast} {
			to := group
			if len(x.virtual.Peers) > 0 {
				to = x.source
			}
			bubble(t, fmt.Sprintf("RX-07 %s, %s", x.name, rule), func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := x.start(t, s)
				untilMaster(t, r)
				for range 3 {
					s.Inject(forged(t, host(9), to, func(a *vrrp.Advertisement) { a.Checksum = rule }))
				}
				sleep(0)
				wantState(t, r, vrrp.Backup)
				seen := rule
				if seen == vrrp.ChecksumPseudoHeaderGroup && to == group { // the same
					seen = vrrp.ChecksumPseudoHeader
				}
				if p := r.Status().Peers; len(p) != 1 || p[0].Checksum != seen || p[0].Run != 3 || p[0].Received != 3 {
					t.Errorf("peers %+v", p)
				}
			})
		}
	}
	// The other way round, in version 2 and over IPv6 there is one rule.
	accepted(t, "RX-10 version 2 with its checksum", target2, forged(t, host(9), group, func(a *vrrp.Advertisement) { a.Version = 2 }))
}

// With a fixed rule the log says which one the packet follows.
func TestLogNamesTheRuleOfTheChecksum(t *testing.T) {
	for _, tt := range []struct {
		target target
		rule   vrrp.Checksum
		want   string
	}{
		{targetMessage, vrrp.ChecksumPseudoHeader, `reason="the checksum is by the rule \"pseudo-header\", want \"message\": checksum"`},
		{targetPseudo, vrrp.ChecksumMessage, `reason="the checksum is by the rule \"message\", want \"pseudo-header\": checksum"`},
	} {
		bubble(t, "RX-09 "+tt.target.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			r := tt.target.start(t, s)
			untilMaster(t, r)
			s.Inject(forged(t, host(9), group, func(a *vrrp.Advertisement) { a.Checksum = tt.rule }))
			sleep(0)
			wantState(t, r, vrrp.Master)
			if got := r.logs.lines("dropping"); len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("logged %q, want %s", got, tt.want)
			}
		})
	}
	// Of unicast to a fixed pseudo-header, the one to the group is the wrong one, too.
	bubble(t, "RX-09 unicast", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		c := unicast(targetPseudo.virtual, host(1), host(9))
		r := start(t, s, 1, c, vrrp.Options{})
		untilMaster(t, r)
		s.Inject(forged(t, host(9), host(1), func(a *vrrp.Advertisement) { a.Checksum = vrrp.ChecksumPseudoHeaderGroup }))
		sleep(0)
		wantDropped(t, r, vrrp.DropChecksum, 1)
	})
}

func TestLogNamesTheTrailerOfKeepalived(t *testing.T) {
	for _, name := range []string{"v3_ipv4_hmac", "v3_ipv6_hmac"} {
		bubble(t, "RX-19 "+name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			p := packet(t, goldenPacket(t, name).Packet)
			x := target3
			if p.Source.Is6() {
				x = target6
			}
			r := startAt(t, s, x.source.Next(), x.virtual, vrrp.Options{})
			untilMaster(t, r)
			s.Inject(p)
			sleep(0)
			wantState(t, r, vrrp.Master)
			wantDropped(t, r, vrrp.DropTrailing, 1)
			if got := r.logs.lines("the auth_hmac trailer of keepalived, which is not understood"); len(got) != 1 {
				t.Errorf("logged %q", r.logs.lines(""))
			}
		})
	}
}

// Version 2: who lists other addresses is refused, RFC 3768, section 7.1, but for the owner of the addresses.
func TestOwnerMayListOtherAddressesInVersion2(t *testing.T) {
	with := func(priority uint8, addresses []netip.Addr) vrrp.Packet {
		return forged(t, host(9), group, func(a *vrrp.Advertisement) { a.Version, a.Priority, a.Addresses = 2, priority, addresses })
	}
	accepted(t, "RX-24 the owner", target2, with(255, vips[:1]))
	accepted(t, "RX-24 another order", target2, with(200, []netip.Addr{vips[1], vips[0]}))
	for _, priority := range []uint8{0, 1, 254} {
		numbered(t, fmt.Sprintf("RX-24 priority %d", priority), config2(100), func(t *testing.T, r *router, p *peer) {
			untilMaster(t, r)
			p.advertise(vrrp.Advertisement{Version: 2, VRID: 51, Priority: priority, Interval: time.Second, Addresses: vips[:1]})
			sleep(500 * ms)
			want(t, &r.diary)
			wantDropped(t, r, vrrp.DropAddresses, 1)
		})
	}
}

// Type 0 has no authentication data: whatever is there is ignored, RFC 3768, section 5.3.10.
func TestDataWithoutAuthenticationIsIgnored(t *testing.T) {
	accepted(t, "RX-28", target2, forged(t, host(9), group, func(a *vrrp.Advertisement) {
		a.Version = 2
		copy(a.Authentication.Data[:], "anything")
	}))
	accepted(t, "RX-29 the right password", target2Pass, forged(t, host(9), group, func(a *vrrp.Advertisement) {
		a.Version, a.Authentication.Type = 2, 1
		copy(a.Authentication.Data[:], "s3cr3t")
	}))
}

// The longest interval is believed, and reported: the next takeover is two and a half minutes away.
func TestLongestIntervalIsBelieved(t *testing.T) {
	numbered(t, "RX-27", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		p.send(200, 40950*ms)
		sleep(10 * time.Second)
		wantState(t, r, vrrp.Backup)
		if got := r.logs.lines("another router has another advertisement interval"); len(got) != 1 || !strings.Contains(got[0], "heard=40.95s configured=1s") {
			t.Errorf("logged %q", got)
		}
		r.read()
		sleep(140 * time.Second)
		want(t, &r.diary, // 3 * 40.95 s and 24.953906250 s after 3.609375 s
			"2m31.41328125s take", "2m31.41328125s send 100", "2m31.41328125s backup to master: no advertisement from 10.99.0.9 for 2m27.804s",
			"2m32.41328125s send 100", "2m33.41328125s send 100")
	})
}

// A link-local address is no condition for an IPv6 list: keepalived sends lists without, and we send what is configured.
// Other than the conformance case has it, nothing is logged as long as the list is the configured one.
func TestIPv6ListWithoutALinkLocalAddress(t *testing.T) {
	for _, tt := range []struct {
		name  string
		list  []netip.Addr
		lines int
	}{
		{"RX-38 in another order", []netip.Addr{vips6[1], vips6[0]}, 0},
		{"RX-38 without it", vips6[1:], 1},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			r := target6.start(t, s)
			untilMaster(t, r)
			s.Inject(forged(t, host6(9), group6, func(a *vrrp.Advertisement) { a.Addresses = tt.list }))
			sleep(0)
			wantState(t, r, vrrp.Backup)
			if got := r.logs.lines("level=WARN"); len(got) != tt.lines {
				t.Errorf("logged %q, want %d lines", got, tt.lines)
			}
		})
	}
	bubble(t, "ENC-16", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		c := config6(150)
		c.Addresses = vips6[1:]
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		startAt(t, s, host6(1), c, vrrp.Options{})
		sleep(4 * time.Second)
		want := packet(t, goldenPacket(t, "v3_ipv6_global_only").Packet)
		if got := s.Sent()[0].Packet; !slices.Equal(got.Payload, want.Payload) {
			t.Errorf("sent\n%x, keepalived sent\n%x", got.Payload, want.Payload)
		}
	})
}

// A hundred advertisements at once: all are heard, and one answer is enough for them.
func TestManyAdvertisementsAtOnceGetOneAnswer(t *testing.T) {
	numbered(t, "RX-41", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		sleep(500 * ms)
		for range 100 {
			p.send(50, time.Second)
		}
		sleep(time.Second)
		want(t, &r.diary, "4.109375s send 100", "4.109375s announce", "4.609375s send 100")
		if n := r.Status().Counters.Received; n != 100 {
			t.Errorf("%d heard, want 100", n)
		}
	})
}

// Priority 0 from somebody who is no Master, a hundred times a second: ten answers a second.
func TestForgedResignationsAreAnsweredTenTimesASecond(t *testing.T) {
	numbered(t, "RX-43", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		sleep(500 * ms)
		for range 100 {
			p.send(0, time.Second)
			sleep(10 * ms)
		}
		var entries []string
		for i := range 10 {
			at := down + 500*ms + time.Duration(i)*100*ms
			entries = append(entries, at.String()+" send 100", at.String()+" announce")
		}
		want(t, &r.diary, entries...)
		wantState(t, r, vrrp.Master)
	})
}

// Against a forged owner the protocol has no defence. It is said who that is; its hardware address is nothing that a
// raw socket tells.
func TestForgedOwnerIsNamed(t *testing.T) {
	numbered(t, "RX-42", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		p.repeat(10, 255, time.Second)
		wantState(t, r, vrrp.Backup)
		if s := r.Status(); s.Master != host(9) || s.MasterPriority != vrrp.PriorityOwner || s.Reason != "10.99.0.9 has priority 255" {
			t.Errorf("status %+v", s)
		}
		if got := r.logs.lines(`reason="10.99.0.9 has priority 255"`); len(got) != 1 {
			t.Errorf("logged %q", r.logs.lines(""))
		}
	})
}

// A unicast router says each thing to each peer, hears each of them, and settles things among three as multicast does.
func TestUnicastElection(t *testing.T) {
	for _, tt := range []struct {
		name    string
		address func(int) netip.Addr
		config  func(uint8) vrrp.Config
	}{
		{"IPv4", host, config}, {"IPv6", global6, config6}, {"version 2", host, config2},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			s.SetDelay(ms)
			var routers []*router
			for i, priority := range []uint8{150, 120, 100} {
				peers := []netip.Addr{tt.address(1), tt.address(2), tt.address(3)}
				own := peers[i]
				routers = append(routers, startAt(t, s, own, unicast(tt.config(priority), own, slices.Delete(peers, i, i+1)...), vrrp.Options{}))
			}
			sleep(5 * time.Second)
			for i, state := range []vrrp.State{vrrp.Master, vrrp.Backup, vrrp.Backup} {
				wantState(t, routers[i], state)
			}
			if c := routers[0].Status().Counters; c.Sent != 2 || len(s.Sent()) != 4 {
				t.Errorf("%d advertisements counted and %d sent, want 2 to two peers each", c.Sent, len(s.Sent()))
			}
			routers[0].kill()
			sleep(5 * time.Second)
			wantState(t, routers[1], vrrp.Master)
			wantState(t, routers[2], vrrp.Backup)
			go routers[1].stop()
			sleep(2 * time.Second)
			wantState(t, routers[2], vrrp.Master)
			if got := routers[2].Status().Reason; got != fmt.Sprintf("%s resigned", tt.address(2)) {
				t.Errorf("reason %q", got)
			}
			for _, r := range routers {
				if dropped := r.dropped(); len(dropped) != 0 {
					t.Errorf("%s dropped %v", r.source, dropped)
				}
			}
			s.SetDelay(0)
		})
	}
}

// One of two peers cannot be reached: the other one still hears every advertisement, and it counts as an error.
func TestUnreachablePeer(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := &router{source: host(5), logs: &logBuffer{}}
		r.run(t, s, unicast(config(100), host(5), host(6), host(7)), vrrp.Options{}, func() (vrrp.Conn, error) {
			return choosyConn{s.Listen(r.source)}, nil
		})
		sleep(down + 3*time.Second)
		if n := len(s.Sent()); n != 4 {
			t.Errorf("%d packets sent, want 4 to the other one", n)
		}
		if c := r.Status().Counters; c.Sent != 0 || c.SendErrors != 4 {
			t.Errorf("%d sent and %d errors, want 0 and 4", c.Sent, c.SendErrors)
		}
		if got := r.logs.lines("no route to 10.99.0.6"); len(got) != 1 {
			t.Errorf("logged %q, want one line", r.logs.lines(""))
		}
	})
}

// choosyConn reaches everybody but 10.99.0.6.
type choosyConn struct{ *vrrptest.Conn }

func (c choosyConn) Send(source, destination netip.Addr, payload []byte) error {
	if destination == host(6) {
		return errors.New("no route to 10.99.0.6")
	}
	return c.Conn.Send(source, destination, payload)
}

// Packets of another VRID on the link of a unicast instance: counted as such.
func TestUnicastForAnotherVRID(t *testing.T) {
	bubble(t, "RX-14", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := targetUnicast.start(t, s)
		sleep(time.Second)
		s.Inject(forged(t, host(9), host(1), func(a *vrrp.Advertisement) { a.VRID = 52 }))
		sleep(0)
		if got := r.link.Status().Dropped; len(got) != 1 || got[vrrp.DropVRID] != 1 {
			t.Errorf("dropped %v, want one of unknown VRID", got)
		}
	})
}
