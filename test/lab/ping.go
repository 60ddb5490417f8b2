package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pingGrace is how long after the last probe answers are waited for.
const pingGrace = 500 * time.Millisecond

// Pings are ICMP echo requests at a steady rate: the finest look at how long an address does not answer.
type Pings struct {
	conn   net.PacketConn
	cancel context.CancelFunc
	sender sync.WaitGroup
	reader sync.WaitGroup
	stop   sync.Once

	mu     sync.Mutex
	probes []probe
}

type probe struct {
	sent     time.Time
	late     time.Duration
	answered bool
}

// A PingReport is what came of pings.
type PingReport struct {
	Sent, Lost int
	Outages    []Outage

	// Late is by how much the latest probe was sent later than it was due: no outage is known more exactly.
	Late time.Duration
}

// Pings starts sending echo requests from the host to an address.
func (h *Host) Pings(address string, perSecond float64) *Pings {
	h.lab.Helper()
	to, err := netip.ParseAddr(address)
	if err != nil {
		h.lab.Fatalf("host %s: pinging: %v", h.Name, err)
	}
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	p := &Pings{}
	h.Do(func() { p.conn, err = net.ListenPacket(network, "") })
	if err != nil {
		h.lab.Fatalf("host %s: pinging: %v", h.Name, err)
	}
	// A burst of answers must not be lost here because this process was not running.
	if raw, err := p.conn.(*net.IPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	id := uint16(time.Now().UnixNano())
	p.reader.Go(func() { p.read(reply, id) })
	p.sender.Go(func() {
		target := &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
		pace(ctx, perSecond, func(due time.Time) { p.send(request, id, target, due) })
	})
	h.lab.Cleanup(func() { p.Stop() })
	return p
}

// send sends one probe. One that cannot be sent is lost like any other.
func (p *Pings) send(kind byte, id uint16, to net.Addr, due time.Time) {
	now := time.Now()
	p.mu.Lock()
	n := uint64(len(p.probes))
	p.probes = append(p.probes, probe{sent: now, late: now.Sub(due)})
	p.mu.Unlock()
	b := make([]byte, 16)
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	binary.BigEndian.PutUint64(b[8:], n)
	binary.BigEndian.PutUint16(b[2:], checksum(b)) // of ICMPv6 the kernel makes its own
	_, _ = p.conn.WriteTo(b, to)
}

// checksum returns the Internet checksum of an even number of bytes (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (p *Pings) read(kind byte, id uint16) {
	b := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier probe's fate, which the socket tells of
		}
		if n < 16 || b[0] != kind || binary.BigEndian.Uint16(b[4:]) != id {
			continue
		}
		p.mu.Lock()
		if i := binary.BigEndian.Uint64(b[8:]); i < uint64(len(p.probes)) {
			p.probes[i].answered = true
		}
		p.mu.Unlock()
	}
}

// Report returns what came of the probes so far, those of the last half second left out.
func (p *Pings) Report() PingReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	settled := len(p.probes)
	for settled > 0 && time.Since(p.probes[settled-1].sent) < pingGrace {
		settled--
	}
	r := PingReport{Sent: settled}
	for _, x := range p.probes[:settled] {
		r.Late = max(r.Late, x.late)
		if !x.answered {
			r.Lost++
		}
	}
	r.Outages = outages(settled, func(i int) (time.Time, bool) { return p.probes[i].sent, p.probes[i].answered })
	return r
}

// Stop sends no more probes, waits half a second for answers, and returns the report.
func (p *Pings) Stop() PingReport {
	p.stop.Do(func() {
		p.cancel()
		p.sender.Wait()
		time.Sleep(pingGrace)
		p.conn.Close()
		p.reader.Wait()
	})
	return p.Report()
}
