package vrrp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// opener opens conns on a segment as the test wants it, and writes down each call.
type opener struct {
	diary
	segment *vrrptest.Segment

	mu     sync.Mutex
	source netip.Addr
	err    error
	conns  []*breakable
}

func (o *opener) open() (vrrp.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		o.write("open fails")
		return nil, o.err
	}
	o.write(fmt.Sprintf("open %s", o.source))
	c := &breakable{Conn: o.segment.Listen(o.source), broken: make(chan error, 1), packets: make(chan vrrp.Packet)}
	o.conns = append(o.conns, c)
	return c, nil
}

func (o *opener) set(source netip.Addr, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.source, o.err = source, err
}

// last returns the newest conn.
func (o *opener) last() *breakable {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns[len(o.conns)-1]
}

// breakable is a Conn whose Receive can be made to fail.
type breakable struct {
	*vrrptest.Conn
	broken  chan error
	packets chan vrrp.Packet
	once    sync.Once
}

func (c *breakable) Receive() (vrrp.Packet, error) {
	c.once.Do(func() {
		go func() {
			for {
				p, err := c.Conn.Receive()
				if err != nil {
					close(c.packets)
					return
				}
				c.packets <- p
			}
		}()
	})
	select {
	case err := <-c.broken:
		return vrrp.Packet{}, err
	case p, ok := <-c.packets:
		if !ok {
			return c.Conn.Receive()
		}
		return p, nil
	}
}

// linked runs one router over an opener.
func linked(t *testing.T, name string, test func(t *testing.T, s *vrrptest.Segment, o *opener, r *router)) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		o := &opener{segment: s, source: host(5)}
		r := &router{source: host(5), logs: &logBuffer{}}
		r.run(t, s, config(100), vrrp.Options{}, o.open)
		synctest.Wait()
		test(t, s, o, r)
	})
}

// A new address of the interface: the advertisements come from it, and nothing else happens.
func TestReopenTakesTheNewSource(t *testing.T) {
	linked(t, "FLT-07", func(t *testing.T, s *vrrptest.Segment, o *opener, r *router) {
		untilMaster(t, r)
		o.set(host(7), nil)
		r.link.Reopen()
		sleep(1500 * ms)
		want(t, &r.diary)
		want(t, &o.diary, "0s open 10.99.0.5", "3.609375s open 10.99.0.7")
		sent := s.Sent()
		if last := sent[len(sent)-1]; last.Packet.Source != host(7) || last.Time.Sub(epoch) != down+time.Second {
			t.Errorf("last sent by %s at %v", last.Packet.Source, last.Time.Sub(epoch))
		}
		if got := r.Status().Source; got != host(7) {
			t.Errorf("source %s", got)
		}
		// The new address decides between equals.
		newPeer(t, s, 6).send(100, time.Second)
		sleep(0)
		wantState(t, r, vrrp.Master)
	})
}

// While it reopens, a Link hears and loses nothing.
func TestReopenLosesNothing(t *testing.T) {
	linked(t, "", func(t *testing.T, s *vrrptest.Segment, o *opener, r *router) {
		p := newPeer(t, s, 9)
		for range 1000 {
			p.send(200, time.Second)
			r.link.Reopen()
			time.Sleep(10 * ms)
		}
		synctest.Wait()
		if n := r.Status().Counters.Received; n < 1000 {
			t.Errorf("%d received, want 1000", n)
		}
		wantState(t, r, vrrp.Backup)
	})
}

// The last address of the interface is gone: priority 0 through the old socket, and Fault, until there is one again.
func TestNoAddressIsAFault(t *testing.T) {
	linked(t, "FLT-07", func(t *testing.T, s *vrrptest.Segment, o *opener, r *router) {
		untilMaster(t, r)
		o.set(host(5), vrrp.ErrNoAddress)
		r.link.Reopen()
		sleep(0)
		want(t, &r.diary, "3.609375s release", "3.609375s master to fault: opening a VRRP socket on eth0: no address to send from")
		sent := s.Sent()
		if last := sent[len(sent)-1].Packet; last.Source != host(5) || last.Payload[2] != 0 {
			t.Errorf("last sent: priority %d by %s, want 0", last.Payload[2], last.Source)
		}
		if err := r.link.Status().Err; !errors.Is(err, vrrp.ErrNoAddress) {
			t.Errorf("status of the link: %v", err)
		}
		sleep(3 * time.Second)
		o.set(host(5), nil)
		r.link.Reopen() // as netlink would tell; a second later it would have come by itself
		sleep(0)
		want(t, &r.diary, "6.609375s fault to backup: recovered")
		if got := r.logs.lines("no VRRP socket"); len(got) != 1 {
			t.Errorf("logged %q, want one line", got)
		}
		if got := r.logs.lines("works again"); len(got) != 1 {
			t.Errorf("logged %q, want one line", got)
		}
	})
}

// Without anybody's word a Link tries again, more and more slowly, each second at last.
func TestOpenIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		o := &opener{segment: s, source: host(5), err: vrrp.ErrNoAddress}
		r := &router{source: host(5), logs: &logBuffer{}}
		r.run(t, s, config(100), vrrp.Options{}, o.open)
		sleep(3 * time.Second)
		want(t, &o.diary, "0s open fails", "100ms open fails", "300ms open fails", "700ms open fails", "1.5s open fails", "2.5s open fails")
		o.set(host(5), nil)
		sleep(time.Second)
		want(t, &r.diary, "0s initialize to fault: opening a VRRP socket on eth0: no address to send from", "3.5s fault to backup: recovered")
	})
}

// A socket that fails in the middle is replaced, and no state is lost.
func TestReceiveErrorOpensAgain(t *testing.T) {
	linked(t, "", func(t *testing.T, s *vrrptest.Segment, o *opener, r *router) {
		untilMaster(t, r)
		o.last().broken <- errors.New("network is down")
		sleep(500 * ms)
		want(t, &o.diary, "0s open 10.99.0.5", "3.609375s open 10.99.0.5")
		want(t, &r.diary)
		newPeer(t, s, 9).send(200, time.Second)
		sleep(0)
		wantState(t, r, vrrp.Backup)
	})
}

// A socket that fails whenever it is read does not turn the Link into a busy loop.
func TestReceiveErrorsBackOff(t *testing.T) {
	linked(t, "", func(t *testing.T, _ *vrrptest.Segment, o *opener, r *router) {
		for range 200 {
			select {
			case o.last().broken <- errors.New("network is down"):
			default:
			}
			sleep(10 * ms)
		}
		if n := len(o.read()); n < 3 || n > 7 {
			t.Errorf("opened %d times in two seconds", n)
		}
	})
}

// The end of a Link is a fault of its instances, not a hang.
func TestEndOfTheLinkIsAFault(t *testing.T) {
	linked(t, "", func(t *testing.T, _ *vrrptest.Segment, _ *opener, r *router) {
		untilMaster(t, r)
		r.kill()
		want(t, &r.diary, "3.609375s release", "3.609375s master to fault: link stopped", "3.609375s fault to initialize: shutdown")
		if c := r.Status().Counters; c.SendErrors != 1 {
			t.Errorf("%d send errors, want 1: priority 0 could not leave", c.SendErrors)
		}
	})
}

// Instances of one Link hear their own VRID only, instances of another Link nothing of it.
func TestLinkSortsByVRID(t *testing.T) {
	bubble(t, "RX-14, RX-15", func(t *testing.T) {
		one, two := vrrptest.NewSegment(1), vrrptest.NewSegment(2)
		r51 := start(t, one, 5, config(100), vrrp.Options{})
		other := start(t, two, 5, config(100), vrrp.Options{})
		c := config(100)
		c.VRID = 52
		r52 := &router{source: host(5), logs: &logBuffer{}}
		r52.holder = &holder{diary: &r52.diary}
		r52.Instance = vrrp.NewInstance(r51.link, c, r52.holder, vrrp.Options{Name: "other"})
		go r52.Run(t.Context())
		p := newPeer(t, one, 9)
		sleep(0)
		for range 5 {
			for _, vrid := range []uint8{52, 53, 53} {
				p.advertise(vrrp.Advertisement{Version: vrrp.Version3, VRID: vrid, Priority: 200, Interval: time.Second, Addresses: vips})
			}
			sleep(time.Second)
		}
		wantState(t, r51, vrrp.Master)
		wantState(t, r52, vrrp.Backup)
		wantState(t, other, vrrp.Master)
		if got := r51.link.Status().Dropped; len(got) != 1 || got[vrrp.DropVRID] != 10 {
			t.Errorf("the link dropped %v, want 10 of unknown VRID", got)
		}
		for _, r := range []*router{r51, r52, other} {
			if got := r.Status().Counters.Dropped; len(got) != 0 {
				t.Errorf("dropped %v", got)
			}
		}
		if got := other.link.Status(); got.Interface != "eth0" || got.Source != host(5) || got.Err != nil || len(got.Dropped) != 0 {
			t.Errorf("status of the other link %+v", got)
		}
		if got := r51.logs.lines("dropping"); len(got) != 0 {
			t.Errorf("logged %q", got)
		}
	})
}

// What is dropped is logged once a minute for each reason, and counted each time.
func TestDropsAreLoggedOnceAMinute(t *testing.T) {
	numbered(t, "RX-44", config(100), func(t *testing.T, r *router, p *peer) {
		for range 150 {
			b, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: vips}.Marshal(host(8), group)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.conn.Send(p.conn.Source(), group, b); err != nil { // with the pseudo-header of another source
				t.Fatal(err)
			}
			sleep(time.Second)
		}
		wantDropped(t, r, vrrp.DropChecksum, 150)
		lines := r.logs.lines("dropping VRRP packets")
		if len(lines) != 3 || !slices.ContainsFunc(lines, func(l string) bool {
			return l == `level=WARN msg="dropping VRRP packets" instance=web vrid=51 interface=eth0 source=10.99.0.9 reason="0x05d9 fits under no rule: checksum"`
		}) {
			t.Errorf("logged %q, want three lines", lines)
		}
	})
}

// A queue that is full loses packets, and says so.
func TestOverrunIsCounted(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		freeze(r, p, time.Second)
		sleep(0)
		for range 1000 {
			p.send(50, time.Second)
		}
		sleep(0)
		wantDropped(t, r, vrrp.DropOverrun, 1000-512)
		sleep(2 * time.Second)
		wantState(t, r, vrrp.Master)
	})
}
