package vrrp_test

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"lvsd/vrrp"
)

// captured is a VRRP packet that somebody sent: keepalived 2.2.7 and 2.4.3 and FRR 8.4.4 in captures of elections and
// faults, a forger of hostile packets, and in golden.json (names that begin with syn) an encoder of RFC 9568. The
// fields beside it were decoded by a program that shares nothing with this package. golden.json has whole IP packets,
// captures.json what is behind the IP header: every distinct packet of 81 captures.
type captured struct {
	Name, Note          string
	Captures            []string
	Source, Destination netip.Addr
	TTL, Protocol       int
	Packet, Payload     hexBytes

	Error                 string // why it could not be decoded, "" if it was
	Version, Type         uint8
	VRID, Priority        uint8
	Count                 int
	Centiseconds, Seconds int
	Reserved              uint8
	AuthType              uint8
	AuthData              hexBytes
	Addresses             []netip.Addr // of which there may be less than Count
	Trailing              int          // bytes behind the end
	Checksums             []string     // the rules under which the checksum is right
}

// hostile is a packet as it was sent to a keepalived that was Master, and whether keepalived believed it and yielded;
// nil if a version was not asked.
type hostile struct {
	Capture, Case            string
	Packet                   hexBytes
	Believed227, Believed243 *bool
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
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

func readGolden(t testing.TB) []captured   { return readVectors[captured](t, "golden.json", 37) }
func readCaptures(t testing.TB) []captured { return readVectors[captured](t, "captures.json", 291) }
func readHostile(t testing.TB) []hostile   { return readVectors[hostile](t, "hostile.json", 132) }

// goldenPacket returns the one with this name.
func goldenPacket(t testing.TB, name string) captured {
	t.Helper()
	vectors := readGolden(t)
	i := slices.IndexFunc(vectors, func(c captured) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no golden packet %s", name)
	}
	return vectors[i]
}

// packet takes an IP packet apart.
func packet(t testing.TB, b []byte) vrrp.Packet {
	t.Helper()
	if b[0]>>4 == 6 {
		return vrrp.Packet{
			Source: netip.AddrFrom16([16]byte(b[8:24])), Destination: netip.AddrFrom16([16]byte(b[24:40])),
			TTL: int(b[7]), Payload: b[40 : 40+binary.BigEndian.Uint16(b[4:])],
		}
	}
	p, err := vrrp.ParseIPv4(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// is4 says of which family the packet is.
func (c captured) is4() bool { return c.Source.Is4() }

// version2 says whether it is of version 2 as RFC 3768 has it; keepalived sends it over IPv6 as well.
func (c captured) version2() bool { return c.Version == 2 && c.is4() }

// flaw says what is wrong with the message, if anything is, by what the other decoder found.
func (c captured) flaw() (reason vrrp.DropReason, flawed bool) {
	auth := 0
	if c.version2() {
		auth = 8
	}
	switch {
	case c.Error != "":
		return vrrp.DropTruncated, true
	case c.Version != 2 && c.Version != 3:
		return vrrp.DropVersion, true
	case c.Type != 1:
		return vrrp.DropType, true
	case len(c.Addresses) < c.Count || len(c.AuthData) < auth:
		return vrrp.DropTruncated, true
	case c.Trailing > 0 || len(c.AuthData) > auth:
		return vrrp.DropTrailing, true
	case !c.fits(vrrp.ChecksumPseudoHeader) && (c.version2() || !c.is4() || len(c.Checksums) == 0):
		return vrrp.DropChecksum, true
	case c.Count == 0:
		return vrrp.DropCount, true
	case c.Centiseconds == 0 && c.Seconds == 0:
		return vrrp.DropInterval, true
	case c.VRID == 0:
		return vrrp.DropVRID, true
	}
	return 0, false
}

// advertisement is what the other decoder found; the rule of the checksum is left open.
func (c captured) advertisement() vrrp.Advertisement {
	a := vrrp.Advertisement{
		Version: vrrp.Version(c.Version), VRID: c.VRID, Priority: c.Priority, Addresses: c.Addresses,
		Interval: time.Duration(c.Seconds)*time.Second + time.Duration(c.Centiseconds)*10*time.Millisecond,
	}
	a.Authentication.Type = c.AuthType
	copy(a.Authentication.Data[:], c.AuthData)
	return a
}

// fits says whether the checksum is right under this rule, by what the other decoder found.
func (c captured) fits(rule vrrp.Checksum) bool {
	name := map[vrrp.Checksum]string{
		vrrp.ChecksumPseudoHeader:      "pseudo_header",
		vrrp.ChecksumMessage:           "message_only",
		vrrp.ChecksumPseudoHeaderGroup: "pseudo_header_mcast_dst",
	}
	if c.version2() { // which has no choice
		return rule == 0 && slices.Contains(c.Checksums, "message_only")
	}
	return slices.Contains(c.Checksums, name[rule])
}
