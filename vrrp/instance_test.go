package vrrp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

var (
	vips  = []netip.Addr{netip.MustParseAddr("10.99.0.100"), netip.MustParseAddr("10.99.0.101")}
	group = netip.MustParseAddr("224.0.0.18")
)

func host(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(n)}) }

func config(priority uint8) vrrp.Config {
	return vrrp.Config{VRID: 51, Priority: priority, Interval: time.Second, Preempt: true, Addresses: vips}
}

// holder records what an instance does with its addresses.
type holder struct {
	log func(what string)

	mu    sync.Mutex
	held  bool
	takes func(ctx context.Context) error // nil: at once
}

func (h *holder) Take(ctx context.Context) error {
	h.log("take")
	h.mu.Lock()
	takes := h.takes
	h.mu.Unlock()
	var err error
	if takes != nil {
		err = takes(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = true
	return err
}

func (h *holder) Announce() { h.log("announce") }

func (h *holder) Release(context.Context) error {
	h.log("release")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = false
	return nil
}

func (h *holder) holds() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// router is an instance with its link and holder on a segment.
type router struct {
	*vrrp.Instance
	link   *vrrp.Link
	holder *holder
	source netip.Addr
	stop   func() // hands over and waits
	kill   func() // ends the link first, so that nothing more is sent

	mu  sync.Mutex
	log []string // "0s take": time since the bubble began
}

func (r *router) record(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%v %s", time.Since(epoch), what))
}

// events returns what happened since the last call.
func (r *router) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log
	r.log = nil
	return slices.Clone(log)
}

// epoch is when every synctest bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// start runs a router on the segment until the end of the test.
func start(t *testing.T, s *vrrptest.Segment, n int, c vrrp.Config, o vrrp.Options) *router {
	t.Helper()
	r := &router{source: host(n)}
	r.holder = &holder{log: r.record, held: o.Holding}
	o.Name = fmt.Sprintf("router %d", n)
	o.OnTransition = func(tr vrrp.Transition) {
		r.record(fmt.Sprintf("%s -> %s: %s", tr.From, tr.To, tr.Reason))
	}
	r.link = vrrp.NewLink("eth0", s.Open(r.source), slog.New(slog.DiscardHandler))
	r.Instance = vrrp.NewInstance(r.link, c, r.holder, o)

	ctx, stop := context.WithCancel(t.Context())
	linkCtx, stopLink := context.WithCancel(context.Background())
	var instance, link sync.WaitGroup
	link.Go(func() {
		if err := r.link.Run(linkCtx); err != nil {
			t.Errorf("link of %s: %v", r.source, err)
		}
	})
	instance.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("instance of %s: %v", r.source, err)
		}
	})
	r.stop = func() {
		stop()
		instance.Wait()
		stopLink()
		link.Wait()
	}
	r.kill = func() {
		s.Partition(r.source)
		stopLink()
		link.Wait()
		stop()
		instance.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

func TestQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		a := start(t, s, 1, config(150), vrrp.Options{})
		b := start(t, s, 2, config(100), vrrp.Options{})
		time.Sleep(10 * time.Second)
		a.stop()
		time.Sleep(10 * time.Second)
		b.stop()
		for _, e := range a.events() {
			t.Log("a", e)
		}
		for _, e := range b.events() {
			t.Log("b", e)
		}
	})
}
