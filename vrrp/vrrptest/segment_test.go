package vrrptest_test

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

var (
	group = netip.MustParseAddr("224.0.0.18")
	a     = netip.MustParseAddr("10.0.0.1")
	b     = netip.MustParseAddr("10.0.0.2")
	c     = netip.MustParseAddr("10.0.0.3")
)

// count receives on a Conn until it closes, and counts.
func count(t *testing.T, conn *vrrptest.Conn) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	go func() {
		for {
			if _, err := conn.Receive(); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			n.Add(1)
		}
	}()
	t.Cleanup(func() { conn.Close() })
	return n
}

// three hosts on a segment, the first of which sends.
func three(t *testing.T, test func(s *vrrptest.Segment, send func(n int), atA, atB, atC *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		sender := s.Listen(a)
		atA, atB, atC := count(t, sender), count(t, s.Listen(b)), count(t, s.Listen(c))
		test(s, func(n int) {
			for range n {
				if err := sender.Send(sender.Source(), group, []byte{1, 2, 3}); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
		}, atA, atB, atC)
	})
}

func TestSegmentCarriesToAllOthers(t *testing.T) {
	three(t, func(s *vrrptest.Segment, send func(int), atA, atB, atC *atomic.Int64) {
		send(10)
		if atA.Load() != 0 || atB.Load() != 10 || atC.Load() != 10 {
			t.Errorf("%d, %d, %d arrived", atA.Load(), atB.Load(), atC.Load())
		}
		s.Inject(vrrp.Packet{Source: a, TTL: 3})
		synctest.Wait()
		if atA.Load() != 1 || atB.Load() != 11 {
			t.Errorf("%d, %d arrived after an injection", atA.Load(), atB.Load())
		}
		if sent := s.Sent(); len(sent) != 10 || sent[0].Packet.Source != a || sent[0].Packet.Destination != group || sent[0].Packet.TTL != 255 {
			t.Errorf("sent %v", sent)
		}
	})
}

func TestSegmentPartition(t *testing.T) {
	three(t, func(s *vrrptest.Segment, send func(int), _, atB, atC *atomic.Int64) {
		s.Partition(b)
		send(10)
		s.Partition(a, b)
		send(5)
		s.Partition()
		send(1)
		if atB.Load() != 6 || atC.Load() != 11 {
			t.Errorf("%d, %d arrived, want 6 and 11", atB.Load(), atC.Load())
		}
	})
}

func TestSegmentLossAndDuplication(t *testing.T) {
	three(t, func(s *vrrptest.Segment, send func(int), _, atB, atC *atomic.Int64) {
		s.SetLoss(1)
		send(100)
		if atB.Load()+atC.Load() != 0 {
			t.Errorf("%d, %d arrived of what was lost", atB.Load(), atC.Load())
		}
		s.SetLoss(0)
		s.SetDuplicate(1)
		send(100)
		if atB.Load() != 200 || atC.Load() != 200 {
			t.Errorf("%d, %d arrived of what was doubled", atB.Load(), atC.Load())
		}
		s.SetLoss(0.5)
		s.SetDuplicate(0)
		send(1000)
		if n := atB.Load() - 200; n < 400 || n > 600 {
			t.Errorf("%d of 1000 arrived at a loss of a half", n)
		}
	})
}

func TestSegmentDelay(t *testing.T) {
	three(t, func(s *vrrptest.Segment, send func(int), _, atB, _ *atomic.Int64) {
		s.SetDelay(5 * time.Millisecond)
		send(1)
		time.Sleep(5*time.Millisecond - time.Nanosecond)
		synctest.Wait()
		if atB.Load() != 0 {
			t.Error("too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if atB.Load() != 1 {
			t.Error("too late")
		}
	})
}

func TestConn(t *testing.T) {
	s := vrrptest.NewSegment(1)
	sender, receiver := s.Listen(a), s.Listen(b)
	if receiver.Pending() || receiver.Source() != b {
		t.Error("a new Conn has a packet, or a wrong address")
	}
	payload := []byte{1, 2, 3}
	if err := sender.Send(sender.Source(), group, payload); err != nil {
		t.Fatal(err)
	}
	payload[0] = 9
	if !receiver.Pending() {
		t.Error("nothing is pending after a packet was sent")
	}
	p, err := receiver.Receive()
	if err != nil || p.Payload[0] != 1 || p.Source != a {
		t.Errorf("received %v, %v", p, err)
	}
	if !receiver.Pending() {
		t.Error("nothing is pending while a packet is worked on")
	}
	failed := make(chan error)
	go func() {
		_, err := receiver.Receive()
		failed <- err
	}()
	for receiver.Pending() {
		time.Sleep(time.Millisecond)
	}
	if err := receiver.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if err := receiver.Send(receiver.Source(), group, payload); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if err := receiver.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	sender.Fail(errors.New("no"))
	if err := sender.Send(sender.Source(), group, payload); err == nil || err.Error() != "no" {
		t.Errorf("error %v", err)
	}
	open := s.Open(c)
	if conn, err := open(); err != nil || conn.Source() != c {
		t.Errorf("opened %v, %v", conn, err)
	}
}
