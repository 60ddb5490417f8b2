package elector

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vip"
	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// deaf is a network that does not answer for a while.
type deaf struct {
	*host
	answer chan struct{}
}

func (d deaf) Addresses() ([]vip.Entry, error) {
	<-d.answer
	return d.host.Addresses()
}

// TestALoopThatHangsGivesNoSignOfLife configures an elector while the kernel does
// not answer.
func TestALoopThatHangsGivesNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := deaf{newHost(t, vrrptest.NewSegment(1), "192.168.50.31"), make(chan struct{})}
		signs := 0
		e, err := New(Options{
			Network:      h,
			Open:         func(string, vrrp.Family, ...netip.Addr) (vrrp.Conn, error) { return h.segment.Listen(h.address), nil },
			Announcer:    vip.NewAnnouncer(vip.AnnouncerOptions{Link: h.Link, Dial: h.wire.Dial}),
			OnTransition: func(string, vrrp.Transition) {},
			Alive:        func() { signs++ },
			Log:          slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		expect := func(want int) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if signs != want {
				t.Errorf("%d signs of life, want %d", signs, want)
			}
		}
		expect(11)
		e.Configure(nil)
		synctest.Wait()
		expect(11)
		close(h.answer)
		expect(22) // the one that was late, too
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
