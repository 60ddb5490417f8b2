// Package vrrptest is an Ethernet segment in memory, for tests of VRRP routers. It works in synctest bubbles, where
// every delay is exact.
package vrrptest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lvsd/vrrp"
)

// queueLength is how many packets a Conn holds before it loses them, as a socket does.
const queueLength = 4096

// Sent is a packet as it was put on the segment.
type Sent struct {
	Time   time.Time
	Packet vrrp.Packet
}

// Segment carries what one of its Conns sends to all others. The zero Segment is not usable; NewSegment makes one
// that loses nothing. Methods may be called from any goroutine.
type Segment struct {
	mu        sync.Mutex // guards everything that follows, and the Conns
	conns     []*Conn
	sides     map[netip.Addr]int // of a partition; the others are on side 0
	delay     time.Duration
	loss      float64
	duplicate float64
	random    *rand.Rand
	sent      []Sent
}

// NewSegment returns an empty segment. Loss and duplication are drawn from seed, so that a run can be repeated.
func NewSegment(seed uint64) *Segment {
	return &Segment{random: rand.New(rand.NewPCG(seed, 0))}
}

// SetDelay has every packet arrive d later; 0 delivers before Send returns.
func (s *Segment) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// SetLoss has each receiver lose a packet with probability p, 0 to 1.
func (s *Segment) SetLoss(p float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loss = p
}

// SetDuplicate has each receiver get a packet twice with probability p, 0 to 1.
func (s *Segment) SetDuplicate(p float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.duplicate = p
}

// Partition cuts the segment in two: the given addresses hear only each other, and so do all others. It replaces
// an earlier partition; without addresses the segment is whole again.
func (s *Segment) Partition(addresses ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sides = make(map[netip.Addr]int)
	for _, a := range addresses {
		s.sides[a] = 1
	}
}

// Sent returns all packets that Conns have put on the segment, in their order; injected ones are not among them.
func (s *Segment) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// Inject delivers a packet of any shape to every Conn, whatever it claims as its source, and without loss.
func (s *Segment) Inject(p vrrp.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		s.carry(c, p)
	}
}

// Listen connects a host with this address.
func (s *Segment) Listen(source netip.Addr) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Conn{segment: s, source: source, queue: make(chan vrrp.Packet, queueLength), closed: make(chan struct{})}
	s.conns = append(s.conns, c)
	return c
}

// Open returns a function for vrrp.NewLink that connects a host with this address each time it is called.
func (s *Segment) Open(source netip.Addr) func() (vrrp.Conn, error) {
	return func() (vrrp.Conn, error) { return s.Listen(source), nil }
}

// carry brings a packet to one Conn after the delay. The caller holds mu.
func (s *Segment) carry(c *Conn, p vrrp.Packet) {
	p.Payload = slices.Clone(p.Payload)
	if s.delay == 0 {
		c.deliver(p)
		return
	}
	time.AfterFunc(s.delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.deliver(p)
	})
}

// Conn is the connection of one host to a Segment. It implements vrrp.Conn.
type Conn struct {
	segment *Segment
	source  netip.Addr
	queue   chan vrrp.Packet
	closed  chan struct{}

	// Guarded by the mutex of the segment.
	gone    bool
	waiting int // packets in queue, and the one that Receive returned last
	working bool
	failure error
}

var _ vrrp.Conn = (*Conn)(nil)

// deliver puts a packet into the queue. The caller holds the mutex of the segment.
func (c *Conn) deliver(p vrrp.Packet) {
	if c.gone {
		return
	}
	select {
	case c.queue <- p:
		c.waiting++
	default:
	}
}

// Receive waits for the next packet.
func (c *Conn) Receive() (vrrp.Packet, error) {
	c.segment.mu.Lock()
	if c.working {
		c.working = false
		c.waiting--
	}
	c.segment.mu.Unlock()
	select {
	case <-c.closed:
		return vrrp.Packet{}, net.ErrClosed
	default:
	}
	select {
	case <-c.closed:
		return vrrp.Packet{}, net.ErrClosed
	case p := <-c.queue:
		c.segment.mu.Lock()
		defer c.segment.mu.Unlock()
		c.working = true
		return p, nil
	}
}

// Pending says whether a packet waits or is being worked on.
func (c *Conn) Pending() bool {
	c.segment.mu.Lock()
	defer c.segment.mu.Unlock()
	return c.waiting > 0
}

// Fail has every following Send return err; nil lets them through again.
func (c *Conn) Fail(err error) {
	c.segment.mu.Lock()
	defer c.segment.mu.Unlock()
	c.failure = err
}

// Send puts a packet on the segment; unicast arrives at the host with that address alone.
func (c *Conn) Send(source, destination netip.Addr, payload []byte) error {
	s := c.segment
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone {
		return net.ErrClosed
	}
	if c.failure != nil {
		return c.failure
	}
	if !destination.IsValid() {
		return fmt.Errorf("sending to %s", destination)
	}
	p := vrrp.Packet{Source: source, Destination: destination, TTL: 255, Payload: slices.Clone(payload)}
	s.sent = append(s.sent, Sent{Time: time.Now(), Packet: p})
	for _, other := range s.conns {
		if other == c || !destination.IsMulticast() && destination != other.source {
			continue
		}
		if s.sides[other.source] != s.sides[c.source] || s.random.Float64() < s.loss {
			continue
		}
		s.carry(other, p)
		if s.random.Float64() < s.duplicate {
			s.carry(other, p)
		}
	}
	return nil
}

// Source returns the address of the host.
func (c *Conn) Source() netip.Addr { return c.source }

// Close disconnects the host and ends a waiting Receive.
func (c *Conn) Close() error {
	s := c.segment
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone {
		return net.ErrClosed
	}
	c.gone = true
	close(c.closed)
	s.conns = slices.DeleteFunc(s.conns, func(o *Conn) bool { return o == c })
	return nil
}
