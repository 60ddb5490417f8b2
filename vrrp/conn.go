package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrNoAddress means that an interface has no address that advertisements could come from: no IPv4 address, or no
// link-local IPv6 address that is ready for use.
var ErrNoAddress = errors.New("no address to send from")

// Packet is a received IP packet of protocol 112.
type Packet struct {
	Source, Destination netip.Addr
	TTL                 int // or hop limit; -1 if the kernel did not tell
	// Payload is what follows the IP header.
	Payload []byte
}

// Conn sends and receives the packets of one interface and one family. Send may be called while Receive waits.
type Conn interface {
	// Receive waits for the next packet. The payload is valid until the next call. It returns net.ErrClosed
	// after Close.
	Receive() (Packet, error)
	// Pending says whether a packet has arrived that was not dealt with: it waits to be received, or it was
	// received and Receive has not been called again since. A runner whose timer has run out asks, so that
	// it hears what came while it slept before it concludes that nothing came.
	Pending() bool
	// Send sends one packet with the TTL that the protocol asks for. It never waits for room.
	Send(source, destination netip.Addr, payload []byte) error
	// Source is the address that multicast packets are to be sent from; it never changes during the life of a Conn.
	Source() netip.Addr
	// Close ends a waiting Receive.
	Close() error
}

const (
	ipv4HeaderBytes = 20
	ipv6HeaderBytes = 40
)

// parseIPv4 takes an IPv4 packet apart, as raw sockets deliver it: with options if it has any, and perhaps with
// bytes behind its end that padded the Ethernet frame.
func parseIPv4(b []byte) (Packet, error) {
	if len(b) < ipv4HeaderBytes || b[0]>>4 != 4 {
		return Packet{}, fmt.Errorf("%d bytes that are no IPv4 packet", len(b))
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4HeaderBytes || total < header || len(b) < total {
		return Packet{}, fmt.Errorf("IPv4 packet of %d bytes with header length %d and total length %d", len(b), header, total)
	}
	return Packet{
		Source:      netip.AddrFrom4([4]byte(b[12:16])),
		Destination: netip.AddrFrom4([4]byte(b[16:20])),
		TTL:         int(b[8]),
		Payload:     b[header:total],
	}, nil
}
