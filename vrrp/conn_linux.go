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

// rawConn is a raw socket of protocol 112 on one interface, a member of the VRRP group.
type rawConn struct {
	file   *net.IPConn
	raw    syscall.RawConn
	family Family
	source netip.Addr

	// Of Receive.
	buffer  []byte
	control []byte

	mu      sync.Mutex
	working bool // Receive has returned a packet and was not called again
}

// Listen opens the socket of an interface and a family in the network namespace of the calling thread. Multicast
// advertisements come from its primary IPv4 address, or from its link-local IPv6 address. The addresses in virtual
// never serve as source, wherever they are in the kernel's list; of the others a primary one is preferred to a secondary
// one, and a longer network to a /32 or /128, which is how virtual addresses are often put on. The error wraps
// ErrNoAddress if none is left. It needs CAP_NET_RAW.
func Listen(ifname string, family Family, virtual ...netip.Addr) (Conn, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP on %s: %w", ifname, err)
	}
	source, err := primaryAddress(ifi.Index, family, virtual)
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP over %s on %s: %w", family, ifname, err)
	}
	options, network, any := options4, "ip4", "0.0.0.0"
	if family == IPv6 {
		options, network, any = options6, "ip6", "::"
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = options(int(fd), ifi) }); e != nil {
			return e
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), fmt.Sprintf("%s:%d", network, protocol), any)
	if err != nil {
		return nil, fmt.Errorf("listening for VRRP over %s on %s: %w", family, ifname, err)
	}
	file := pc.(*net.IPConn)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listening for VRRP over %s on %s: %w", family, ifname, err)
	}
	return &rawConn{
		file: file, raw: raw, family: family, source: source,
		buffer: make([]byte, 65536), control: make([]byte, 256),
	}, nil
}

// option is a socket option and how setting it went.
type option struct {
	name string
	err  error
}

// firstError returns the error of the first option that could not be set.
func firstError(options ...option) error {
	for _, o := range options {
		if o.err != nil {
			return fmt.Errorf("setting %s: %w", o.name, o.err)
		}
	}
	return nil
}

func options4(fd int, ifi *net.Interface) error {
	group := &unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(ifi.Index)}
	return firstError(
		// Sends and receives on this interface alone, whatever the routes say.
		option{"SO_BINDTODEVICE", unix.BindToDevice(fd, ifi.Name)},
		// We write the IP header: only so can a last priority 0 leave from an address that was just deleted.
		option{"IP_HDRINCL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1)},
		// Not what other sockets of this machine have joined.
		option{"IP_MULTICAST_ALL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)},
		option{"IP_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)},
		option{"IP_ADD_MEMBERSHIP", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group)},
		option{"SO_PRIORITY", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, socketPriority)},
	)
}

// Not in package unix: linux/in6.h.
const ipv6MulticastAll = 29

func options6(fd int, ifi *net.Interface) error {
	group := &unix.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(ifi.Index)}
	return firstError(
		option{"SO_BINDTODEVICE", unix.BindToDevice(fd, ifi.Name)},
		option{"IPV6_HDRINCL", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1)},
		option{"IPV6_MULTICAST_ALL", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, ipv6MulticastAll, 0)},
		option{"IPV6_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)},
		option{"IPV6_MULTICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, ifi.Index)},
		option{"IPV6_JOIN_GROUP", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group)},
		// What IPv4 finds in the header.
		option{"IPV6_RECVPKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)},
		option{"IPV6_RECVHOPLIMIT", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)},
		option{"SO_PRIORITY", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, socketPriority)},
	)
}

// socketPriority is ahead of other traffic in the queue of the interface; 6 is the highest that needs no privilege.
const socketPriority = 6

func (c *rawConn) Source() netip.Addr { return c.source }

func (c *rawConn) Close() error { return c.file.Close() }

// Receive waits for the next packet. What is no whole IP packet is passed over.
func (c *rawConn) Receive() (Packet, error) {
	for {
		n, control, from, err := c.read()
		if err != nil {
			return Packet{}, err
		}
		if c.family == IPv6 {
			p, err := packet6(c.buffer[:n], c.control[:control], from)
			if err == nil {
				return p, nil
			}
			continue
		}
		if p, err := parseIPv4(c.buffer[:n]); err == nil {
			return p, nil
		}
	}
}

// packet6 puts together what the kernel tells of an IPv6 packet: raw sockets deliver it without its header.
func packet6(payload, control []byte, from unix.Sockaddr) (Packet, error) {
	p := Packet{TTL: -1, Payload: payload}
	source, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return p, fmt.Errorf("sender %T", from)
	}
	p.Source = netip.AddrFrom16(source.Addr)
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return p, err
	}
	for _, m := range messages {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			p.TTL = int(int32(binary.NativeEndian.Uint32(m.Data)))
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			p.Destination = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	if !p.Destination.IsValid() {
		return p, errors.New("no destination")
	}
	return p, nil
}

// read waits until the socket has a packet and takes it, in one step for Pending.
func (c *rawConn) read() (n, control int, from unix.Sockaddr, err error) {
	c.mu.Lock()
	c.working = false
	c.mu.Unlock()
	e := c.raw.Read(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for {
			n, control, _, from, err = unix.Recvmsg(int(fd), c.buffer, c.control, unix.MSG_DONTWAIT)
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
		return 0, 0, nil, e
	}
	return n, control, from, err
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
func (c *rawConn) Send(source, destination netip.Addr, payload []byte) error {
	var b []byte
	var to unix.Sockaddr
	if c.family == IPv6 {
		b = header6(source, destination, len(payload))
		to = &unix.SockaddrInet6{Addr: destination.As16()}
	} else {
		b = header4(source, destination, len(payload))
		to = &unix.SockaddrInet4{Addr: destination.As4()}
	}
	b = append(b, payload...)
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

// header4 returns an IPv4 header; the kernel fills in the identification and the checksum.
func header4(source, destination netip.Addr, length int) []byte {
	b := make([]byte, ipv4HeaderBytes, ipv4HeaderBytes+length)
	b[0] = 4<<4 | ipv4HeaderBytes/4
	b[1] = tos
	binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
	b[8] = ttl
	b[9] = protocol
	copy(b[12:], source.AsSlice())
	copy(b[16:], destination.AsSlice())
	return b
}

// header6 returns an IPv6 header.
func header6(source, destination netip.Addr, length int) []byte {
	b := make([]byte, ipv6HeaderBytes, ipv6HeaderBytes+length)
	binary.BigEndian.PutUint32(b, 6<<28|tos<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	b[6] = protocol
	b[7] = ttl
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	return b
}

// primaryAddress asks the kernel for the addresses of an interface, with their flags, which the net package does not
// show.
func primaryAddress(index int, family Family, virtual []netip.Addr) (netip.Addr, error) {
	af := unix.AF_INET
	if family == IPv6 {
		af = unix.AF_INET6
	}
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, af)
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
		length, flags := int(m.Data[1]), m.Data[2]
		if int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("listing addresses: %w", err)
		}
		for _, a := range attributes {
			// IPv6 addresses have no IFA_LOCAL, unless the interface is point-to-point.
			if a.Attr.Type != unix.IFA_LOCAL && (family == IPv4 || a.Attr.Type != unix.IFA_ADDRESS) {
				continue
			}
			address, ok := netip.AddrFromSlice(a.Value)
			if !ok || familyOf(address) != family || family == IPv6 && !ready(address, flags) {
				continue
			}
			candidates = append(candidates, candidate{
				address:   address,
				host:      length == address.BitLen(),
				secondary: flags&unix.IFA_F_SECONDARY != 0,
			})
		}
	}
	return choose(candidates, virtual)
}

// ready says whether an IPv6 address can be the source of an advertisement: RFC 9568, section 5.1.2.1, wants it
// link-local, and the kernel does not send from one whose uniqueness it is still checking, or has refuted.
func ready(address netip.Addr, flags uint8) bool {
	return address.IsLinkLocalUnicast() && flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
}

// candidate is an address that advertisements may come from.
type candidate struct {
	address         netip.Addr
	host, secondary bool // a /32 or /128; IFA_F_SECONDARY
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
