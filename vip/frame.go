package vip

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// framesPerRound is the most that gratuitous returns.
const framesPerRound = 2

// gratuitous returns the Ethernet frames that tell every neighbour on a segment
// that address belongs to the hardware address mac: for IPv4 two gratuitous ARP
// messages, for IPv6 one unsolicited neighbour advertisement. router says that
// this machine forwards IPv6 packets.
func gratuitous(mac net.HardwareAddr, address netip.Addr, router bool) ([][]byte, error) {
	if len(mac) != 6 {
		return nil, fmt.Errorf("announcing %s: hardware address %q is not an Ethernet one", address, mac)
	}
	if address.Is6() {
		return [][]byte{neighbourAdvertisement(mac, address, router)}, nil
	}
	// RFC 5227, section 3: most hosts heed the request form, some only the reply
	// form. As keepalived does, both go to everybody, with the broadcast address
	// as the target's hardware address too.
	var frames [][]byte
	for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		p, err := arp.NewPacket(op, mac, address, ethernet.Broadcast, address)
		if err != nil {
			return nil, fmt.Errorf("announcing %s: %w", address, err)
		}
		payload, err := p.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("announcing %s: %w", address, err)
		}
		// An Ethernet frame's payload of less than 46 bytes is filled up by the
		// interface's driver, not here.
		frame := binary.BigEndian.AppendUint16(append(append([]byte{}, ethernet.Broadcast...), mac...), uint16(ethernet.EtherTypeARP))
		frames = append(frames, append(frame, payload...))
	}
	return frames, nil
}

// allNodes is the group of all IPv6 nodes on a link, RFC 4291, section 2.7.1.
var allNodes = netip.MustParseAddr("ff02::1")

// neighbourAdvertisement returns the frame of an unsolicited neighbour
// advertisement, RFC 4861, sections 4.4 and 7.2.6: from the announced address to
// all nodes, overriding what they knew, with the target's link-layer address.
// All fields are in network byte order.
func neighbourAdvertisement(mac net.HardwareAddr, address netip.Addr, router bool) []byte {
	const (
		icmpv6            = 58
		typeAdvertisement = 136
		flagRouter        = 0x80
		flagOverride      = 0x20
		targetLinkLayer   = 2 // option type; its length is in units of 8 bytes
		icmpLength        = 32
	)
	source, group := address.As16(), allNodes.As16()

	icmp := make([]byte, 0, icmpLength)
	icmp = append(icmp, typeAdvertisement, 0, 0, 0, flagOverride, 0, 0, 0)
	if router {
		icmp[4] |= flagRouter
	}
	icmp = append(icmp, source[:]...)
	icmp = append(icmp, targetLinkLayer, 1)
	icmp = append(icmp, mac...)

	// RFC 8200, section 8.1: the checksum covers a pseudo-header, too.
	pseudo := append(append([]byte{}, source[:]...), group[:]...)
	pseudo = append(pseudo, 0, 0, 0, icmpLength, 0, 0, 0, icmpv6)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))

	frame := []byte{0x33, 0x33, group[12], group[13], group[14], group[15]} // RFC 2464, section 7
	frame = append(frame, mac...)
	frame = binary.BigEndian.AppendUint16(frame, uint16(ethernet.EtherTypeIPv6))
	// Version 6, no traffic class or flow label; hop limit 255, RFC 4861, section 7.1.2.
	frame = append(frame, 0x60, 0, 0, 0, 0, icmpLength, icmpv6, 255)
	frame = append(append(frame, source[:]...), group[:]...)
	return append(frame, icmp...)
}

// checksum is the Internet checksum of b, RFC 1071. The length of b is even.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
