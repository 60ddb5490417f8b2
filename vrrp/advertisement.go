package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

const (
	protocol    = 112 // the IP protocol number of VRRP, RFC 9568, section 5.1.1.4
	ttl         = 255 // section 5.1.1.3; the hop limit of IPv6, section 5.1.2.3
	typeAdvert  = 1
	headerBytes = 8
	centisecond = 10 * time.Millisecond
)

// Version is the version of the protocol.
type Version uint8

const (
	// Version2 is RFC 3768: IPv4 alone, intervals of whole seconds.
	Version2 Version = 2
	// Version3 is RFC 9568.
	Version3 Version = 3
)

// The multicast groups of VRRP, RFC 9568, sections 5.1.1.2 and 5.1.2.2.
var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.MustParseAddr("ff02::12")
)

// groupOf returns the multicast group of the family of an address.
func groupOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return group4
	}
	return group6
}

// Advertisement is the one packet of the protocol, RFC 9568, section 5.2:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Reserve| Max Advertise Interval|          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IPvX Address(es)                        |
//
// Version 2 (RFC 3768, section 5.3) has the type of authentication and the interval in seconds, a byte each, in place
// of the interval, and 8 bytes of authentication data behind the addresses. All numbers are in network byte order.
type Advertisement struct {
	Version Version
	// VRID is the virtual router, 1 to 255.
	VRID uint8
	// Priority is the sender's, 1 to 255; 0 says that it leaves.
	Priority uint8
	// Interval is the sender's. In version 3 it goes in steps of 10 ms up to 40.95 s, on the wire 12 bits of
	// centiseconds; in version 2 in seconds up to 255.
	Interval time.Duration
	// Addresses are the virtual addresses, at least one, all of the family of the packet.
	Addresses []netip.Addr
	// Authentication is of version 2 over IPv4 only.
	Authentication Authentication
	// Checksum is the rule for the checksum of version 3 over IPv4, which is the only one that is in dispute.
	Checksum Checksum
}

// Authentication is what version 2 carries of it. RFC 3768 has removed it; keepalived still sends and expects it.
type Authentication struct {
	Type uint8
	Data [authenticationBytes]byte
}

const (
	authenticationBytes = 8

	authenticationNone     = 0
	authenticationPassword = 1 // in clear
)

// authentication returns that of a password, of which 8 bytes count; "" is none.
func authentication(password string) Authentication {
	if password == "" {
		return Authentication{}
	}
	a := Authentication{Type: authenticationPassword}
	copy(a.Data[:], password)
	return a
}

// trailing is how many bytes follow the addresses.
func trailing(v Version, ipv4 bool) int {
	if v == Version2 && ipv4 {
		return authenticationBytes
	}
	return 0
}

// addressBytes is the length of an address on the wire.
func addressBytes(ipv4 bool) int {
	if ipv4 {
		return 4
	}
	return 16
}

// Marshal returns the message that travels behind the IP header. It returns an error if a field has a value that the
// wire cannot carry: an interval is never rounded and no address is left out.
func (a Advertisement) Marshal(source, destination netip.Addr) ([]byte, error) {
	if source.Is4() != destination.Is4() || !source.IsValid() {
		return nil, fmt.Errorf("marshalling an advertisement from %s to %s: both must be of one family", source, destination)
	}
	if a.Version != Version2 && a.Version != Version3 {
		return nil, fmt.Errorf("marshalling an advertisement: version %d: must be 2 or 3", a.Version)
	}
	if a.VRID == 0 {
		return nil, fmt.Errorf("marshalling an advertisement: vrid 0: must be 1 to 255")
	}
	if err := checkInterval(a.Version, a.Interval); err != nil {
		return nil, fmt.Errorf("marshalling an advertisement: %w", err)
	}
	if len(a.Addresses) == 0 || len(a.Addresses) > MaxAddresses {
		return nil, fmt.Errorf("marshalling an advertisement: %d addresses: must be 1 to 255", len(a.Addresses))
	}
	ipv4 := source.Is4()
	b := make([]byte, headerBytes, headerBytes+addressBytes(ipv4)*len(a.Addresses)+trailing(a.Version, ipv4))
	b[0] = uint8(a.Version)<<4 | typeAdvert
	b[1] = a.VRID
	b[2] = a.Priority
	b[3] = uint8(len(a.Addresses))
	if a.Version == Version2 {
		b[4] = a.Authentication.Type
		b[5] = uint8(a.Interval / time.Second)
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(a.Interval/centisecond))
	}
	for _, address := range a.Addresses {
		if address.Is4() != ipv4 {
			return nil, fmt.Errorf("marshalling an advertisement from %s: address %s is of another family", source, address)
		}
		b = append(b, address.AsSlice()...)
	}
	b = append(b, a.Authentication.Data[:trailing(a.Version, ipv4)]...)
	binary.BigEndian.PutUint16(b[6:], ^checksum(a.rule().start(source, destination, len(b)), b))
	return b, nil
}

// rule is the rule for the checksum: only version 3 over IPv4 has a choice.
func (a Advertisement) rule() Checksum {
	switch {
	case !a.Addresses[0].Is4():
		return ChecksumPseudoHeader
	case a.Version == Version2:
		return ChecksumMessage
	default:
		return a.Checksum
	}
}

// Parse reads the message behind the IP header of a packet from source to destination and checks what RFC 9568,
// section 7.1, and RFC 3768, section 7.1, ask of the message itself. The reserved bits are ignored. The error wraps the
// [DropReason].
func Parse(b []byte, source, destination netip.Addr) (Advertisement, error) {
	if source.Is4() != destination.Is4() || !source.IsValid() {
		return Advertisement{}, fmt.Errorf("parsing a packet from %s to %s: both must be of one family: %w", source, destination, DropSource)
	}
	if len(b) < headerBytes {
		return Advertisement{}, fmt.Errorf("%d bytes, a header has %d: %w", len(b), headerBytes, DropTruncated)
	}
	version, ipv4 := Version(b[0]>>4), source.Is4()
	if version != Version2 && version != Version3 {
		return Advertisement{}, fmt.Errorf("version %d, want %d or %d: %w", version, Version2, Version3, DropVersion)
	}
	if t := b[0] & 0xf; t != typeAdvert {
		return Advertisement{}, fmt.Errorf("type %d, want %d: %w", t, typeAdvert, DropType)
	}
	count, size, tail := int(b[3]), addressBytes(ipv4), trailing(version, ipv4)
	if want := headerBytes + size*count + tail; len(b) < want {
		return Advertisement{}, fmt.Errorf("%d bytes, want %d for %d addresses: %w", len(b), want, count, DropTruncated)
	} else if len(b) > want {
		return Advertisement{}, fmt.Errorf("%d bytes, want %d for %d addresses%s: %w", len(b), want, count, trailer(len(b)-want), DropTrailing)
	}
	rule, ok := verify(version, b, source, destination)
	if !ok {
		return Advertisement{}, fmt.Errorf("%#04x fits under no rule: %w", binary.BigEndian.Uint16(b[6:]), DropChecksum)
	}
	if count == 0 {
		return Advertisement{}, DropCount
	}
	a := Advertisement{Version: version, VRID: b[1], Priority: b[2], Checksum: rule, Addresses: make([]netip.Addr, 0, count)}
	if version == Version2 {
		a.Authentication.Type = b[4]
		a.Interval = time.Duration(b[5]) * time.Second
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&0xfff) * centisecond
	}
	if a.Interval == 0 {
		return Advertisement{}, DropInterval
	}
	if a.VRID == 0 {
		return Advertisement{}, fmt.Errorf("vrid 0: %w", DropVRID)
	}
	b = b[headerBytes:]
	copy(a.Authentication.Data[:], b[size*count:])
	for b = b[:size*count]; len(b) > 0; b = b[size:] {
		address, _ := netip.AddrFromSlice(b[:size]) // 4 or 16 bytes are always one
		a.Addresses = append(a.Addresses, address)
	}
	return a, nil
}

// trailer names the only known sender of longer messages, for the log.
func trailer(n int) string {
	if n == 28 {
		return " (28 bytes more: the auth_hmac trailer of keepalived, which is not understood)"
	}
	return ""
}
