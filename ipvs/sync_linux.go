package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// SyncRole is one of the two halves of connection synchronisation in the kernel.
// The words are the kernel's and have nothing to do with VRRP's states: a director
// runs both at once, whatever it is, so that no failover has to change anything.
type SyncRole uint8

// The roles; their values are the kernel's (IP_VS_STATE_* in linux/ip_vs.h).
const (
	SyncMaster SyncRole = 1 // tells others of the connections that are served here
	SyncBackup SyncRole = 2 // learns of the connections that are served elsewhere
)

// String returns "master" or "backup".
func (r SyncRole) String() string {
	switch r {
	case SyncMaster:
		return "master"
	case SyncBackup:
		return "backup"
	default:
		return fmt.Sprintf("role %d", uint8(r))
	}
}

// A SyncDaemon is a thread of the kernel that synchronises connections.
type SyncDaemon struct {
	Role SyncRole

	// Interface is where messages are sent and received, by multicast.
	Interface string

	// ID tells the groups of directors on one network apart. A backup with ID 0
	// listens to all of them.
	ID uint8

	// MaxLength is the largest message in bytes, without the headers of IP and
	// UDP. 0 lets the kernel choose: 1472 for a master, what fits the MTU for a
	// backup, and 1472 at least.
	MaxLength uint16

	// Group and Port are where the messages go. They are read from the kernel;
	// Start always uses 224.0.0.81 and 8848.
	Group netip.Addr
	Port  uint16
}

// String returns, for example, "backup on eth1 with id 7".
func (d SyncDaemon) String() string {
	return fmt.Sprintf("%s on %s with id %d", d.Role, d.Interface, d.ID)
}

// syncAddress is where the kernel's daemons talk (IP_VS_SYNC_GROUP and
// IP_VS_SYNC_PORT in net/netfilter/ipvs/ip_vs_sync.c).
var syncAddress = netip.MustParseAddrPort("224.0.0.81:8848")

// serves reports whether a daemon that runs is what is wanted.
func (d SyncDaemon) serves(want SyncDaemon) bool {
	return d.Role == want.Role && d.Interface == want.Interface && d.ID == want.ID &&
		(want.MaxLength == 0 || d.MaxLength == want.MaxLength) &&
		netip.AddrPortFrom(d.Group, d.Port) == syncAddress
}

// Commands and attributes of the generic netlink family IPVS (linux/ip_vs.h).
const (
	commandNewDaemon = 9
	commandDelDaemon = 10
	commandGetDaemon = 11

	attributeDaemon = 3 // of a command

	daemonState     = 1 // of a daemon, all in the machine's byte order but the group
	daemonInterface = 2
	daemonID        = 3
	daemonMaxLength = 4
	daemonGroup     = 5
	daemonGroup6    = 6
	daemonPort      = 7
)

// Sync controls the kernel's synchronisation of connections in the network
// namespace in which OpenSync was called. Its methods may be called by several
// goroutines.
type Sync struct {
	conn   *genetlink.Conn
	family genetlink.Family
}

// OpenSync connects to the kernel. It returns ErrNoIPVS for a kernel without IPVS,
// like Open.
func OpenSync() (*Sync, error) {
	if err := findFamily(); err != nil {
		return nil, err
	}
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("opening generic netlink for connection synchronisation: %w", err)
	}
	family, err := conn.GetFamily("IPVS")
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening connection synchronisation: %w", err)
	}
	return &Sync{conn: conn, family: family}, nil
}

// Close closes the connection to the kernel. The daemons go on.
func (s *Sync) Close() error { return s.conn.Close() }

// Daemons returns what runs: none, one, or one of each role.
func (s *Sync) Daemons() ([]SyncDaemon, error) {
	messages, err := s.conn.Execute(
		genetlink.Message{Header: genetlink.Header{Command: commandGetDaemon, Version: 1}},
		s.family.ID, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("listing the IPVS sync daemons: %w", err)
	}
	var daemons []SyncDaemon
	for _, m := range messages {
		d, err := parseDaemon(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing the IPVS sync daemons: %w", err)
		}
		daemons = append(daemons, d)
	}
	return daemons, nil
}

func parseDaemon(b []byte) (SyncDaemon, error) {
	outer, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return SyncDaemon{}, err
	}
	var d SyncDaemon
	for outer.Next() {
		if outer.Type() != attributeDaemon {
			continue
		}
		outer.Nested(func(a *netlink.AttributeDecoder) error {
			for a.Next() {
				switch a.Type() {
				case daemonState:
					d.Role = SyncRole(a.Uint32())
				case daemonInterface:
					d.Interface = a.String()
				case daemonID:
					d.ID = uint8(a.Uint32())
				case daemonMaxLength:
					d.MaxLength = a.Uint16()
				case daemonGroup, daemonGroup6:
					d.Group, _ = netip.AddrFromSlice(a.Bytes())
				case daemonPort:
					d.Port = a.Uint16()
				}
			}
			return nil
		})
	}
	return d, outer.Err()
}

// Start starts a daemon. The interface should have an IPv4 address. It returns an
// error that is EEXIST if one of that role runs, or ENODEV if there is no such
// interface.
func (s *Sync) Start(d SyncDaemon) error {
	err := s.command(commandNewDaemon, func(a *netlink.AttributeEncoder) error {
		a.Uint32(daemonState, uint32(d.Role))
		a.String(daemonInterface, d.Interface)
		a.Uint32(daemonID, uint32(d.ID))
		if d.MaxLength != 0 {
			a.Uint16(daemonMaxLength, d.MaxLength)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("starting the IPVS sync daemon %s: %w", d, explain(err))
	}
	return nil
}

// Stop stops the daemon of a role. Connections learned stay. It returns an error
// that is ESRCH if none runs.
func (s *Sync) Stop(r SyncRole) error {
	err := s.command(commandDelDaemon, func(a *netlink.AttributeEncoder) error {
		a.Uint32(daemonState, uint32(r))
		return nil
	})
	if err != nil {
		return fmt.Errorf("stopping the IPVS sync daemon %s: %w", r, explain(err))
	}
	return nil
}

func (s *Sync) command(command uint8, attributes func(*netlink.AttributeEncoder) error) error {
	e := netlink.NewAttributeEncoder()
	e.Nested(attributeDaemon, attributes)
	data, err := e.Encode()
	if err != nil {
		return err
	}
	_, err = s.conn.Execute(
		genetlink.Message{Header: genetlink.Header{Command: command, Version: 1}, Data: data},
		s.family.ID, netlink.Request|netlink.Acknowledge)
	return err
}

// Ensure makes the kernel run exactly the wanted daemons, at most one of each role:
// one that runs as wanted is left alone, one that runs otherwise is replaced, and a
// role that is not wanted is stopped. It goes on after an error and returns all of
// them joined.
//
// A daemon goes on with an interface that has vanished and come back without
// noticing that it hears nothing any more; the kernel does not show this. Stop it
// first in that case.
func (s *Sync) Ensure(want ...SyncDaemon) error {
	running, err := s.Daemons()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range []SyncRole{SyncMaster, SyncBackup} {
		errs = append(errs, s.ensureRole(find(want, r), find(running, r)))
	}
	return errors.Join(errs...)
}

func (s *Sync) ensureRole(want, running *SyncDaemon) error {
	if want != nil && running != nil && running.serves(*want) {
		return nil
	}
	if running != nil {
		if err := s.Stop(running.Role); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if want == nil {
		return nil
	}
	return s.Start(*want)
}

func find(daemons []SyncDaemon, r SyncRole) *SyncDaemon {
	for i := range daemons {
		if daemons[i].Role == r {
			return &daemons[i]
		}
	}
	return nil
}

// sysctlFolder has the settings of IPVS of the calling thread's network namespace.
const sysctlFolder = "/proc/sys/net/ipv4/vs"

// SetSysctl sets one of the kernel's settings of IPVS, for example "sync_threshold"
// to "1 50", in the calling thread's network namespace. It returns what was set
// before, for who wants to set it back; a setting that is as wanted is not written.
func SetSysctl(name, value string) (previous string, err error) {
	if name != filepath.Base(name) || name == ".." {
		return "", fmt.Errorf("setting net.ipv4.vs.%s: no such setting", name)
	}
	path := filepath.Join(sysctlFolder, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("setting net.ipv4.vs.%s: %w", name, err)
	}
	previous = strings.Join(strings.Fields(string(b)), " ")
	if previous == strings.Join(strings.Fields(value), " ") {
		return previous, nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return previous, fmt.Errorf("setting net.ipv4.vs.%s to %s: %w", name, value, err)
	}
	return previous, nil
}

const (
	udpHeaders = 28 // of IPv4 and UDP, in bytes

	// The receiving kernel's buffer holds about a hundred messages.
	syncBurst = 32
	syncPause = time.Millisecond
)

// SendConnections tells all directors whose backup daemon has this sync id, or 0,
// and listens on the network of this interface, of the connections: they take them
// up as if the kernel's own master daemon had sent them, but at once, and also
// those that the kernel would not send yet or ever, such as handshakes that are
// under way. The machine itself does not hear it.
//
// What a receiver knows already is set to what is sent, so connections to services
// that are served elsewhere must not be among them. Connections whose client and
// real server are of different address families cannot be sent and are left out.
//
// It is a datagram protocol: nobody confirms. About 28 IPv4 connections go into a
// message, and 32 messages in a millisecond; when ctx is done, the error of ctx is
// returned and the rest is not sent. Another error means that nothing more could be
// sent on the interface.
func SendConnections(ctx context.Context, ifname string, id uint8, connections []Connection) error {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return fmt.Errorf("sending connections on %s: %w", ifname, err)
	}
	conn, err := dialSync(ctx, ifi)
	if err != nil {
		return fmt.Errorf("sending connections on %s: %w", ifname, err)
	}
	defer conn.Close()

	limit := min(maxSyncLength, ifi.MTU-udpHeaders)
	if limit < syncHeaderSize+syncSizeIPv6 {
		return fmt.Errorf("sending connections on %s: an MTU of %d is too small", ifname, ifi.MTU)
	}
	for i, m := range syncMessages(id, connections, limit) {
		if i > 0 && i%syncBurst == 0 {
			time.Sleep(syncPause)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("sending connections on %s: %w", ifname, err)
		}
		if err := sendMessage(conn, m); err != nil {
			return fmt.Errorf("sending connections on %s: %w", ifname, err)
		}
	}
	return nil
}

// sendMessage sends, and tries again while the interface's queue is full, for about
// 20 ms.
func sendMessage(conn net.PacketConn, m []byte) error {
	for try := 0; ; try++ {
		_, err := conn.WriteTo(m, net.UDPAddrFromAddrPort(syncAddress))
		if !errors.Is(err, syscall.ENOBUFS) || try == 20 {
			return err
		}
		time.Sleep(syncPause)
	}
}

// dialSync opens a socket that sends multicast on the interface to its network alone,
// and not to the machine itself.
func dialSync(ctx context.Context, ifi *net.Interface) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var setup error
		err := c.Control(func(fd uintptr) {
			setup = errors.Join(
				unix.BindToDevice(int(fd), ifi.Name),
				unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)}),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 1),
			)
		})
		return errors.Join(err, setup)
	}}
	return config.ListenPacket(ctx, "udp4", "0.0.0.0:0")
}
