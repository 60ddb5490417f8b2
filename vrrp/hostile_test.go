package vrrp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// target is a router that hostile packets are sent to: always of priority 100, an interval of one second and VRID 51.
type target struct {
	name    string
	source  netip.Addr
	virtual vrrp.Config
}

func (x target) start(t *testing.T, s *vrrptest.Segment) *router {
	t.Helper()
	return startAt(t, s, x.source, x.virtual, vrrp.Options{})
}

// The targets are those of the captures, in which keepalived was configured in the same way, and a unicast one.
var (
	target3        = target{"hostile_v3_ipv4", host(1), config(100)}
	target2        = target{"hostile_v2", host(1), config2(100)}
	target2Pass    = target{"hostile_v2_pass", host(1), changed(func(c *vrrp.Config) { c.Version, c.Password = 2, "s3cr3t" })}
	target6        = target{"hostile_v3_ipv6", host6(1), config6(100)}
	targetMessage  = target{"ka243_hostile_as_v2", host(1), changed(func(c *vrrp.Config) { c.Checksum = vrrp.ChecksumAlwaysMessage })}
	targetPseudo   = target{"pseudo-header", host(1), changed(func(c *vrrp.Config) { c.Checksum = vrrp.ChecksumAlwaysPseudoHeader })}
	targetUnicast  = target{"unicast", host(1), unicast(config(100), host(1), host(8), host(9))}
	targetUnicast6 = target{"unicast IPv6", host6(1), unicast(config6(100), global6(1), global6(8), global6(9))}
)

// verdicts says what we make of each of the hostile packets: "yield" to a valid advertisement that wins, "answer" one
// that loses, or drop it for a reason. The number is that of the conformance case.
var verdicts = []struct {
	target target
	cases  []verdict
}{
	{target3, []verdict{
		{"RX-01", "valid", "yield"},
		{"RX-02", "ttl_254", "ttl"},
		{"RX-02", "ttl_1", "ttl"},
		{"RX-07", "checksum_plain_rfc9568", "yield"},
		{"RX-08", "checksum_zero", "checksum"},
		{"RX-08", "checksum_off_by_one", "checksum"},
		{"RX-11", "version_2_packet", "version"},
		{"RX-11", "version_0", "version"},
		{"RX-11", "version_4", "version"},
		{"RX-11", "version_15", "version"},
		{"RX-13", "type_0", "type"},
		{"RX-13", "type_2", "type"},
		{"RX-13", "type_15", "type"},
		{"RX-14", "vrid_other", "unknown vrid"},
		{"RX-14", "vrid_0", "unknown vrid"},
		{"RX-16", "truncated_7_bytes", "truncated"},
		{"RX-16", "header_only_count_2", "truncated"},
		{"RX-16", "one_address_short", "truncated"},
		{"RX-16", "one_byte_short", "truncated"},
		{"RX-16", "empty_payload", "truncated"},
		{"RX-17", "trailing_4_bytes", "trailing bytes"},
		{"RX-19", "trailing_28_bytes_hmac_trailer_size", "trailing bytes"},
		{"RX-18", "ethernet_padding_only", "yield"},
		{"RX-20", "count_0_no_addr", "no addresses"},
		{"RX-21", "count_255_two_addr", "truncated"},
		{"RX-22", "count_255_full", "yield"},
		{"RX-22", "count_1_of_2", "yield"},
		{"RX-22", "count_3", "yield"},
		{"RX-22", "addr_differs", "yield"},
		{"RX-23", "addr_order_reversed", "yield"},
		{"RX-22", "addr_duplicated", "yield"},
		{"RX-26", "interval_0", "interval zero"},
		{"RX-27", "interval_1cs", "yield"},
		{"RX-27", "interval_4095cs", "yield"},
		{"ENC-12", "reserved_nibble_f", "yield"},
		{"RX-42", "prio_255_spoof", "yield"},
		{"RX-43", "prio_0_to_master", "answer"},
		{"FSM-20", "prio_1", "answer"},
		{"FSM-17", "prio_equal_lower_ip", "answer"},
		{"FSM-18", "prio_equal_higher_ip", "yield"},
		{"FSM-19", "prio_equal_ip_above_sign_bit", "yield"},
		{"RX-31", "own_packet_looped", "own address"},
		{"RX-31", "own_ip_foreign_mac", "own address"},
		{"RX-30", "src_zero", "source"},
		{"RX-30", "src_multicast", "source"},
		{"RX-30", "src_broadcast", "source"},
		{"RX-30", "src_loopback", "source"},
		{"RX-01", "src_off_subnet", "yield"},
		{"RX-32", "src_is_vip", "virtual source"},
		{"RX-34", "dst_unicast", "destination"},
		{"RX-34", "dst_all_hosts_mcast", "destination"},
		{"RX-34", "dst_broadcast", "destination"},
		{"RX-36", "ip_options_nop", "yield"},
		{"RX-36", "ip_options_router_alert", "yield"},
		{"RX-01", "eth_dst_unicast_ip_mcast", "yield"}, // the kernel's business, and it does not mind
		{"RX-01", "eth_src_is_daemon", "yield"},
		{"RX-01", "src_mac_vmac", "yield"},
	}},
	{target2, []verdict{
		{"RX-01", "valid", "yield"},
		{"RX-02", "ttl_254", "ttl"},
		{"RX-10", "checksum_with_pseudo_header", "checksum"},
		{"RX-08", "checksum_off", "checksum"},
		{"RX-10", "checksum_excludes_nonzero_auth_data", "checksum"},
		{"RX-12", "version_3_packet", "version"},
		{"RX-13", "type_2", "type"},
		{"RX-14", "vrid_other", "unknown vrid"},
		{"RX-16", "no_auth_data", "truncated"},
		{"RX-28", "auth_data_nonzero", "yield"},
		{"RX-28", "auth_type_1", "authentication"},
		{"RX-28", "auth_type_2_no_ah", "authentication"},
		{"RX-28", "auth_type_3", "authentication"},
		{"RX-28", "auth_type_255", "authentication"},
		{"RX-25", "interval_2", "interval mismatch"},
		{"RX-25", "interval_0", "interval zero"},
		{"RX-25", "interval_255", "interval mismatch"},
		{"RX-20", "count_0", "no addresses"},
		{"RX-24", "count_1_of_2", "address mismatch"},
		{"RX-21", "count_255_two_addr", "truncated"},
		{"RX-24", "addr_differs", "address mismatch"},
		{"RX-23", "addr_order_reversed", "yield"},
		{"RX-17", "trailing_4_bytes", "trailing bytes"},
		{"RX-42", "prio_255_spoof", "yield"},
		{"RX-43", "prio_0_to_master", "answer"},
		{"FSM-18", "prio_equal_higher_ip", "yield"},
		{"RX-34", "dst_unicast", "destination"},
		{"RX-31", "own_packet_looped", "own address"},
	}},
	{target2Pass, []verdict{
		{"RX-29", "valid", "yield"},
		{"RX-29", "wrong_password", "authentication"},
		{"RX-29", "password_prefix", "authentication"},
		{"RX-29", "password_trailing_garbage", "authentication"},
		{"RX-29", "password_longer", "authentication"},
		{"RX-29", "no_auth", "authentication"},
		{"RX-29", "empty_password", "authentication"},
		{"RX-29", "auth_type_0_right_data", "authentication"},
		{"RX-16", "no_auth_data", "truncated"},
	}},
	{target6, []verdict{
		{"RX-01", "valid", "yield"},
		{"RX-03", "hop_limit_254", "ttl"},
		{"RX-03", "hop_limit_1", "ttl"},
		{"RX-08", "checksum_plain", "checksum"},
		{"RX-08", "checksum_zero", "checksum"},
		{"RX-11", "version_2_packet", "version"},
		{"RX-11", "version_4", "version"},
		{"RX-13", "type_2", "type"},
		{"RX-14", "vrid_other", "unknown vrid"},
		{"RX-16", "header_only_count_2", "truncated"},
		{"RX-16", "one_address_short", "truncated"},
		{"RX-17", "trailing_4_bytes", "trailing bytes"},
		{"RX-20", "count_0_no_addr", "no addresses"},
		{"RX-21", "count_255_two_addr", "truncated"},
		{"RX-38", "first_addr_global", "yield"},
		{"RX-38", "only_global", "yield"},
		{"RX-22", "addr_differs", "yield"},
		{"RX-38", "ipv4_addresses_in_v6", "truncated"},
		{"RX-33", "src_global", "source"},
		{"RX-30", "src_unspecified", "source"},
		{"RX-31", "src_own_ll", "own address"},
		{"RX-31", "own_packet_looped", "own address"},
		{"RX-32", "src_is_vip", "virtual source"},
		{"RX-34", "dst_unicast_ll", "destination"},
		{"RX-34", "dst_all_nodes", "destination"},
		{"RX-34", "dst_site_scope", "destination"},
		{"RX-42", "prio_255_spoof", "yield"},
		{"RX-43", "prio_0_to_master", "answer"},
		{"FSM-17", "prio_equal_lower_ip", "answer"},
		{"FSM-18", "prio_equal_higher_ip", "yield"},
		{"RX-26", "interval_0", "interval zero"},
		{"RX-27", "interval_4095cs", "yield"},
	}},
	{targetMessage, []verdict{
		{"RX-09", "valid_plain", "yield"},
		{"RX-09", "valid_pseudo", "checksum"},
		{"RX-08", "checksum_zero", "checksum"},
		{"RX-08", "checksum_1234", "checksum"},
		{"RX-02", "ttl_254", "ttl"},
	}},
}

type verdict struct{ id, name, verdict string }

// hostilePackets returns the packets of a capture by the names of their cases.
func hostilePackets(t testing.TB, capture string) map[string]vrrp.Packet {
	t.Helper()
	m := make(map[string]vrrp.Packet)
	for _, h := range readHostile(t) {
		if h.Capture == capture {
			m[h.Case] = packet(t, h.Packet)
		}
	}
	return m
}

func TestHostilePackets(t *testing.T) {
	judged := 0
	for _, v := range verdicts {
		packets := hostilePackets(t, v.target.name)
		for _, c := range v.cases {
			p, ok := packets[c.name]
			if !ok {
				t.Fatalf("%s has no case %s", v.target.name, c.name)
			}
			judged++
			t.Run(fmt.Sprintf("%s %s %s", c.id, v.target.name, c.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := vrrptest.NewSegment(1)
					r := v.target.start(t, s)
					untilMaster(t, r)
					s.Inject(p)
					sleep(200 * ms)

					got := "nothing"
					switch happened := strings.Join(r.read(), ", "); {
					case strings.HasPrefix(happened, "3.609375s send 100, 3.609375s master to backup: "):
						got = "yield"
					case happened == "3.609375s send 100, 3.609375s announce":
						got = "answer"
					case happened != "":
						t.Errorf("happened: %s", happened)
					}
					for reason, n := range r.dropped() {
						if n != 1 || got != "nothing" {
							t.Errorf("dropped %v, and did %s", r.dropped(), got)
						}
						got = reason.String()
					}
					if got != c.verdict {
						t.Errorf("%s, want %s", got, c.verdict)
					}
				})
			})
		}
	}
	if all := len(readHostile(t)); judged != all-1 { // a fragment never reaches us
		t.Errorf("%d of %d hostile packets have a verdict", judged, all)
	}
}

// dropped is what the router and its link have dropped.
func (r *router) dropped() map[vrrp.DropReason]uint64 {
	m := r.Status().Counters.Dropped
	for reason, n := range r.link.Status().Dropped {
		m[reason] += n
	}
	return m
}

// keepalived 2.2.7 refuses every list of addresses that is not its own, and the checksum of RFC 9568; it believes an
// interval of 0, the sources 0.0.0.0 and ::, and its own IPv6 address. Version 2.4.3 accepts the lists, and with
// v3_checksum_as_v2 any checksum at all.
func TestWhereKeepalivedJudgesOtherwise(t *testing.T) {
	ours := make(map[string]bool)
	for _, v := range verdicts {
		for _, c := range v.cases {
			ours[v.target.name+" "+c.name] = c.verdict == "yield"
		}
	}
	with227, with243 := make(map[string]bool), make(map[string]bool)
	for _, h := range readHostile(t) {
		name := h.Capture + " " + h.Case
		if _, judged := ours[name]; !judged {
			continue
		}
		if h.Believed227 != nil && *h.Believed227 != ours[name] {
			with227[name] = *h.Believed227
		}
		if h.Believed243 != nil && *h.Believed243 != ours[name] {
			with243[name] = *h.Believed243
		}
	}
	want227 := map[string]bool{
		"hostile_v3_ipv4 addr_differs":           false,
		"hostile_v3_ipv4 addr_duplicated":        false,
		"hostile_v3_ipv4 checksum_plain_rfc9568": false,
		"hostile_v3_ipv4 count_1_of_2":           false,
		"hostile_v3_ipv4 count_255_full":         false,
		"hostile_v3_ipv4 count_3":                false,
		"hostile_v3_ipv4 interval_0":             true,
		"hostile_v3_ipv4 src_zero":               true,
		"hostile_v3_ipv6 addr_differs":           false,
		"hostile_v3_ipv6 interval_0":             true,
		"hostile_v3_ipv6 only_global":            false,
		"hostile_v3_ipv6 src_global":             true,
		"hostile_v3_ipv6 src_is_vip":             true,
		"hostile_v3_ipv6 src_own_ll":             true,
		"hostile_v3_ipv6 src_unspecified":        true,
	}
	want243 := map[string]bool{
		"hostile_v3_ipv4 checksum_plain_rfc9568": false,
		"hostile_v3_ipv4 count_0_no_addr":        true,
		"hostile_v3_ipv4 interval_0":             true,
		"hostile_v3_ipv4 src_zero":               true,
		"hostile_v3_ipv6 count_0_no_addr":        true,
		"hostile_v3_ipv6 interval_0":             true,
		"hostile_v3_ipv6 src_global":             true,
		"hostile_v3_ipv6 src_is_vip":             true,
		"hostile_v3_ipv6 src_own_ll":             true,
		"hostile_v3_ipv6 src_unspecified":        true,
		"ka243_hostile_as_v2 checksum_1234":      true,
		"ka243_hostile_as_v2 checksum_zero":      true,
		"ka243_hostile_as_v2 valid_pseudo":       true,
	}
	if diff := cmp.Diff(want227, with227); diff != "" {
		t.Errorf("otherwise in 2.2.7 (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want243, with243); diff != "" {
		t.Errorf("otherwise in 2.4.3 (-want +got)\n%s", diff)
	}
}

// refusal is a packet that a target drops.
type refusal struct {
	id, name string
	target   target
	packet   vrrp.Packet
	reason   string
}

// refusals are the hostile packets that are dropped, and more of them that nobody has captured.
func refusals(t testing.TB) []refusal {
	t.Helper()
	var all []refusal
	for _, v := range verdicts {
		packets := hostilePackets(t, v.target.name)
		for _, c := range v.cases {
			if c.verdict != "yield" && c.verdict != "answer" {
				all = append(all, refusal{c.id, c.name, v.target, packets[c.name], c.verdict})
			}
		}
	}
	return append(all, moreRefusals(t)...)
}

// forged returns a packet with an advertisement of priority 200.
func forged(t testing.TB, source, destination netip.Addr, change func(*vrrp.Advertisement)) vrrp.Packet {
	t.Helper()
	a := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: vips}
	if source.Is6() {
		a.Addresses = vips6
	}
	if change != nil {
		change(&a)
	}
	b, err := a.Marshal(source, destination)
	if err != nil {
		t.Fatal(err)
	}
	return vrrp.Packet{Source: source, Destination: destination, TTL: 255, Payload: b}
}

func moreRefusals(t testing.TB) []refusal {
	withTTL := func(p vrrp.Packet, ttl int) vrrp.Packet {
		p.TTL = ttl
		return p
	}
	pass := func(typ uint8, data string) func(*vrrp.Advertisement) {
		return func(a *vrrp.Advertisement) {
			a.Version = vrrp.Version2
			a.Authentication.Type = typ
			copy(a.Authentication.Data[:], data)
		}
	}
	message := func(a *vrrp.Advertisement) { a.Checksum = vrrp.ChecksumMessage }
	resummed := func(p vrrp.Packet, change func(b []byte)) vrrp.Packet {
		change(p.Payload)
		resum(p.Payload)
		return p
	}
	good, good6 := forged(t, host(9), group, nil), forged(t, host6(9), group6, nil)
	all := []refusal{
		{"RX-02", "TTL 0", target3, withTTL(good, 0), "ttl"},
		{"RX-03", "the kernel does not tell the hop limit", target6, withTTL(good6, -1), "ttl"},
		{"RX-05", "a host that is no peer", targetUnicast, forged(t, host(7), host(1), nil), "unknown peer"},
		{"RX-05", "a host that is no peer, IPv6", targetUnicast6, forged(t, global6(7), global6(1), nil), "unknown peer"},
		{"RX-05", "a peer by its other address", targetUnicast6, forged(t, host6(9), global6(1), nil), "unknown peer"},
		{"RX-09", "the rule of RFC 9568", targetPseudo, forged(t, host(9), group, message), "checksum"},
		{"RX-12", "version 3 with a password configured", target2Pass, good, "version"},
		{"RX-24", "an address more", target2, forged(t, host(9), group, func(a *vrrp.Advertisement) { a.Version, a.Addresses = 2, append(vips[:2:2], host(102)) }), "address mismatch"},
		{"RX-25", "an interval of 254 s", target2, forged(t, host(9), group, func(a *vrrp.Advertisement) { a.Version, a.Interval = 2, 254*time.Second }), "interval mismatch"},
		{"RX-28", "a password where none is configured", target2, forged(t, host(9), group, pass(1, "")), "authentication"},
		{"RX-29", "a password of 8 bytes", target2Pass, forged(t, host(9), group, pass(1, "s3cr3t\x00\x01")), "authentication"},
		{"RX-30", "the source ff02::1", target6, forged(t, group6.Next(), group6, nil), "source"},
		{"RX-30", "the source ::1", target6, forged(t, netip.IPv6Loopback(), group6, nil), "source"},
		{"RX-30", "a unicast packet from 0.0.0.0", targetUnicast, forged(t, netip.IPv4Unspecified(), host(1), nil), "source"},
		{"RX-31", "our own unicast packet", targetUnicast, forged(t, host(1), host(1), nil), "own address"},
		{"RX-31", "our own unicast packet, IPv6", targetUnicast6, forged(t, global6(1), global6(1), nil), "own address"},
		{"RX-31", "our own packet with priority 200", target2, forged(t, host(1), group, pass(0, "")), "own address"},
		{"RX-32", "from the second virtual address", target3, forged(t, vips[1], group, nil), "virtual source"},
		{"RX-32", "from a virtual address, with priority 254", target3, forged(t, vips[0], group, func(a *vrrp.Advertisement) { a.Priority = 254 }), "virtual source"},
		{"RX-34", "to another IPv6 group", target6, forged(t, host6(9), group6.Next(), nil), "destination"},
		{"RX-35", "multicast", targetUnicast, good, "destination"},
		{"RX-35", "multicast from a peer", targetUnicast, forged(t, host(8), group, nil), "destination"},
		{"RX-35", "multicast, IPv6", targetUnicast6, good6, "destination"},
		{"RX-35", "to another host", targetUnicast, forged(t, host(9), host(8), nil), "destination"},
	}
	for v := range byte(16) {
		if v != 3 {
			all = append(all, refusal{"RX-11", fmt.Sprintf("version %d", v), target3, resummed(forged(t, host(9), group, nil), func(b []byte) { b[0] = v<<4 | 1 }), "version"})
		}
		if v != 1 {
			all = append(all, refusal{"RX-13", fmt.Sprintf("type %d", v), target3, resummed(forged(t, host(9), group, nil), func(b []byte) { b[0] = 3<<4 | v }), "type"})
		}
	}
	return all
}

// What is dropped has no effect on anything, on a Master and on a Backup, and is counted once.
func TestRefusalsHaveNoEffect(t *testing.T) {
	for _, x := range refusals(t) {
		t.Run(fmt.Sprintf("%s %s %s", x.id, x.target.name, x.name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := x.target.start(t, s)
				sleep(time.Second)
				r.noEffect(t, s, x)
				r.read()
				sleep(down - time.Second)
				n := max(1, len(x.target.virtual.Peers))
				want(t, &r.diary, slices.Concat([]string{"3.609375s take"}, slices.Repeat([]string{"3.609375s send 100"}, n), []string{"3.609375s backup to master: no master heard"})...)
				sleep(500 * ms)
				r.noEffect(t, s, x)
				sleep(time.Second)
				want(t, &r.diary, slices.Repeat([]string{"4.609375s send 100"}, n)...)
			})
		})
	}
}

// noEffect sends the packet and looks for anything that has changed.
func (r *router) noEffect(t *testing.T, s *vrrptest.Segment, x refusal) {
	t.Helper()
	before, sent, dropped := r.Status(), len(s.Sent()), r.dropped()
	s.Inject(x.packet)
	sleep(0)
	if diff := cmp.Diff(before, r.Status(), compareAddr, cmpopts.IgnoreFields(vrrp.Counters{}, "Dropped")); diff != "" {
		t.Errorf("status (-before +after)\n%s", diff)
	}
	if n := len(s.Sent()); n != sent {
		t.Errorf("%d packets sent", n-sent)
	}
	for reason, n := range r.dropped() {
		if reason.String() == x.reason {
			n--
		}
		if n != dropped[reason] {
			t.Errorf("dropped %v, and %v before", r.dropped(), dropped)
		}
	}
}

// Each packet that is dropped is counted under one reason, and the log has a line a minute for each reason. Packets for
// a VRID that nobody here has are counted at the link and never logged: they belong to other people's routers.
func TestRefusalsAreCountedAndLoggedOnceAMinute(t *testing.T) {
	for _, x := range refusals(t) {
		t.Run(fmt.Sprintf("RX-44 (%s) %s %s", x.id, x.target.name, x.name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := x.target.start(t, s)
				sleep(0)
				at := func(moment time.Duration, count uint64, lines int) {
					t.Helper()
					sleep(moment - time.Since(epoch))
					s.Inject(x.packet)
					sleep(0)
					if got := r.dropped(); len(got) != 1 || got[x.dropReason(t)] != count {
						t.Errorf("at %s: dropped %v, want %q %d times", moment, got, x.reason, count)
					}
					if !x.logged() {
						lines = 0
					}
					if got := r.logs.lines("level=WARN"); len(got) != lines || len(r.logs.lines("dropping VRRP packets")) != lines {
						t.Errorf("at %s: logged %q, want %d lines", moment, got, lines)
					}
				}
				at(time.Second, 1, 1)
				at(time.Second, 2, 1)
				at(61*time.Second-1, 3, 1)
				at(61*time.Second, 4, 2)
				at(62*time.Second, 5, 2)
				for _, line := range r.logs.lines("dropping VRRP packets") {
					if !strings.Contains(line, "source="+x.packet.Source.String()) || !strings.Contains(line, x.reason) {
						t.Errorf("the line does not say from whom and why: %s", line)
					}
				}
			})
		})
	}
}

func (x refusal) dropReason(t *testing.T) vrrp.DropReason {
	t.Helper()
	for _, r := range vrrp.DropReasons() {
		if r.String() == x.reason {
			return r
		}
	}
	t.Fatalf("no reason %q", x.reason)
	return 0
}

// logged says whether the packet can be said to be meant for the target: it bears its VRID.
func (x refusal) logged() bool {
	return len(x.packet.Payload) > 1 && x.packet.Payload[1] == 51
}

// keepalived restarts its Adver_Timer on every packet that it drops, and falls silent.
func TestJunkNeverTouchesTheMaster(t *testing.T) {
	for _, x := range []target{target3, target2, target2Pass, target6, targetMessage, targetUnicast, targetUnicast6} {
		t.Run("RX-39 "+x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				junk := junkFor(t, x)
				r := x.start(t, s)
				low := x.virtual
				low.Priority = 50
				source := x.source.Next()
				if low.Source.IsValid() {
					low.Source = x.virtual.Peers[0]
					low.Peers = []netip.Addr{x.virtual.Source}
					source = low.Source
				}
				backup := startAt(t, s, source, low, vrrp.Options{})
				untilMaster(t, r)
				for i := range 10_000 { // for ten seconds
					s.Inject(junk[i%len(junk)])
					time.Sleep(ms)
				}
				synctest.Wait()
				var advertisements []string
				for i := range 10 {
					for range max(1, len(x.virtual.Peers)) {
						advertisements = append(advertisements, (down+time.Duration(i+1)*time.Second).String()+" send 100")
					}
				}
				want(t, &r.diary, advertisements...)
				want(t, &backup.diary, "0s initialize to backup: started")
				total := uint64(0)
				for _, n := range r.dropped() {
					total += n
				}
				if total != 10_000 {
					t.Errorf("%d dropped packets counted, want 10000: %v", total, r.dropped())
				}
				if n := len(r.logs.lines("dropping")); n > len(vrrp.DropReasons()) {
					t.Errorf("%d lines logged in ten seconds, want one a reason at most", n)
				}
			})
		})
	}
}

// junkFor returns the packets that a target drops.
func junkFor(t *testing.T, x target) []vrrp.Packet {
	t.Helper()
	var junk []vrrp.Packet
	for _, r := range refusals(t) {
		if r.target.name == x.name {
			junk = append(junk, r.packet)
		}
	}
	if len(junk) < 4 {
		t.Fatalf("%d packets for %s", len(junk), x.name)
	}
	return junk
}

// A Backup counts from the last valid advertisement of its Master.
func TestJunkInTheNameOfTheMasterDoesNotKeepItAlive(t *testing.T) {
	for _, x := range []target{target3, target2, target6} {
		t.Run("RX-40 "+x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := x.start(t, s)
				valid := hostilePackets(t, x.name)["valid"]
				sleep(500 * ms)
				s.Inject(valid)
				sleep(0)
				r.read()
				junk := slices.DeleteFunc(junkFor(t, x), func(p vrrp.Packet) bool { return p.Source != valid.Source })
				for i := range 50 {
					time.Sleep(100 * ms)
					s.Inject(junk[i%len(junk)])
				}
				synctest.Wait()
				want(t, &r.diary, "4.109375s take", "4.109375s send 100",
					fmt.Sprintf("4.109375s backup to master: no advertisement from %s for 3.609s", valid.Source), "5.109375s send 100")
			})
		})
	}
}

// A flood of valid advertisements is answered ten times a second, and what is due leaves when it is due.
func TestFloodDoesNotDelayAdvertisements(t *testing.T) {
	for _, tt := range []struct {
		name     string
		priority uint8
	}{{"RX-43 of priority 0", 0}, {"RX-41 of a loser", 50}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				c := config(100)
				c.Interval = 10 * ms
				r := start(t, s, 1, c, vrrp.Options{})
				p := newPeer(t, s, 9)
				sleep(down / 100)
				wantState(t, r, vrrp.Master)
				r.read()
				for range 300 { // 300 ms
					for range 100 {
						p.send(tt.priority, 10*ms)
					}
					time.Sleep(ms)
				}
				synctest.Wait()
				advertisements, announcements := 0, 0
				for _, e := range r.read() {
					switch {
					case strings.HasSuffix(e, "send 100"):
						advertisements++
					case strings.HasSuffix(e, "announce"):
						announcements++
					default:
						t.Error(e)
					}
				}
				// 30 intervals and 3 answers; an answer to priority 0 restarts the interval.
				if announcements != 3 || advertisements < 30 || advertisements > 33 {
					t.Errorf("%d advertisements and %d announcements in 300 ms, want 30 to 33 and 3", advertisements, announcements)
				}
				if dropped := r.dropped(); len(dropped) != 0 {
					t.Errorf("dropped %v", dropped)
				}
				// Those of the first 10 ms, the last of them included, may be the last words of a Master.
				if c := r.Status().Counters; c.Received != 30_000 || c.RivalsHeard != 28_900 {
					t.Errorf("%d advertisements heard and %d of rivals, want 30000 and 28900", c.Received, c.RivalsHeard)
				}
				if got := r.logs.lines("level=WARN"); len(got) != 1 {
					t.Errorf("logged %q, want one line", got)
				}
			})
		})
	}
}
