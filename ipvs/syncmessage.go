package ipvs

import (
	"encoding/binary"
	"time"
)

// This file writes messages of version 1 of the protocol by which kernels tell each
// other of their connections (net/netfilter/ipvs/ip_vs_sync.c). All numbers are
// big-endian. A message is
//
//	byte 0    0, so that receivers of version 0 find no connection in it
//	byte 1    sync id; a receiver with another one, that is not 0, drops the message
//	byte 2-3  size of the message in bytes
//	byte 4    number of connections
//	byte 5    version, 1
//	byte 6-7  0
//
// and the connections, each
//
//	byte 0      0 for IPv4, 1 for IPv6
//	byte 1      protocol
//	byte 2-3    size of the connection in bytes; the upper four bits are a version, 0
//	byte 4-7    flags
//	byte 8-9    state
//	byte 10-15  ports of client, service and real server
//	byte 16-19  firewall mark
//	byte 20-23  time until it expires, in seconds; 0 leaves it to the receiver
//	byte 24-    addresses of client, service and real server
const (
	syncHeaderSize = 8
	syncSizeIPv4   = 36
	syncSizeIPv6   = 72
	syncVersion    = 1
	syncTypeIPv6   = 1

	// maxSyncLength is the longest message in bytes: the least that a backup daemon
	// can have been told to take. It has room for 28 connections, so that their
	// number never needs more than its byte.
	maxSyncLength = 1024
)

// Flags of a connection (IP_VS_CONN_F_* in linux/ip_vs.h). The forwarding method is
// not said: the receiver takes it from its own table, which has the real server.
const (
	connectionInactive = 0x0100
	connectionTemplate = 0x1000
)

// tcpStates are the kernel's numbers (IP_VS_TCP_S_* in net/ip_vs.h).
var tcpStates = map[string]uint16{
	"NONE":        0,
	"ESTABLISHED": 1,
	"SYN_SENT":    2,
	"SYN_RECV":    3,
	"FIN_WAIT":    4,
	"TIME_WAIT":   5,
	"CLOSE":       6,
	"CLOSE_WAIT":  7,
	"LAST_ACK":    8,
	"LISTEN":      9,
	"SYNACK":      10,
}

// templateAssured is IP_VS_CTPL_S_ASSURED.
const templateAssured = 1

// syncState returns the state and the flags of a connection; ok is false for one
// whose state has no number.
func (c Connection) syncState() (state uint16, flags uint32, ok bool) {
	if c.Template() {
		if c.State == "ASSURED" {
			state = templateAssured
		}
		return state, connectionTemplate, true
	}
	switch c.Protocol {
	case TCP:
		state, ok = tcpStates[c.State]
		// The receiver counts the connection as the sender does
		// (tcp_state_active_table in ip_vs_proto_tcp.c).
		switch c.State {
		case "ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK":
		default:
			flags = connectionInactive
		}
		return state, flags, ok
	case UDP:
		return 0, connectionInactive, true
	default:
		return 0, 0, false
	}
}

// appendSyncConnection appends a connection. It returns b as it is, and false, for
// one that the protocol cannot say: neither TCP nor UDP, in a state that has no
// number, or with addresses of both families.
func appendSyncConnection(b []byte, c Connection) ([]byte, bool) {
	state, flags, ok := c.syncState()
	client, virtual, destination := c.Client.Addr(), c.Virtual.Addr(), c.Destination.Addr()
	if !ok || client.BitLen() != virtual.BitLen() || client.BitLen() != destination.BitLen() {
		return b, false
	}
	kind, size := byte(0), uint16(syncSizeIPv4)
	switch client.BitLen() {
	case 0:
		return b, false
	case 128:
		kind, size = syncTypeIPv6, syncSizeIPv6
	}

	b = append(b, kind, byte(c.Protocol))
	b = binary.BigEndian.AppendUint16(b, size)
	b = binary.BigEndian.AppendUint32(b, flags)
	b = binary.BigEndian.AppendUint16(b, state)
	b = binary.BigEndian.AppendUint16(b, c.Client.Port())
	b = binary.BigEndian.AppendUint16(b, c.Virtual.Port())
	b = binary.BigEndian.AppendUint16(b, c.Destination.Port())
	b = binary.BigEndian.AppendUint32(b, 0)
	// What has less than a second left is not given the whole time of its state.
	b = binary.BigEndian.AppendUint32(b, uint32(max(c.Expires/time.Second, 1)))
	b = append(b, client.AsSlice()...)
	b = append(b, virtual.AsSlice()...)
	b = append(b, destination.AsSlice()...)
	return b, true
}

// syncMessages returns the connections in messages of at most limit bytes: at most
// maxSyncLength, and enough for one connection. Connections that the protocol cannot
// say are left out.
func syncMessages(id uint8, connections []Connection, limit int) [][]byte {
	var messages [][]byte
	var message []byte
	finish := func() {
		if message != nil {
			binary.BigEndian.PutUint16(message[2:], uint16(len(message)))
			messages = append(messages, message)
			message = nil
		}
	}
	for _, c := range connections {
		if message != nil && len(message)+syncSizeIPv6 > limit {
			finish()
		}
		if message == nil {
			message = append(make([]byte, 0, limit), 0, id, 0, 0, 0, syncVersion, 0, 0)
		}
		var ok bool
		if message, ok = appendSyncConnection(message, c); ok {
			message[4]++
		}
	}
	if message != nil && message[4] > 0 {
		finish()
	}
	return messages
}
