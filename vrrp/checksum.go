package vrrp

import (
	"encoding/binary"
	"net/netip"
)

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

// pseudoHeader is the sum over the pseudo-header of an IPv4 packet: both addresses, the protocol number and the
// length of the message in bytes. RFC 5798 was read by keepalived and FRR as asking for it; RFC 9568, section
// 5.2.8, says that version 3 over IPv4 is without. Nearly every router in service still sends it.
func pseudoHeader(source, destination netip.Addr, length int) uint32 {
	s, d := source.As4(), destination.As4()
	return uint32(checksum(0, s[:])) + uint32(checksum(0, d[:])) + protocol + uint32(length)
}

// verify says whether the checksum in message fits under one of the three rules in use: over the message alone,
// with the pseudo-header, or with a pseudo-header to the group although the packet is unicast, as keepalived did
// before 1.3.7.
func verify(message []byte, source, destination netip.Addr) bool {
	return checksum(0, message) == 0xffff ||
		checksum(pseudoHeader(source, destination, len(message)), message) == 0xffff ||
		checksum(pseudoHeader(source, group4, len(message)), message) == 0xffff
}
