package viptest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"lvsd/vip"
)

// A Frame is an announcement that went out, decoded.
type Frame struct {
	Time      time.Time
	Interface string
	Index     int    // of the interface when the connection was opened
	Kind      string // "request", "reply" (ARP) or "advertisement" (IPv6)
	Address   netip.Addr
	Source    string // hardware address that the address is said to have
	Raw       []byte // the whole frame
}

// String prints the interface, kind, address and hardware address.
func (f Frame) String() string {
	return fmt.Sprintf("%s %s %s is-at %s", f.Interface, f.Kind, f.Address, f.Source)
}

// A Wire collects the frames that are sent on the connections it dialled. Its
// Dial is for vip.AnnouncerOptions.
type Wire struct {
	mu     sync.Mutex
	frames []Frame
	open   int
	dialed int
	fault  func(interfaceName string) error
}

// Dial returns a connection on link that puts what is sent on the Wire.
func (w *Wire) Dial(link vip.Link) (net.PacketConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	w.dialed++
	return &conn{wire: w, link: link}, nil
}

// Fail makes each sending ask fault first; an error of it is what the sender
// gets. Nil ends it.
func (w *Wire) Fail(fault func(interfaceName string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// Frames returns what was sent since Frames was called last.
func (w *Wire) Frames() []Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := w.frames
	w.frames = nil
	return frames
}

// Conns returns how many connections are open, and how many ever were.
func (w *Wire) Conns() (open, dialed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open, w.dialed
}

// conn is a net.PacketConn that only sends.
type conn struct {
	wire   *Wire
	link   vip.Link
	closed bool
}

// WriteTo decodes a frame; one that makes no sense is a bug and panics.
func (c *conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.wire.fault != nil {
		if err := c.wire.fault(c.link.Name); err != nil {
			return 0, err
		}
	}
	f, err := decode(b)
	if err != nil {
		panic(fmt.Sprintf("viptest: frame % x: %v", b, err))
	}
	if to := net.HardwareAddr(b[:6]).String(); addr.String() != to {
		panic(fmt.Sprintf("viptest: frame to %s sent to %s", to, addr))
	}
	f.Time, f.Interface, f.Index = time.Now(), c.link.Name, c.link.Index
	c.wire.frames = append(c.wire.frames, f)
	return len(b), nil
}

func decode(b []byte) (Frame, error) {
	var e ethernet.Frame
	if err := e.UnmarshalBinary(b); err != nil {
		return Frame{}, err
	}
	f := Frame{Raw: append([]byte{}, b...)}
	switch e.EtherType {
	case ethernet.EtherTypeARP:
		var p arp.Packet
		if err := p.UnmarshalBinary(e.Payload); err != nil {
			return Frame{}, err
		}
		f.Kind = "reply"
		if p.Operation == arp.OperationRequest {
			f.Kind = "request"
		}
		f.Address, f.Source = p.SenderIP, p.SenderHardwareAddr.String()
		if p.SenderIP != p.TargetIP {
			return Frame{}, fmt.Errorf("sender %s is not target %s", p.SenderIP, p.TargetIP)
		}
	case ethernet.EtherTypeIPv6:
		const header, length = 40, 40 + 32
		if len(e.Payload) != length || e.Payload[header] != 136 {
			return Frame{}, fmt.Errorf("not a neighbour advertisement")
		}
		f.Kind = "advertisement"
		f.Address, _ = netip.AddrFromSlice(e.Payload[header+8 : header+24])
		f.Source = net.HardwareAddr(e.Payload[header+26 : header+32]).String()
	default:
		return Frame{}, fmt.Errorf("EtherType %#x", e.EtherType)
	}
	return f, nil
}

// Close closes the connection; closing it twice is an error.
func (c *conn) Close() error {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.wire.open--
	return nil
}

// ReadFrom returns an error: nothing is ever received.
func (c *conn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, os.ErrDeadlineExceeded }

func (c *conn) LocalAddr() net.Addr              { return nil }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
