package ipvs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Connection is an entry of the kernel's table of connections, as
// /proc/net/ip_vs_conn shows it: who talks to which service, and to which real
// server it was sent. All three addresses are of one family, but for a real
// server of the other family behind a tunnel.
type Connection struct {
	Protocol    Protocol
	Client      netip.AddrPort
	Virtual     netip.AddrPort
	Destination netip.AddrPort

	// State is the kernel's word: ESTABLISHED, FIN_WAIT and so on for TCP, and
	// always UDP for UDP. A template is ASSURED or NONE.
	State string

	// Expires is what is left of the entry's life, in whole seconds, if no
	// packet comes.
	Expires time.Duration
}

// Template reports whether the entry is no connection but the memory of a
// persistent service: which real server a client, or a network of clients, is sent
// to. It has port 0 for the client's.
func (c Connection) Template() bool {
	return c.State == "ASSURED" || c.State == "NONE" && c.Client.Port() == 0
}

// connectionsFile is the table of the calling thread's network namespace.
const connectionsFile = "/proc/thread-self/net/ip_vs_conn"

// ReadConnections returns the table of connections of the calling thread's network
// namespace. It is not a snapshot: of what comes and goes meanwhile something may
// be missing or be there twice. The time it takes grows with the square of the
// number of connections; when ctx is done, what was read so far is returned with
// the error of ctx. A kernel without IPVS gives an error that is fs.ErrNotExist.
func ReadConnections(ctx context.Context) ([]Connection, error) {
	f, err := os.Open(connectionsFile)
	if err != nil {
		return nil, fmt.Errorf("reading the IPVS connections: %w", err)
	}
	defer f.Close()
	connections, err := ParseConnections(contextReader{ctx, f})
	if err != nil {
		return connections, fmt.Errorf("reading the IPVS connections: %w", err)
	}
	return connections, nil
}

// contextReader ends with the error of a context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// ParseConnections reads the text of /proc/net/ip_vs_conn. Entries that are neither
// TCP nor UDP are left out. After an error it returns what was read before with an
// error that names the line.
func ParseConnections(r io.Reader) ([]Connection, error) {
	var connections []Connection
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if n == 1 {
			if !strings.HasPrefix(lines.Text(), "Pro FromIP") {
				return nil, fmt.Errorf("line 1: %q is not the title of a table of connections", lines.Text())
			}
			continue
		}
		c, err := parseConnection(lines.Text())
		if err != nil {
			return connections, fmt.Errorf("line %d: %w", n, err)
		}
		if c.Protocol == TCP || c.Protocol == UDP {
			connections = append(connections, c)
		}
	}
	return connections, lines.Err()
}

// parseConnection reads one line (ip_vs_conn_seq_show in
// net/netfilter/ipvs/ip_vs_conn.c):
//
//	TCP C0A81411 8A32 C0A83264 0050 C0A83216 0050 ESTABLISHED     871
//
// Addresses and ports are hexadecimal, an IPv6 address is written in full and
// takes the place of the eight digits. The name and data of a persistence engine
// may follow.
func parseConnection(line string) (Connection, error) {
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return Connection{}, fmt.Errorf("%d fields, want at least 9", len(fields))
	}
	var c Connection
	switch fields[0] {
	case "TCP":
		c.Protocol = TCP
	case "UDP":
		c.Protocol = UDP
	}
	var errs [4]error
	c.Client, errs[0] = parseHexAddrPort(fields[1], fields[2])
	c.Virtual, errs[1] = parseHexAddrPort(fields[3], fields[4])
	c.Destination, errs[2] = parseHexAddrPort(fields[5], fields[6])
	c.State = fields[7]
	seconds, err := strconv.ParseUint(fields[8], 10, 32)
	if err != nil {
		errs[3] = fmt.Errorf("expires: %w", err)
	}
	c.Expires = time.Duration(seconds) * time.Second
	return c, errors.Join(errs[:]...)
}

// parseHexAddrPort reads an address as eight hexadecimal digits or in the notation
// of IPv6, and a port as hexadecimal number.
func parseHexAddrPort(address, port string) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	if strings.Contains(address, ":") {
		a, err := netip.ParseAddr(address)
		if err != nil || a.Zone() != "" {
			return netip.AddrPort{}, fmt.Errorf("address %q: is none of IPv6", address)
		}
		return netip.AddrPortFrom(a, uint16(p)), nil
	}
	a, err := strconv.ParseUint(address, 16, 32)
	if err != nil || len(address) != 8 {
		return netip.AddrPort{}, fmt.Errorf("address %q: is not eight hexadecimal digits", address)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), uint16(p)), nil
}

// RenewTemplates gives the templates among the connections the whole time of
// their services' persistence. A kernel that learns of a template takes the time
// it is told for all of its life, so without this a peer would forget where a
// client belongs as soon as it would have been forgotten without any new connection.
func RenewTemplates(connections []Connection, t Table) {
	persistence := make(map[Key]time.Duration)
	for _, s := range t {
		persistence[s.Key] = s.Persistence
	}
	for i := range connections {
		c := &connections[i]
		k := Key{Address: c.Virtual.Addr(), Port: c.Virtual.Port(), Protocol: c.Protocol}
		if c.Template() && persistence[k] > c.Expires {
			c.Expires = persistence[k]
		}
	}
}
