package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd
	protocolVRRP  = 112
	protocolICMP6 = 58
)

// A Capture records what the switch of a segment receives of the protocols that move addresses: ARP, ICMPv6 and VRRP.
type Capture struct {
	segment *Segment
	fd      int
	done    chan struct{}
	reader  sync.WaitGroup
	stop    sync.Once

	mu     sync.Mutex
	frames []Frame
}

// A Frame is an Ethernet frame that came into the switch.
type Frame struct {
	Time                time.Time // by the kernel
	Cable               *Cable    // through which it came
	Source, Destination net.HardwareAddr
	EtherType           uint16
	Payload             []byte
}

// Capture starts to record. It sees each frame once, where it comes in, so it knows who sent it whatever the frame
// itself says.
func (s *Segment) Capture() *Capture {
	s.lab.Helper()
	c := &Capture{segment: s, done: make(chan struct{})}
	var err error
	s.Do(func() { c.fd, err = openCapture() })
	if err != nil {
		s.lab.Fatalf("segment %s: capturing: %v", s.Name, err)
	}
	c.reader.Go(c.read)
	s.lab.Cleanup(c.Stop)
	return c
}

// openCapture opens a packet socket on all interfaces of the thread's namespace.
func openCapture() (int, error) {
	// With protocol 0 nothing is received before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeARP, SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv6, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherTypeIPv4, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 14 + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 3, SkipFalse: 4},
		bpf.LoadAbsolute{Off: 14 + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMP6, SkipTrue: 1},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})}),
	)
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (c *Capture) read() {
	b, control := make([]byte, 65536), make([]byte, 256)
	for {
		select {
		case <-c.done:
			return
		default:
		}
		n, m, _, from, err := unix.Recvmsg(c.fd, b, control, 0)
		link, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok || n < 14 {
			continue
		}
		c.mu.Lock()
		for _, cable := range c.segment.cablesAt(link.Ifindex) {
			payload := slices.Clone(b[:n])
			c.frames = append(c.frames, Frame{
				Time: timestamp(control[:m]), Cable: cable,
				Destination: payload[0:6], Source: payload[6:12],
				EtherType: binary.BigEndian.Uint16(payload[12:]), Payload: payload[14:],
			})
		}
		c.mu.Unlock()
	}
}

// cablesAt returns the cable at a port of the switch: none for the bridge, which passes each frame a second time.
func (s *Segment) cablesAt(index int) []*Cable {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.ports {
		if c.port.Attrs().Index == index {
			return s.ports[i : i+1]
		}
	}
	return nil
}

// timestamp returns the kernel's time of a message.
func timestamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

// Stop ends the capture.
func (c *Capture) Stop() {
	c.stop.Do(func() {
		close(c.done)
		c.reader.Wait()
		unix.Close(c.fd)
	})
}

// Frames returns what was recorded so far, in the order of arrival.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// ARP is an ARP packet (RFC 826).
type ARP struct {
	Frame
	Operation  uint16 // 1 request, 2 reply
	SenderMAC  net.HardwareAddr
	SenderAddr netip.Addr
	TargetMAC  net.HardwareAddr
	TargetAddr netip.Addr
}

// Gratuitous reports whether the packet announces an address that nobody asked for: its sender is its target
// (RFC 5227, section 3).
func (a ARP) Gratuitous() bool { return a.SenderAddr == a.TargetAddr }

// ARP returns the ARP packets that were recorded so far.
func (c *Capture) ARP() []ARP {
	var all []ARP
	for _, f := range c.Frames() {
		p := f.Payload
		if f.EtherType != etherTypeARP || len(p) < 28 || p[4] != 6 || p[5] != 4 {
			continue
		}
		all = append(all, ARP{
			Frame: f, Operation: binary.BigEndian.Uint16(p[6:]),
			SenderMAC: p[8:14], SenderAddr: netip.AddrFrom4([4]byte(p[14:18])),
			TargetMAC: p[18:24], TargetAddr: netip.AddrFrom4([4]byte(p[24:28])),
		})
	}
	return all
}

// Gratuitous returns the gratuitous ARP packets for an address that were recorded so far.
func (c *Capture) Gratuitous(address netip.Addr) []ARP {
	return slices.DeleteFunc(c.ARP(), func(a ARP) bool { return !a.Gratuitous() || a.SenderAddr != address })
}

// VRRP is a VRRP advertisement of version 2 or 3, over IPv4 or IPv6 (RFC 9568, section 5.2), as it was on the wire.
type VRRP struct {
	Frame
	From, To  netip.Addr
	TTL       uint8
	Version   uint8
	VRID      uint8
	Priority  uint8
	Interval  time.Duration
	Addresses []netip.Addr
}

// VRRP returns the advertisements that were recorded so far.
func (c *Capture) VRRP() []VRRP {
	var all []VRRP
	for _, f := range c.Frames() {
		p, v := f.Payload, VRRP{Frame: f}
		size := 4
		switch {
		case f.EtherType == etherTypeIPv4 && len(p) >= 20 && p[9] == protocolVRRP:
			total, header := int(binary.BigEndian.Uint16(p[2:])), int(p[0]&15)*4
			v.TTL, v.From, v.To = p[8], netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
			if total > len(p) || header > total {
				continue
			}
			p = p[header:total]
		case f.EtherType == etherTypeIPv6 && len(p) >= 40 && p[6] == protocolVRRP:
			v.TTL, v.From, v.To = p[7], netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
			p, size = p[40:], 16
		default:
			continue
		}
		if len(p) < 8 || len(p) < 8+size*int(p[3]) {
			continue
		}
		v.Version, v.VRID, v.Priority = p[0]>>4, p[1], p[2]
		v.Interval = time.Duration(binary.BigEndian.Uint16(p[4:])&0xfff) * 10 * time.Millisecond
		if v.Version == 2 {
			v.Interval = time.Duration(p[5]) * time.Second
		}
		for i := range int(p[3]) {
			address, _ := netip.AddrFromSlice(p[8+size*i:][:size])
			v.Addresses = append(v.Addresses, address)
		}
		all = append(all, v)
	}
	return all
}
