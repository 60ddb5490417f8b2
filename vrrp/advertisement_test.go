package vrrp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsd/vrrp"
)

var compareAddr = cmpopts.EquateComparable(netip.Addr{})

// golden is a version 3 advertisement over IPv4 as keepalived 2.2.7 and 2.4.3 and FRR 8.4.4 sent it, or (names that
// begin with syn) as RFC 9568 draws it. Packet is the IP packet.
type golden struct {
	Name, Note, Packet  string
	Source, Destination netip.Addr
	TTL                 int
	VRID, Priority      uint8
	Centiseconds        int
	Addresses           []netip.Addr
	Checksums           []string // the rules under which the checksum is right
}

// readVectors reads a file of testdata; a file that has lost entries is a failure.
func readVectors[T any](t testing.TB, name string, count int) []T {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []T
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(vectors) != count {
		t.Fatalf("%s has %d vectors, want %d", name, len(vectors), count)
	}
	return vectors
}

func decodePacket(t testing.TB, s string) vrrp.Packet {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := vrrp.ParseIPv4(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ENC-01, ENC-05, ENC-07, ENC-12, RX-07.
func TestGoldenPackets(t *testing.T) {
	marshalled := 0
	for _, v := range readVectors[golden](t, "golden_v3_ipv4.json", 19) {
		t.Run(v.Name, func(t *testing.T) {
			p := decodePacket(t, v.Packet)
			if p.Source != v.Source || p.Destination != v.Destination || p.TTL != v.TTL {
				t.Errorf("IP header: %s > %s ttl %d, want %s > %s ttl %d", p.Source, p.Destination, p.TTL, v.Source, v.Destination, v.TTL)
			}
			a, err := vrrp.Parse(p.Payload, p.Source, p.Destination)
			switch v.Name {
			case "v3_ipv4_hmac":
				if !errors.Is(err, vrrp.DropTrailing) || !strings.Contains(err.Error(), "auth_hmac trailer") {
					t.Errorf("error %v, want trailing bytes with the name of the trailer (RX-19)", err)
				}
				return
			case "v3_ipv4_rfc9568_unicast_peer2_broken":
				if !errors.Is(err, vrrp.DropChecksum) {
					t.Errorf("error %v, want checksum", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := vrrp.Advertisement{
				Version: vrrp.Version3, Checksum: a.Checksum,
				VRID: v.VRID, Priority: v.Priority, Addresses: v.Addresses,
				Interval: time.Duration(v.Centiseconds) * 10 * time.Millisecond,
			}
			if diff := cmp.Diff(want, a, compareAddr); diff != "" {
				t.Errorf("parsed (-want +got)\n%s", diff)
			}
			b, err := a.Marshal(p.Source, p.Destination)
			if err != nil {
				t.Fatal(err)
			}
			original := slices.Clone(p.Payload)
			if strings.HasSuffix(v.Name, "_reserved_f") {
				original[4] &= 0xf // what is reserved is ignored when it comes and zero when it goes
			} else if slices.Contains(v.Checksums, "pseudo_header") {
				marshalled++
			}
			if strings.HasSuffix(v.Name, "_reserved_f") {
				copy(original[6:8], b[6:8])
			}
			if !bytes.Equal(original, b) {
				t.Errorf("marshalled\n%x, want\n%x", b, original)
			}
		})
	}
	if marshalled != 12 {
		t.Errorf("%d packets marshalled byte for byte, want 12", marshalled)
	}
}

// ENC-05, ENC-07: the sums that keepalived sent.
func TestMarshalChecksumWithPseudoHeader(t *testing.T) {
	for _, tt := range []struct {
		name        string
		priority    uint8
		destination netip.Addr
		want        []byte
	}{
		{"multicast", 150, group, []byte{0x37, 0xe0}},
		{"priority 0", 0, group, []byte{0xcd, 0xe0}},
		{"peer .2", 150, host(2), []byte{0x0d, 0x8e}},
		{"peer .3", 150, host(3), []byte{0x0d, 0x8d}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: tt.priority, Interval: time.Second, Addresses: vips}
			b, err := a.Marshal(host(1), tt.destination)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b[6:8], tt.want) {
				t.Errorf("checksum %x, want %x", b[6:8], tt.want)
			}
			for _, other := range []netip.Addr{host(2), host(3)} {
				if _, err := vrrp.Parse(b, host(1), other); tt.destination != group && (err == nil) != (other == tt.destination) {
					t.Errorf("to %s: %v", other, err)
				}
			}
		})
	}
}

// ENC-10, ENC-13: nothing is rounded, wrapped or left out.
func TestMarshalRefusesWhatTheWireCannotCarry(t *testing.T) {
	good := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: vips}
	many := func(n int) []netip.Addr {
		var l []netip.Addr
		for i := range n {
			l = append(l, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		}
		return l
	}
	for _, tt := range []struct {
		name        string
		change      func(*vrrp.Advertisement)
		source      netip.Addr
		destination netip.Addr
		want        string // "" means that it can be carried
		length      int
	}{
		{"as it is", func(*vrrp.Advertisement) {}, host(1), group, "", 16},
		{"10 ms", func(a *vrrp.Advertisement) { a.Interval = 10 * time.Millisecond }, host(1), group, "", 16},
		{"40.95 s", func(a *vrrp.Advertisement) { a.Interval = 40950 * time.Millisecond }, host(1), group, "", 16},
		{"255 addresses", func(a *vrrp.Advertisement) { a.Addresses = many(255) }, host(1), group, "", 1028},
		{"41 s", func(a *vrrp.Advertisement) { a.Interval = 41 * time.Second }, host(1), group, "advertisement interval 41s: must be 10ms to 40.95s", 0},
		{"5 ms", func(a *vrrp.Advertisement) { a.Interval = 5 * time.Millisecond }, host(1), group, "advertisement interval 5ms: must be 10ms to 40.95s", 0},
		{"15 ms", func(a *vrrp.Advertisement) { a.Interval = 15 * time.Millisecond }, host(1), group, "must be a whole number of centiseconds", 0},
		{"VRID 0", func(a *vrrp.Advertisement) { a.VRID = 0 }, host(1), group, "vrid 0: must be 1 to 255", 0},
		{"no address", func(a *vrrp.Advertisement) { a.Addresses = nil }, host(1), group, "0 addresses: must be 1 to 255", 0},
		{"256 addresses", func(a *vrrp.Advertisement) { a.Addresses = many(256) }, host(1), group, "256 addresses: must be 1 to 255", 0},
		{"IPv6 address", func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{netip.MustParseAddr("fe80::1")} }, host(1), group, "address fe80::1 is of another family", 0},
		{"no source", func(*vrrp.Advertisement) {}, netip.Addr{}, group, "both must be of one family", 0},
		{"IPv6 destination", func(*vrrp.Advertisement) {}, host(1), netip.MustParseAddr("ff02::12"), "both must be of one family", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := good
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
	a := good
	a.Interval = 40950 * time.Millisecond
	if b, _ := a.Marshal(host(1), group); b[4] != 0x0f || b[5] != 0xff {
		t.Errorf("interval 40.95 s is %x on the wire, want 0fff", b[4:6])
	}
}

// RX-08, RX-11, RX-13, RX-14, RX-16, RX-17, RX-20, RX-21, RX-26.
func TestParseRefuses(t *testing.T) {
	good, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: vips}.Marshal(host(9), group)
	if err != nil {
		t.Fatal(err)
	}
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	cut := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:n] }
	}
	type test struct {
		name   string
		change func([]byte) []byte
		sum    bool // make the checksum right after the change
		want   vrrp.DropReason
	}
	tests := []test{
		{"one byte more", func(b []byte) []byte { return append(b, 0) }, true, vrrp.DropTrailing},
		{"one address more", func(b []byte) []byte { return append(b, 10, 99, 0, 102) }, true, vrrp.DropTrailing},
		{"count 255", set(3, 255), true, vrrp.DropTruncated},
		{"count 0", func(b []byte) []byte { b[3] = 0; return b[:8] }, true, vrrp.DropCount},
		{"interval 0", func(b []byte) []byte { b[4], b[5] = 0, 0; return b }, true, vrrp.DropInterval},
		{"interval 0 with reserved bits", func(b []byte) []byte { b[4], b[5] = 0xf0, 0; return b }, true, vrrp.DropInterval},
		{"VRID 0", set(1, 0), true, vrrp.DropVRID},
		{"checksum 0", func(b []byte) []byte { b[6], b[7] = 0, 0; return b }, false, vrrp.DropChecksum},
		{"checksum off by one", func(b []byte) []byte { b[7]++; return b }, false, vrrp.DropChecksum},
		{"checksum swapped", func(b []byte) []byte { b[6], b[7] = b[7], b[6]; return b }, false, vrrp.DropChecksum},
	}
	for n := range len(good) {
		tests = append(tests, test{fmt.Sprintf("only %d bytes", n), cut(n), false, vrrp.DropTruncated})
	}
	for v := range byte(16) {
		if v != 3 && v != 2 {
			tests = append(tests, test{fmt.Sprintf("version %d", v), set(0, v<<4|1), true, vrrp.DropVersion})
		}
		if v != 1 {
			tests = append(tests, test{fmt.Sprintf("type %d", v), set(0, 3<<4|v), true, vrrp.DropType})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.change(slices.Clone(good))
			if tt.sum {
				resum(b)
			}
			if a, err := vrrp.Parse(b, host(9), group); !errors.Is(err, tt.want) {
				t.Errorf("parsed %v, error %v, want %v", a, err, tt.want)
			}
		})
	}
	if _, err := vrrp.Parse(good, netip.MustParseAddr("fe80::1"), group); !errors.Is(err, vrrp.DropSource) {
		t.Errorf("from an IPv6 address: error %v, want %v", err, vrrp.DropSource)
	}
}

// resum puts the checksum of RFC 9568 (over the message alone) into b. It is written differently than the one
// under test: in 64 bits, subtracting instead of folding.
func resum(b []byte) {
	b[6], b[7] = 0, 0
	var sum uint64
	for i, v := range b {
		sum += uint64(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum -= 0xffff
	}
	sum = 0xffff - sum
	b[6], b[7] = byte(sum>>8), byte(sum)
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

// ENC-17.
func FuzzParse(f *testing.F) {
	for _, v := range readVectors[golden](f, "golden_v3_ipv4.json", 19) {
		f.Add(decodePacket(f, v.Packet).Payload)
	}
	for _, v := range readVectors[hostile](f, "hostile_v3_ipv4.json", 57) {
		f.Add(decodePacket(f, v.Packet).Payload)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 8 {
			b = slices.Clone(b)
			resum(b) // else nearly everything ends at the checksum
		}
		a, err := vrrp.Parse(b, host(9), group)
		if err != nil {
			if !slices.ContainsFunc(vrrp.DropReasons(), func(r vrrp.DropReason) bool { return errors.Is(err, r) }) {
				t.Errorf("error without a reason: %v", err)
			}
			return
		}
		n := (len(b) - 8) / 4
		if a.Version == vrrp.Version2 {
			n -= 2
		}
		if len(a.Addresses) != n || cap(a.Addresses) != n {
			t.Errorf("%d addresses in room for %d, want %d", len(a.Addresses), cap(a.Addresses), n)
		}
		again, err := a.Marshal(host(9), group)
		if err != nil {
			t.Fatalf("what was parsed cannot be marshalled: %v", err)
		}
		same, err := vrrp.Parse(again, host(9), group)
		if err != nil {
			t.Fatalf("what was marshalled cannot be parsed: %v", err)
		}
		if diff := cmp.Diff(a, same, compareAddr); diff != "" {
			t.Errorf("parsed again (-want +got)\n%s", diff)
		}
		if a.Version == vrrp.Version3 {
			b[4] &= 0xf
		}
		if !bytes.Equal(b[:6], again[:6]) || !bytes.Equal(b[8:], again[8:]) {
			t.Errorf("marshalled\n%x, want\n%x", again, b)
		}
	})
}

func FuzzParseIPv4(f *testing.F) {
	for _, v := range readVectors[hostile](f, "hostile_v3_ipv4.json", 57) {
		b, err := hex.DecodeString(v.Packet)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := vrrp.ParseIPv4(b); err == nil && len(p.Payload) > len(b)-20 {
			t.Errorf("payload of %d bytes in a packet of %d", len(p.Payload), len(b))
		}
	})
}

func TestConfigValidate(t *testing.T) {
	if err := config(100).Validate(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	c := vrrp.Config{Interval: 1500 * time.Microsecond, Addresses: []netip.Addr{vips[0], vips[0]}}
	want := "vrid 0: must be 1 to 255\n" +
		"priority 0: must be 1 to 254, or 255 for the owner of the addresses\n" +
		"advertisement interval 1.5ms: must be 10ms to 40.95s\n" +
		"address 10.99.0.100 is listed twice"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
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
	b, err := json.Marshal(vrrp.Status{State: vrrp.Master, Counters: vrrp.Counters{Dropped: map[vrrp.DropReason]uint64{vrrp.DropOwn: 3}}})
	if err != nil || !bytes.Contains(b, []byte(`"State":"master"`)) || !bytes.Contains(b, []byte(`{"own address":3}`)) {
		t.Errorf("as JSON: %s, %v", b, err)
	}
}
