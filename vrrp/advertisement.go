package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

const (
	protocol    = 112 // the IP protocol number of VRRP, RFC 9568, section 5.1.1.4
	ttl         = 255 // section 5.1.1.3
	version3    = 3
	typeAdvert  = 1
	headerBytes = 8
	centisecond = 10 * time.Millisecond
)

// group4 is the IPv4 multicast group of VRRP, RFC 9568, section 5.1.1.2.
var group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})

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
// All numbers are in network byte order.
type Advertisement struct {
	// VRID is the virtual router, 1 to 255.
	VRID uint8
	// Priority is the sender's, 1 to 255; 0 says that it leaves.
	Priority uint8
	// Interval is the sender's, in steps of 10 ms up to 40.95 s: on the wire 12 bits of centiseconds.
	Interval time.Duration
	// Addresses are the virtual addresses, at least one.
	Addresses []netip.Addr
}

// Marshal returns the message that travels behind the IP header. Its checksum includes the pseudo-header of source
// and destination, as keepalived and FRR send and expect it by default. It returns an error if a field has a value
// that the wire cannot carry: an interval is never rounded and no address is left out.
func (a Advertisement) Marshal(source, destination netip.Addr) ([]byte, error) {
	if !source.Is4() || !destination.Is4() {
		return nil, fmt.Errorf("marshalling an advertisement from %s to %s: both must be IPv4 addresses", source, destination)
	}
	if a.VRID == 0 {
		return nil, fmt.Errorf("marshalling an advertisement: vrid 0: must be 1 to 255")
	}
	if err := checkInterval(a.Interval); err != nil {
		return nil, fmt.Errorf("marshalling an advertisement: %w", err)
	}
	if err := checkAddresses(a.Addresses); err != nil {
		return nil, fmt.Errorf("marshalling an advertisement: %w", err)
	}
	b := make([]byte, headerBytes, headerBytes+4*len(a.Addresses))
	b[0] = version3<<4 | typeAdvert
	b[1] = a.VRID
	b[2] = a.Priority
	b[3] = uint8(len(a.Addresses))
	binary.BigEndian.PutUint16(b[4:], uint16(a.Interval/centisecond))
	for _, address := range a.Addresses {
		b = append(b, address.AsSlice()...)
	}
	binary.BigEndian.PutUint16(b[6:], ^checksum(pseudoHeader(source, destination, len(b)), b))
	return b, nil
}

// Parse reads the message behind the IP header of a packet from source to destination and checks what RFC 9568,
// section 7.1, asks of the message itself. The checksum may be with or without the pseudo-header. The reserved bits are
// ignored. The error wraps the [DropReason].
func Parse(b []byte, source, destination netip.Addr) (Advertisement, error) {
	if !source.Is4() || !destination.Is4() {
		return Advertisement{}, fmt.Errorf("parsing a packet from %s to %s: both must be IPv4 addresses: %w", source, destination, DropSource)
	}
	if len(b) < headerBytes {
		return Advertisement{}, fmt.Errorf("%d bytes, a header has %d: %w", len(b), headerBytes, DropTruncated)
	}
	if v := b[0] >> 4; v != version3 {
		return Advertisement{}, fmt.Errorf("version %d, want %d: %w", v, version3, DropVersion)
	}
	if t := b[0] & 0xf; t != typeAdvert {
		return Advertisement{}, fmt.Errorf("type %d, want %d: %w", t, typeAdvert, DropType)
	}
	count := int(b[3])
	if want := headerBytes + 4*count; len(b) < want {
		return Advertisement{}, fmt.Errorf("%d bytes, want %d for %d addresses: %w", len(b), want, count, DropTruncated)
	} else if len(b) > want {
		return Advertisement{}, fmt.Errorf("%d bytes, want %d for %d addresses%s: %w", len(b), want, count, trailer(len(b)-want), DropTrailing)
	}
	if !verify(b, source, destination) {
		return Advertisement{}, fmt.Errorf("%#04x fits under no rule: %w", binary.BigEndian.Uint16(b[6:]), DropChecksum)
	}
	if count == 0 {
		return Advertisement{}, DropCount
	}
	interval := time.Duration(binary.BigEndian.Uint16(b[4:])&0xfff) * centisecond
	if interval == 0 {
		return Advertisement{}, DropInterval
	}
	if b[1] == 0 {
		return Advertisement{}, fmt.Errorf("vrid 0: %w", DropVRID)
	}
	a := Advertisement{VRID: b[1], Priority: b[2], Interval: interval, Addresses: make([]netip.Addr, 0, count)}
	for b = b[headerBytes:]; len(b) > 0; b = b[4:] {
		a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte(b)))
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
