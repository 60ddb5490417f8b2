package vrrp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

var compareAddr = cmpopts.EquateComparable(netip.Addr{})

// Every golden packet is decoded to what it says and encoded to the same bytes, but for those that are broken.
func TestGoldenPackets(t *testing.T) {
	identical := 0
	for _, c := range readGolden(t) {
		t.Run("ENC-01 "+c.Name, func(t *testing.T) {
			p := packet(t, c.Packet)
			if p.Source != c.Source || p.Destination != c.Destination || p.TTL != c.TTL {
				t.Errorf("IP header: %s > %s ttl %d, want %s > %s ttl %d", p.Source, p.Destination, p.TTL, c.Source, c.Destination, c.TTL)
			}
			a, err := vrrp.Parse(p.Payload, p.Source, p.Destination)
			if refused, ok := map[string]vrrp.DropReason{
				"v3_ipv4_hmac": vrrp.DropTrailing, "v3_ipv6_hmac": vrrp.DropTrailing, "v3_ipv4_rfc9568_unicast_peer2_broken": vrrp.DropChecksum,
				"v2_ipv4_ah": vrrp.DropVersion, // another protocol of IP, which no socket of ours hears
			}[c.Name]; ok {
				if !errors.Is(err, refused) {
					t.Errorf("error %v, want %v", err, refused)
				}
				return
			}
			wantParsed(t, c, a, err)
			b := p.Payload
			if c.Name == "syn_v3_ipv4_interval_4095_reserved_f" {
				b = slices.Clone(b)
				b[4] &= 0xf // what is reserved is ignored when it comes and zero when it goes
				resum(b, pseudoHeader(p.Source, p.Destination, len(b))...)
			} else {
				identical++
			}
			wantMarshalled(t, a, p.Source, p.Destination, b)
		})
	}
	if identical != 32 {
		t.Errorf("%d packets were encoded byte for byte, want 32", identical)
	}
}

func wantParsed(t *testing.T, c captured, got vrrp.Advertisement, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	want := c.advertisement()
	if want.Checksum = got.Checksum; !c.fits(got.Checksum) {
		t.Errorf("the checksum is said to be by the rule %q, want one of %v", got.Checksum, c.Checksums)
	}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Errorf("parsed (-want +got)\n%s", diff)
	}
}

func wantMarshalled(t *testing.T, a vrrp.Advertisement, source, destination netip.Addr, want []byte) {
	t.Helper()
	b, err := a.Marshal(source, destination)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b) {
		t.Errorf("marshalled\n%x, want\n%x", b, want)
	}
}

// Every packet that was ever captured is decoded to what it says and encoded to the same bytes, or refused for what is
// wrong with it.
func TestCapturedPackets(t *testing.T) {
	identical, other, refused := 0, 0, make(map[string]int)
	for i, c := range readCaptures(t) {
		t.Run(fmt.Sprintf("%s %d", c.Captures[0], i), func(t *testing.T) {
			if c.Protocol != 0 { // AH: what is behind the IP header is not ours, and does not look like it
				other++
				p := append([]byte{112, 4, 0, 0, 10, 99, 0, 1, 0, 0, 0, 1, 6, 43, 96, 105, 146, 254, 83, 70, 25, 185, 190, 73}, c.Payload...)
				if _, err := vrrp.Parse(p, c.Source, c.Destination); !errors.Is(err, vrrp.DropVersion) {
					t.Errorf("error %v, want %v", err, vrrp.DropVersion)
				}
				return
			}
			a, err := vrrp.Parse(c.Payload, c.Source, c.Destination)
			if reason, flawed := c.flaw(); flawed {
				refused[reason.String()]++
				if !errors.Is(err, reason) {
					t.Errorf("error %v, want %v", err, reason)
				}
				if c.Trailing == 28 && !strings.Contains(err.Error(), "auth_hmac trailer") {
					t.Errorf("error %v does not name the trailer", err)
				}
				return
			}
			wantParsed(t, c, a, err)
			if c.Reserved == 0 {
				identical++
				wantMarshalled(t, a, c.Source, c.Destination, c.Payload)
			}
		})
	}
	want := map[string]int{
		"checksum": 13, "interval zero": 3, "no addresses": 3, "trailing bytes": 25, "truncated": 13, "type": 5, "unknown vrid": 1, "version": 4,
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got)\n%s", diff)
	}
	if identical != 219 || other != 4 { // and one has reserved bits
		t.Errorf("%d packets were encoded byte for byte and %d were of another protocol, want 219 and 4", identical, other)
	}
}

// What a router says at its start and its end, configured as those were that sent the golden packets.
func TestAdvertisementOnTheWire(t *testing.T) {
	password := func(c vrrp.Config, password string) vrrp.Config {
		c.Password = password
		return c
	}
	message := func(c vrrp.Config) vrrp.Config {
		c.Checksum = vrrp.ChecksumAlwaysMessage
		return c
	}
	for _, tt := range []struct {
		name   string
		source netip.Addr
		config vrrp.Config
		golden []string // or "" for one that is not among them
		sums   []string
	}{
		{"ENC-02 version 2", host(1), config2(150), []string{"v2_ipv4_mcast", "v2_ipv4_mcast_prio0"}, []string{"333a", "c93a"}},
		{"ENC-03 version 2 with a password", host(1), password(config2(150), "s3cr3t"), []string{"v2_ipv4_pass", "v2_ipv4_pass_prio0"}, []string{"2820", "be20"}},
		{"ENC-05 version 3", host(1), config(150), []string{"v3_ipv4_mcast", "v3_ipv4_mcast_prio0"}, []string{"37e0", "cde0"}},
		{"ENC-06 version 3 by RFC 9568", host(1), message(config(150)), []string{"v3_ipv4_rfc9568", "v3_ipv4_rfc9568_prio0"}, []string{"22d7", "b8d7"}},
		{
			"ENC-07 unicast, each peer has its own checksum", host(1), unicast(config(150), host(1), host(2), host(3)),
			[]string{"v3_ipv4_unicast_peer1", "v3_ipv4_unicast_peer2", "", ""},
			[]string{"0d8e", "0d8d", "a38e", "a38d"},
		},
		{ // where keepalived 2.4.3 has the broken sum 0x22d6 for the second one
			"ENC-08 unicast by RFC 9568, all peers have one checksum", host(1), message(unicast(config(150), host(1), host(2), host(3))),
			[]string{"", "", "", ""},
			[]string{"22d7", "22d7", "b8d7", "b8d7"},
		},
		{"ENC-09 IPv6", host6(1), config6(150), []string{"v3_ipv6_mcast", "v3_ipv6_mcast_prio0"}, []string{"72ca", "08cb"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := startAt(t, s, tt.source, tt.config, vrrp.Options{})
				sleep(4 * time.Second)
				first := s.Sent()
				wantState(t, r, vrrp.Master)
				r.stop()
				last := s.Sent()
				n := len(first)
				sent := slices.Concat(first, last[n:n+n]) // the resignation is repeated once
				if len(sent) != len(tt.golden) {
					t.Fatalf("%d packets sent, want %d", len(sent), len(tt.golden))
				}
				for i, p := range sent {
					if got := hex.EncodeToString(p.Packet.Payload[6:8]); got != tt.sums[i] {
						t.Errorf("packet %d to %s has the checksum %s, want %s", i, p.Packet.Destination, got, tt.sums[i])
					}
					for _, other := range tt.config.Peers {
						_, err := vrrp.Parse(p.Packet.Payload, tt.source, other)
						if right := tt.config.Checksum == vrrp.ChecksumAlwaysMessage || other == p.Packet.Destination; right != (err == nil) {
							t.Errorf("packet %d to %s, read as if to %s: %v", i, p.Packet.Destination, other, err)
						}
					}
					if tt.golden[i] == "" {
						continue
					}
					want := packet(t, goldenPacket(t, tt.golden[i]).Packet)
					if diff := cmp.Diff(want, p.Packet, compareAddr); diff != "" {
						t.Errorf("packet %d (-%s +got)\n%s", i, tt.golden[i], diff)
					}
				}
			})
		})
	}
}

func TestPasswordIsCutAtEightBytes(t *testing.T) {
	t.Run("ENC-04", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			c := config2(150)
			c.Password = "0123456789"
			start(t, s, 1, c, vrrp.Options{})
			sleep(4 * time.Second)
			b := s.Sent()[0].Packet.Payload
			if got := string(b[len(b)-8:]); len(b) != 24 || b[4] != 1 || got != "01234567" {
				t.Errorf("%d bytes with authentication type %d and data %q", len(b), b[4], got)
			}
		})
	})
}

// many returns n addresses.
func many(n int) []netip.Addr {
	var l []netip.Addr
	for i := range n {
		l = append(l, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	return l
}

func many6(n int) []netip.Addr {
	l := []netip.Addr{vips6[0]}
	for i := range n - 1 {
		l = append(l, global6(i+1000))
	}
	return l
}

// Nothing is rounded, wrapped or left out.
func TestMarshalRefusesWhatTheWireCannotCarry(t *testing.T) {
	for _, tt := range []struct {
		name        string
		change      func(*vrrp.Advertisement)
		source      netip.Addr
		destination netip.Addr
		want        string // "" means that it can be carried
		length      int
	}{
		{"as it is", func(*vrrp.Advertisement) {}, host(1), group, "", 16},
		{"ENC-10 10 ms", func(a *vrrp.Advertisement) { a.Interval = 10 * time.Millisecond }, host(1), group, "", 16},
		{"ENC-10 40.95 s", func(a *vrrp.Advertisement) { a.Interval = 40950 * time.Millisecond }, host(1), group, "", 16},
		{"ENC-10 41 s", func(a *vrrp.Advertisement) { a.Interval = 41 * time.Second }, host(1), group, "advertisement interval 41s: must be 10ms to 40.95s", 0},
		{"ENC-10 5 ms", func(a *vrrp.Advertisement) { a.Interval = 5 * time.Millisecond }, host(1), group, "advertisement interval 5ms: must be 10ms to 40.95s", 0},
		{"ENC-10 15 ms", func(a *vrrp.Advertisement) { a.Interval = 15 * time.Millisecond }, host(1), group, "must be a whole number of centiseconds", 0},
		{"ENC-10 0", func(a *vrrp.Advertisement) { a.Interval = 0 }, host(1), group, "advertisement interval 0s: must be 10ms to 40.95s", 0},
		{"ENC-11 1.5 s in version 2", func(a *vrrp.Advertisement) { a.Version, a.Interval = 2, 1500*time.Millisecond }, host(1), group, "advertisement interval 1.5s: must be 1s to 255s in whole seconds", 0},
		{"ENC-11 255 s in version 2", func(a *vrrp.Advertisement) { a.Version, a.Interval = 2, 255*time.Second }, host(1), group, "", 24},
		{"ENC-11 256 s in version 2", func(a *vrrp.Advertisement) { a.Version, a.Interval = 2, 256*time.Second }, host(1), group, "advertisement interval 4m16s: must be 1s to 255s in whole seconds", 0},
		{"ENC-13 255 addresses", func(a *vrrp.Advertisement) { a.Addresses = many(255) }, host(1), group, "", 1028},
		{"ENC-13 255 addresses in version 2", func(a *vrrp.Advertisement) { a.Version, a.Addresses = 2, many(255) }, host(1), group, "", 1036},
		{"ENC-13 90 addresses of IPv6", func(a *vrrp.Advertisement) { a.Addresses = many6(90) }, host6(1), group6, "", 1448},
		{"ENC-13 256 addresses", func(a *vrrp.Advertisement) { a.Addresses = many(256) }, host(1), group, "256 addresses: must be 1 to 255", 0},
		{"no address", func(a *vrrp.Advertisement) { a.Addresses = nil }, host(1), group, "0 addresses: must be 1 to 255", 0},
		{"version 1", func(a *vrrp.Advertisement) { a.Version = 1 }, host(1), group, "version 1: must be 2 or 3", 0},
		{"version 0", func(a *vrrp.Advertisement) { a.Version = 0 }, host(1), group, "version 0: must be 2 or 3", 0},
		{"VRID 0", func(a *vrrp.Advertisement) { a.VRID = 0 }, host(1), group, "vrid 0: must be 1 to 255", 0},
		{"IPv6 address", func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{netip.MustParseAddr("fe80::1")} }, host(1), group, "address fe80::1 is of another family", 0},
		{"IPv4 address over IPv6", func(*vrrp.Advertisement) {}, host6(1), group6, "address 10.99.0.100 is of another family", 0},
		{"no source", func(*vrrp.Advertisement) {}, netip.Addr{}, group, "both must be of one family", 0},
		{"IPv6 destination", func(*vrrp.Advertisement) {}, host(1), group6, "both must be of one family", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: vips}
			tt.change(&a)
			b, err := a.Marshal(tt.source, tt.destination)
			if tt.want == "" {
				if err != nil || len(b) != tt.length {
					t.Fatalf("%d bytes, error %v, want %d bytes", len(b), err, tt.length)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestIntervalOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name     string
		version  vrrp.Version
		interval time.Duration
		want     string
	}{
		{"ENC-10 the longest", 3, 40950 * time.Millisecond, "0fff"},
		{"ENC-10 the shortest", 3, 10 * time.Millisecond, "0001"},
		{"ENC-11 the longest of version 2", 2, 255 * time.Second, "00ff"},
		{"ENC-11 the shortest of version 2", 2, time.Second, "0001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := vrrp.Advertisement{Version: tt.version, VRID: 51, Priority: 150, Interval: tt.interval, Addresses: vips}
			b, err := a.Marshal(host(1), group)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(b[4:6]); got != tt.want {
				t.Errorf("%s on the wire, want %s", got, tt.want)
			}
			if same, err := vrrp.Parse(b, host(1), group); err != nil || same.Interval != tt.interval {
				t.Errorf("parsed %s, %v", same.Interval, err)
			}
		})
	}
	t.Run("ENC-12 reserved bits are ignored and never sent", func(t *testing.T) {
		c := goldenPacket(t, "syn_v3_ipv4_interval_4095_reserved_f")
		p := packet(t, c.Packet)
		a, err := vrrp.Parse(p.Payload, p.Source, p.Destination)
		if err != nil || p.Payload[4] != 0xff || a.Interval != 40950*time.Millisecond {
			t.Fatalf("parsed %s, %v", a.Interval, err)
		}
		if b, err := a.Marshal(p.Source, p.Destination); err != nil || b[4] != 0x0f {
			t.Errorf("sent %#x, %v, want 0xf", b[4], err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	type test struct {
		name   string
		change func([]byte) []byte
		sum    bool // make the checksum right after the change
		want   vrrp.DropReason
	}
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	cut := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:n] }
	}
	for _, kind := range []struct {
		name                string
		a                   vrrp.Advertisement
		source, destination netip.Addr
	}{
		{"version 3", vrrp.Advertisement{Version: 3, Addresses: vips}, host(9), group},
		{"version 3 by RFC 9568", vrrp.Advertisement{Version: 3, Addresses: vips, Checksum: vrrp.ChecksumMessage}, host(9), group},
		{"version 2", vrrp.Advertisement{Version: 2, Addresses: vips}, host(9), group},
		{"IPv6", vrrp.Advertisement{Version: 3, Addresses: vips6}, host6(9), group6},
	} {
		kind.a.VRID, kind.a.Priority, kind.a.Interval = 51, 200, time.Second
		good, err := kind.a.Marshal(kind.source, kind.destination)
		if err != nil {
			t.Fatal(err)
		}
		tests := []test{
			{"RX-17 one byte more", func(b []byte) []byte { return append(b, 0) }, true, vrrp.DropTrailing},
			{"RX-17 four bytes more", func(b []byte) []byte { return append(b, 0xde, 0xad, 0xbe, 0xef) }, true, vrrp.DropTrailing},
			{"RX-16 count 3 with 2 addresses", set(3, 3), true, vrrp.DropTruncated},
			{"RX-21 count 255 with 2 addresses", set(3, 255), true, vrrp.DropTruncated},
			{"RX-20 count 0 with 2 addresses", set(3, 0), true, vrrp.DropTrailing},
			{"VRID 0", set(1, 0), true, vrrp.DropVRID},
			{"RX-26 interval 0", func(b []byte) []byte { b[4], b[5] = 0, 0; return b }, true, vrrp.DropInterval},
			{"RX-08 checksum 0", func(b []byte) []byte { b[6], b[7] = 0, 0; return b }, false, vrrp.DropChecksum},
			{"RX-08 checksum one more", func(b []byte) []byte { b[7]++; return b }, false, vrrp.DropChecksum},
			{"RX-08 checksum one less", func(b []byte) []byte { b[7]--; return b }, false, vrrp.DropChecksum},
			{"RX-08 checksum swapped", func(b []byte) []byte { b[6], b[7] = b[7], b[6]; return b }, false, vrrp.DropChecksum},
		}
		none := good[:8]
		if kind.a.Version == 2 {
			none = slices.Concat(good[:8], good[len(good)-8:])
		}
		tests = append(tests, test{"RX-20 count 0", func([]byte) []byte { b := slices.Clone(none); b[3] = 0; return b }, true, vrrp.DropCount})
		if kind.a.Version == 3 {
			tests = append(tests, test{"RX-26 interval 0 with reserved bits", func(b []byte) []byte { b[4], b[5] = 0xf0, 0; return b }, true, vrrp.DropInterval})
		}
		for n := range len(good) {
			tests = append(tests, test{fmt.Sprintf("RX-16 only %d bytes", n), cut(n), false, vrrp.DropTruncated})
		}
		for v := range byte(16) {
			if v != 3 && v != 2 {
				tests = append(tests, test{fmt.Sprintf("RX-11 version %d", v), set(0, v<<4|1), true, vrrp.DropVersion})
			}
			if v != 1 {
				tests = append(tests, test{fmt.Sprintf("RX-13 type %d", v), set(0, good[0]&0xf0|v), true, vrrp.DropType})
			}
		}
		for _, tt := range tests {
			t.Run(tt.name+" "+kind.name, func(t *testing.T) {
				b := tt.change(slices.Clone(good))
				if tt.sum && kind.source.Is6() {
					resum(b, pseudoHeader(kind.source, kind.destination, len(b))...)
				} else if tt.sum {
					resum(b)
				}
				if a, err := vrrp.Parse(b, kind.source, kind.destination); !errors.Is(err, tt.want) {
					t.Errorf("parsed %v, error %v, want %v", a, err, tt.want)
				}
			})
		}
	}
	t.Run("families mixed", func(t *testing.T) {
		for _, tt := range []struct{ source, destination netip.Addr }{{host6(1), group}, {host(1), group6}, {netip.Addr{}, group}, {netip.Addr{}, netip.Addr{}}} {
			if _, err := vrrp.Parse(make([]byte, 24), tt.source, tt.destination); !errors.Is(err, vrrp.DropSource) {
				t.Errorf("from %s to %s: error %v, want %v", tt.source, tt.destination, err, vrrp.DropSource)
			}
		}
	})
}

// resum puts the right checksum into b, over the bytes before and b itself; without bytes before it is that of RFC
// 9568. It is written differently than the one under test: in 64 bits, subtracting instead of folding.
func resum(b []byte, before ...byte) {
	b[6], b[7] = 0, 0
	var sum uint64
	for i, v := range append(before, b...) {
		sum += uint64(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum -= 0xffff
	}
	sum = 0xffff - sum
	b[6], b[7] = byte(sum>>8), byte(sum)
}

// pseudoHeader is that of RFC 9293, section 3.1, for IPv4 and of RFC 8200, section 8.1, for IPv6.
func pseudoHeader(source, destination netip.Addr, length int) []byte {
	b := append(source.AsSlice(), destination.AsSlice()...)
	if source.Is4() {
		return append(b, 0, 112, byte(length>>8), byte(length))
	}
	return append(b, 0, 0, byte(length>>8), byte(length), 0, 0, 0, 112)
}

func TestParseIPv4Refuses(t *testing.T) {
	good := make([]byte, 28)
	good[0], good[3] = 0x45, 28
	if p, err := vrrp.ParseIPv4(good); err != nil || len(p.Payload) != 8 {
		t.Fatalf("payload of %d bytes, error %v, want 8", len(p.Payload), err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":                        func(b []byte) []byte { return b[:0] },
		"19 bytes":                     func(b []byte) []byte { return b[:19] },
		"version 6":                    func(b []byte) []byte { b[0] = 0x65; return b },
		"header of 16 bytes":           func(b []byte) []byte { b[0] = 0x44; return b },
		"header longer than packet":    func(b []byte) []byte { b[0] = 0x4f; return b },
		"total length below header":    func(b []byte) []byte { b[3] = 19; return b },
		"total length above the bytes": func(b []byte) []byte { b[3] = 29; return b },
	} {
		if p, err := vrrp.ParseIPv4(change(slices.Clone(good))); err == nil {
			t.Errorf("%s: parsed %v", name, p)
		}
	}
}

// readAnything parses whatever b is, as a packet over IPv4 or IPv6, and checks that it is understood exactly or not at
// all.
func readAnything(t interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}, b []byte, ipv6 bool,
) {
	source, destination, size := host(9), group, 4
	if ipv6 {
		source, destination, size = host6(9), group6, 16
	}
	a, err := vrrp.Parse(b, source, destination)
	if err != nil {
		if !slices.ContainsFunc(vrrp.DropReasons(), func(r vrrp.DropReason) bool { return errors.Is(err, r) }) {
			t.Errorf("error without a reason: %v", err)
		}
		return
	}
	n := len(b) - 8
	if a.Version == vrrp.Version2 && !ipv6 {
		n -= 8
	}
	n /= size
	if len(a.Addresses) != n || cap(a.Addresses) != n {
		t.Errorf("%d addresses in room for %d, want %d", len(a.Addresses), cap(a.Addresses), n)
	}
	again, err := a.Marshal(source, destination)
	if err != nil {
		t.Fatalf("what was parsed cannot be marshalled: %v", err)
	}
	same, err := vrrp.Parse(again, source, destination)
	if err != nil {
		t.Fatalf("what was marshalled cannot be parsed: %v", err)
	}
	if diff := cmp.Diff(a, same, compareAddr); diff != "" {
		t.Errorf("parsed again (-want +got)\n%s", diff)
	}
	want := slices.Clone(b)
	if a.Version == vrrp.Version3 {
		want[4] &= 0xf
	}
	if !bytes.Equal(want[:6], again[:6]) || !bytes.Equal(want[8:], again[8:]) {
		t.Errorf("marshalled\n%x, want\n%x", again, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range readGolden(f) {
		p := packet(f, c.Packet)
		f.Add(p.Payload, p.Source.Is6())
	}
	for _, h := range readHostile(f) {
		p := packet(f, h.Packet)
		f.Add(p.Payload, p.Source.Is6())
	}
	f.Fuzz(func(t *testing.T, b []byte, ipv6 bool) {
		readAnything(t, b, ipv6)
		if len(b) < 8 {
			return
		}
		b = slices.Clone(b) // nearly everything ends at the checksum
		if ipv6 {
			resum(b, pseudoHeader(host6(9), group6, len(b))...)
		} else {
			resum(b)
		}
		readAnything(t, b, ipv6)
	})
}

// Whatever the bytes are, and however many: no panic, and no more memory than the addresses take.
func TestParseSurvivesAnything(t *testing.T) {
	t.Run("ENC-17", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			b := rapid.SliceOfN(rapid.Byte(), 8, 65535).Draw(t, "bytes")
			if rapid.Bool().Draw(t, "plausible") {
				b[0] = rapid.SampledFrom([]byte{0x21, 0x31}).Draw(t, "version")
			}
			ipv6 := rapid.Bool().Draw(t, "ipv6")
			if rapid.Bool().Draw(t, "exact") {
				size, tail := 4, 0
				if ipv6 {
					size = 16
				} else if b[0]>>4 == 2 {
					tail = 8
				}
				b = append(b, make([]byte, 255*size+8)...)[:8+size*int(b[3])+tail]
			}
			if ipv6 {
				resum(b, pseudoHeader(host6(9), group6, len(b))...)
			} else {
				resum(b)
			}
			readAnything(t, b, ipv6)
		})
	})
}

func FuzzParseIPv4(f *testing.F) {
	for _, h := range readHostile(f) {
		f.Add([]byte(h.Packet))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := vrrp.ParseIPv4(b); err == nil && len(p.Payload) > len(b)-20 {
			t.Errorf("payload of %d bytes in a packet of %d", len(p.Payload), len(b))
		}
	})
}

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	name := func(s string) {
		if seen[s] || strings.ContainsAny(s, "0123456789") {
			t.Errorf("%q is no name of its own", s)
		}
		seen[s] = true
	}
	for _, r := range vrrp.DropReasons() {
		name(r.String())
	}
	for _, timer := range vrrp.Timers() {
		name(timer.String())
	}
	for _, s := range []vrrp.State{vrrp.Initialize, vrrp.Backup, vrrp.Master, vrrp.Fault} {
		name(s.String())
	}
	for _, c := range vrrp.Checksums() {
		name(c.String())
	}
	b, err := json.Marshal(vrrp.Status{
		State: vrrp.Master, Peers: []vrrp.PeerStatus{{Checksum: vrrp.ChecksumMessage}},
		Counters: vrrp.Counters{Dropped: map[vrrp.DropReason]uint64{vrrp.DropOwn: 3}},
	})
	if err != nil || !bytes.Contains(b, []byte(`"State":"master"`)) || !bytes.Contains(b, []byte(`{"own address":3}`)) || !bytes.Contains(b, []byte(`"Checksum":"message"`)) {
		t.Errorf("as JSON: %s, %v", b, err)
	}
}
