package vrrp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// tos is Internetwork Control, CS6, as keepalived and FRR send it.
const tos = 0xc0

// rawConn is a raw IPv4 socket of protocol 112 on one interface, a member of the VRRP group.
type rawConn struct {
	file   *net.IPConn
	raw    syscall.RawConn
	source netip.Addr
	buffer []byte // of Receive

	mu      sync.Mutex
	working bool // Receive has returned a packet and was not called again
}

// Listen opens the socket of an interface in the network namespace of the calling thread. Advertisements come from
// its primary IPv4 address. The addresses in virtual never serve as source, wherever they are in the kernel's list;
// of the others a primary one is preferred to a secondary one, and a longer network to a /32, which is how virtual
// addresses are often put on. The error wraps ErrNoAddress if none is left. It needs CAP_NET_RAW.
func Listen(ifname string, virtual ...netip.Addr) (Conn, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP on %s: %w", ifname, err)
	}
	source, err := primaryAddress(ifi.Index, virtual)
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP on %s: %w", ifname, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = setOptions(int(fd), ifi) }); e != nil {
			return e
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), fmt.Sprintf("ip4:%d", protocol), "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP on %s: %w", ifname, err)
	}
	file := pc.(*net.IPConn)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listening for VRRP on %s: %w", ifname, err)
	}
	return &rawConn{file: file, raw: raw, source: source, buffer: make([]byte, 65536)}, nil
}

func setOptions(fd int, ifi *net.Interface) error {
	group := &unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(ifi.Index)}
	steps := []struct {
		name string
		err  error
	}{
		// Sends and receives on this interface alone, whatever the routes say.
		{"SO_BINDTODEVICE", unix.BindToDevice(fd, ifi.Name)},
		// We write the IP header: only so can a last priority 0 leave from an address that was just deleted.
		{"IP_HDRINCL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1)},
		// Not what other sockets of this machine have joined.
		{"IP_MULTICAST_ALL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)},
		{"IP_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)},
		{"IP_ADD_MEMBERSHIP", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group)},
		// Ahead of other traffic in the queue of the interface; 6 is the highest that needs no privilege.
		{"SO_PRIORITY", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 6)},
	}
	for _, s := range steps {
		if s.err != nil {
			return fmt.Errorf("setting %s: %w", s.name, s.err)
		}
	}
	return nil
}

func (c *rawConn) Source() netip.Addr { return c.source }

func (c *rawConn) Close() error { return c.file.Close() }

// Receive waits for the next packet. What is no whole IPv4 packet is passed over.
func (c *rawConn) Receive() (Packet, error) {
	for {
		n, err := c.read()
		if err != nil {
			return Packet{}, err
		}
		if p, err := parseIPv4(c.buffer[:n]); err == nil {
			return p, nil
		}
	}
}

// read waits until the socket has a packet and takes it, in one step for Pending.
func (c *rawConn) read() (n int, err error) {
	c.mu.Lock()
	c.working = false
	c.mu.Unlock()
	e := c.raw.Read(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for {
			n, _, err = unix.Recvfrom(int(fd), c.buffer, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		c.working = true
		return true
	})
	if e != nil {
		return 0, e
	}
	return n, err
}

// Pending says whether a packet waits in the socket or is being worked on.
func (c *rawConn) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.working {
		return true
	}
	waiting := false
	err := c.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		waiting = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return err == nil && waiting
}

// Send sends one packet. A full queue is an error and not a reason to wait: by the time there is room the
// advertisement would be an old one.
func (c *rawConn) Send(destination netip.Addr, payload []byte) error {
	b := make([]byte, ipv4HeaderBytes, ipv4HeaderBytes+len(payload))
	b[0] = 4<<4 | ipv4HeaderBytes/4
	b[1] = tos
	binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
	b[8] = ttl
	b[9] = protocol
	copy(b[12:], c.source.AsSlice())
	copy(b[16:], destination.AsSlice())
	b = append(b, payload...)
	to := &unix.SockaddrInet4{Addr: destination.As4()}
	var err error
	e := c.raw.Write(func(fd uintptr) bool {
		for {
			err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, to)
			if !errors.Is(err, unix.EINTR) {
				return true
			}
		}
	})
	if e != nil {
		return e
	}
	return err
}

// primaryAddress asks the kernel for the IPv4 addresses of an interface, with their flags, which the net package
// does not show.
func primaryAddress(index int, virtual []netip.Addr) (netip.Addr, error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses: %w", err)
	}
	var candidates []candidate
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		// struct ifaddrmsg: family, prefix length, flags, scope (a byte each), interface index, host byte order.
		length, flags := m.Data[1], m.Data[2]
		if int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("listing addresses: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.IFA_LOCAL && len(a.Value) == 4 {
				candidates = append(candidates, candidate{
					address:   netip.AddrFrom4([4]byte(a.Value)),
					host:      length == 32,
					secondary: flags&unix.IFA_F_SECONDARY != 0,
				})
			}
		}
	}
	return choose(candidates, virtual)
}

// candidate is an address that advertisements may come from.
type candidate struct {
	address         netip.Addr
	host, secondary bool // a /32; IFA_F_SECONDARY
}

// choose returns the best source, by the rule of Listen.
func choose(candidates []candidate, virtual []netip.Addr) (netip.Addr, error) {
	rank := func(c candidate) int {
		n := 0
		if c.host {
			n += 2
		}
		if c.secondary {
			n++
		}
		return n
	}
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return slices.Contains(virtual, c.address) })
	if len(candidates) == 0 {
		return netip.Addr{}, ErrNoAddress
	}
	return slices.MinFunc(candidates, func(a, b candidate) int { return rank(a) - rank(b) }).address, nil
}
