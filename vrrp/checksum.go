package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Checksum is a rule for the checksum of version 3 over IPv4. RFC 5798 was read by keepalived and FRR as asking for
// the pseudo-header; RFC 9568, section 5.2.8, says that there is none. Version 2 is always without and IPv6 always with
// it.
type Checksum uint8

const (
	// ChecksumPseudoHeader includes the pseudo-header, as nearly every router in service does.
	ChecksumPseudoHeader Checksum = iota
	// ChecksumMessage is over the message alone, RFC 9568, section 5.2.8.
	ChecksumMessage
	// ChecksumPseudoHeaderGroup includes a pseudo-header to the multicast group although the packet is unicast, as
	// keepalived did before 1.3.7 and does with old_unicast_checksum.
	ChecksumPseudoHeaderGroup

	checksums // how many there are
)

// String returns the name of the rule in lower-case words that are stable, so that they can be label values.
func (c Checksum) String() string {
	switch c {
	case ChecksumPseudoHeader:
		return "pseudo-header"
	case ChecksumMessage:
		return "message"
	case ChecksumPseudoHeaderGroup:
		return "pseudo-header to the group"
	}
	return fmt.Sprintf("checksum %d", uint8(c))
}

// MarshalText implements encoding.TextMarshaler with the same words as String. It never fails.
func (c Checksum) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// start is the sum over what the rule puts before a message of this length.
func (c Checksum) start(source, destination netip.Addr, length int) uint32 {
	switch c {
	case ChecksumMessage:
		return 0
	case ChecksumPseudoHeaderGroup:
		return pseudoHeader(source, groupOf(source), length)
	default:
		return pseudoHeader(source, destination, length)
	}
}

// checksum is the one's complement sum of RFC 1071 over b, continued from sum and folded to 16 bits. It is not
// inverted: a correct message with its checksum in place sums to 0xffff. Words are in network byte order; the length of
// b is even, as all lengths in VRRP are.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// pseudoHeader is the sum over the pseudo-header of an IPv4 packet, or of an IPv6 packet, RFC 8200, section 8.1: both
// addresses, the protocol number and the length of the message in bytes.
func pseudoHeader(source, destination netip.Addr, length int) uint32 {
	return uint32(checksum(0, source.AsSlice())) + uint32(checksum(0, destination.AsSlice())) + protocol + uint32(length)
}

// verify returns the rule under which the checksum in message fits.
func verify(version Version, message []byte, source, destination netip.Addr) (Checksum, bool) {
	rules := []Checksum{ChecksumPseudoHeader, ChecksumMessage, ChecksumPseudoHeaderGroup}
	switch {
	case !source.Is4():
		rules = rules[:1]
	case version == Version2:
		rules = rules[1:2]
	}
	for _, rule := range rules {
		if checksum(rule.start(source, destination, len(message)), message) == 0xffff {
			if version == Version2 {
				rule = 0 // there is no choice to remember
			}
			return rule, true
		}
	}
	return 0, false
}
