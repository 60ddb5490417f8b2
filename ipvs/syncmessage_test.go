package ipvs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func connection(p Protocol, client, virtual, destination, state string, seconds int) Connection {
	return Connection{
		Protocol: p, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort(virtual),
		Destination: netip.MustParseAddrPort(destination), State: state, Expires: time.Duration(seconds) * time.Second,
	}
}

func TestSyncMessageBytes(t *testing.T) {
	messages := syncMessages(7, []Connection{
		connection(TCP, "192.168.20.17:35378", "192.168.50.100:80", "192.168.50.22:8080", "ESTABLISHED", 871),
		connection(UDP, "[2001:db8::17]:50000", "[2001:db8::100]:53", "[2001:db8::22]:53", "UDP", 0),
		connection(TCP, "192.168.20.0:0", "192.168.50.100:443", "192.168.50.23:443", "ASSURED", 300),
	}, 1024)
	want := strings.Join([]string{
		"00 07 0098 03 01 0000",
		"00 06 0024 00000000 0001 8a32 0050 1f90 00000000 00000367 c0a81411 c0a83264 c0a83216",
		"01 11 0048 00000100 0000 c350 0035 0035 00000000 00000001",
		"20010db8000000000000000000000017", "20010db8000000000000000000000100", "20010db8000000000000000000000022",
		"00 06 0024 00001000 0001 0000 01bb 01bb 00000000 0000012c c0a81400 c0a83264 c0a83217",
	}, "")
	want = strings.ReplaceAll(want, " ", "")
	if len(messages) != 1 || hex.EncodeToString(messages[0]) != want {
		t.Errorf("messages\n%x\nwant\n%s", messages, want)
	}
}

func TestSyncStateFollowsTheKernel(t *testing.T) {
	tests := []struct {
		protocol Protocol
		port     string
		state    string
		number   uint16
		flags    uint32
		ok       bool
	}{
		{TCP, "1", "NONE", 0, connectionInactive, true},
		{TCP, "1", "ESTABLISHED", 1, 0, true},
		{TCP, "1", "SYN_SENT", 2, 0, true},
		{TCP, "1", "SYN_RECV", 3, 0, true},
		{TCP, "1", "FIN_WAIT", 4, connectionInactive, true},
		{TCP, "1", "TIME_WAIT", 5, connectionInactive, true},
		{TCP, "1", "CLOSE", 6, connectionInactive, true},
		{TCP, "1", "CLOSE_WAIT", 7, connectionInactive, true},
		{TCP, "1", "LAST_ACK", 8, connectionInactive, true},
		{TCP, "1", "LISTEN", 9, connectionInactive, true},
		{TCP, "1", "SYNACK", 10, 0, true},
		{TCP, "1", "ERR!", 0, connectionInactive, false},
		{TCP, "0", "NONE", 0, connectionTemplate, true},
		{TCP, "0", "ASSURED", 1, connectionTemplate, true},
		{UDP, "1", "UDP", 0, connectionInactive, true},
		{UDP, "0", "ASSURED", 1, connectionTemplate, true},
		{sctp, "1", "ESTABLISHED", 0, 0, false},
	}
	for _, tt := range tests {
		c := connection(tt.protocol, "192.168.20.17:"+tt.port, "192.168.50.100:80", "192.168.50.22:80", tt.state, 1)
		number, flags, ok := c.syncState()
		if number != tt.number || flags != tt.flags || ok != tt.ok {
			t.Errorf("%s %s: %d, %#x, %t, want %d, %#x, %t", tt.protocol, tt.state, number, flags, ok, tt.number, tt.flags, tt.ok)
		}
	}
}

func TestSyncMessagesLeaveOutWhatCannotBeSaid(t *testing.T) {
	unsaid := []Connection{
		connection(TCP, "[2001:db8::17]:1", "[2001:db8::100]:80", "192.168.50.22:80", "ESTABLISHED", 1),
		connection(TCP, "192.168.20.17:1", "[2001:db8::100]:80", "[2001:db8::22]:80", "ESTABLISHED", 1),
		connection(TCP, "[2001:db8::17]:1", "192.168.50.100:80", "[2001:db8::22]:80", "ESTABLISHED", 1),
		connection(TCP, "192.168.20.17:1", "192.168.50.100:80", "192.168.50.22:80", "BUG!", 1),
		connection(sctp, "192.168.20.17:1", "192.168.50.100:80", "192.168.50.22:80", "ESTABLISHED", 1),
		{Protocol: TCP, State: "ESTABLISHED"},
	}
	if got := syncMessages(1, unsaid, 1024); len(got) != 0 {
		t.Errorf("messages %x", got)
	}
	good := connection(TCP, "192.168.20.17:1", "192.168.50.100:80", "192.168.50.22:80", "ESTABLISHED", 1)
	got := syncMessages(1, append(unsaid, good), 1024)
	if len(got) != 1 || got[0][4] != 1 || len(got[0]) != syncHeaderSize+syncSizeIPv4 {
		t.Errorf("messages %x", got)
	}
}

// TestSyncMessagesAreWellFormed reads messages as the kernel does.
func TestSyncMessagesAreWellFormed(t *testing.T) {
	drawn := []Connection{
		connection(TCP, "192.168.20.17:1", "192.168.50.100:80", "192.168.50.22:80", "ESTABLISHED", 1),
		connection(TCP, "[2001:db8::17]:2", "[2001:db8::100]:80", "[2001:db8::22]:80", "FIN_WAIT", 100),
		connection(UDP, "192.168.20.17:3", "[2001:db8::100]:80", "[2001:db8::22]:80", "UDP", 1), // cannot be said
	}
	rapid.Check(t, func(t *rapid.T) {
		connections := rapid.SliceOfN(rapid.SampledFrom(drawn), 0, 1000).Draw(t, "connections")
		limit := rapid.IntRange(syncHeaderSize+syncSizeIPv6, maxSyncLength).Draw(t, "limit")
		var want, got []byte
		for _, c := range connections {
			want, _ = appendSyncConnection(want, c)
		}
		for _, m := range syncMessages(9, connections, limit) {
			if len(m) > limit || int(binary.BigEndian.Uint16(m[2:])) != len(m) {
				t.Fatalf("a message of %d bytes says %d; the limit is %d", len(m), binary.BigEndian.Uint16(m[2:]), limit)
			}
			if m[0] != 0 || m[1] != 9 || m[4] == 0 || m[5] != 1 || m[6] != 0 || m[7] != 0 {
				t.Fatalf("header %x", m[:8])
			}
			rest := m[8:]
			for range m[4] {
				size := int(binary.BigEndian.Uint16(rest[2:]))
				if size != syncSizeIPv4 && size != syncSizeIPv6 || size%4 != 0 {
					t.Fatalf("a connection of %d bytes", size)
				}
				rest = rest[size:]
			}
			if len(rest) > 0 {
				t.Fatalf("%d bytes are left", len(rest))
			}
			got = append(got, m[8:]...)
		}
		if !bytes.Equal(want, got) {
			t.Fatal("the messages do not hold the connections")
		}
	})
}
