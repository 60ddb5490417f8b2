package vrrp_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

var (
	vips  = []netip.Addr{netip.MustParseAddr("10.99.0.100"), netip.MustParseAddr("10.99.0.101")}
	group = netip.MustParseAddr("224.0.0.18")

	vips6  = []netip.Addr{netip.MustParseAddr("fe80::99:100"), netip.MustParseAddr("2001:db8:99::100")}
	group6 = netip.MustParseAddr("ff02::12")

	// epoch is when every synctest bubble begins.
	epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
)

func host(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(n)}) }

// host6 is the link-local address of the same host, and global6 its other one.
func host6(n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fe80::ff:fe00:99%02x", n))
}

func global6(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:99::%x", n)) }

// config is VRID 51 with an interval of one second and preemption.
func config(priority uint8) vrrp.Config {
	return vrrp.Config{VRID: 51, Priority: priority, Interval: time.Second, Preempt: true, Addresses: vips}
}

// config2 is the same in version 2, and config6 over IPv6.
func config2(priority uint8) vrrp.Config {
	c := config(priority)
	c.Version = vrrp.Version2
	return c
}

func config6(priority uint8) vrrp.Config {
	c := config(priority)
	c.Addresses = vips6
	return c
}

// unicast makes a configuration unicast, from one host to others of the same family.
func unicast(c vrrp.Config, source netip.Addr, peers ...netip.Addr) vrrp.Config {
	c.Source, c.Peers = source, peers
	return c
}

// diary records what happens, with the time since the bubble began.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf("%v %s", time.Since(epoch), what))
}

// read returns what was written since the last call.
func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries := d.entries
	d.entries = nil
	return entries
}

// holder writes down what an instance does with its addresses. The hooks, if set, run in the instance's goroutine.
type holder struct {
	diary *diary

	mu       sync.Mutex
	held     bool
	take     func(ctx context.Context) error
	announce func()
	release  func()
}

func (h *holder) Take(ctx context.Context) error {
	h.diary.write("take")
	h.mu.Lock()
	h.held = true
	hook := h.take
	h.mu.Unlock()
	if hook != nil {
		return hook(ctx)
	}
	return nil
}

func (h *holder) Announce() {
	h.diary.write("announce")
	h.mu.Lock()
	hook := h.announce
	h.mu.Unlock()
	if hook != nil {
		hook()
	}
}

func (h *holder) Release(context.Context) error {
	h.diary.write("release")
	h.mu.Lock()
	h.held = false
	hook := h.release
	h.mu.Unlock()
	if hook != nil {
		hook()
	}
	return nil
}

func (h *holder) holds() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// router is an instance with its link and holder on a segment. The diary has what it sends, too.
type router struct {
	*vrrp.Instance
	diary
	link    *vrrp.Link
	holder  *holder
	segment *vrrptest.Segment
	group   *vrrp.Group
	source  netip.Addr
	logs    *logBuffer
	stop    func() // hands over and waits
	kill    func() // cuts the cable and ends without a word
}

// wire is the router's Conn with a diary.
type wire struct {
	*vrrptest.Conn
	diary *diary
}

func (w wire) Send(source, destination netip.Addr, payload []byte) error {
	err := w.Conn.Send(source, destination, payload)
	a, parseErr := vrrp.Parse(payload, source, destination)
	switch {
	case parseErr != nil:
		w.diary.write("sends rubbish: " + parseErr.Error())
	case err != nil:
		w.diary.write(fmt.Sprintf("cannot send %d", a.Priority))
	default:
		w.diary.write(fmt.Sprintf("send %d", a.Priority))
	}
	return err
}

// start runs a router on the segment until the end of the test.
func start(t *testing.T, s *vrrptest.Segment, n int, c vrrp.Config, o vrrp.Options) *router {
	t.Helper()
	return startAt(t, s, host(n), c, o)
}

// startAt runs one with this address.
func startAt(t *testing.T, s *vrrptest.Segment, source netip.Addr, c vrrp.Config, o vrrp.Options) *router {
	t.Helper()
	r := &router{source: source, logs: &logBuffer{}}
	return r.run(t, s, c, o, func() (vrrp.Conn, error) { return wire{s.Listen(r.source), &r.diary}, nil })
}

// run starts the router with a given way to open its socket.
func (r *router) run(t *testing.T, s *vrrptest.Segment, c vrrp.Config, o vrrp.Options, open func() (vrrp.Conn, error)) *router {
	t.Helper()
	r.holder, r.segment = &holder{diary: &r.diary, held: o.Holding}, s
	o.Name = cmp.Or(o.Name, "web")
	o.Log = r.logs.logger()
	o.OnTransition = func(tr vrrp.Transition) {
		if !tr.Time.Equal(time.Now()) {
			t.Errorf("transition at %v says that it was at %v", time.Now(), tr.Time)
		}
		r.write(fmt.Sprintf("%s to %s: %s", tr.From, tr.To, tr.Reason))
	}
	r.link = vrrp.NewLink("eth0", open, r.logs.logger())
	r.Instance = vrrp.NewInstance(r.link, c, r.holder, o)
	r.SetGroup(r.group)

	ctx, stop := context.WithCancel(context.Background())
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
		stopLink()
		link.Wait()
		stop()
		instance.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

// logBuffer keeps log lines without their time.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// lines returns the lines that contain text.
func (l *logBuffer) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// peer is a scripted router that listens to nobody.
type peer struct {
	t    *testing.T
	conn *vrrptest.Conn
}

func newPeer(t *testing.T, s *vrrptest.Segment, n int) *peer { return newPeerAt(t, s, host(n)) }

func newPeerAt(t *testing.T, s *vrrptest.Segment, source netip.Addr) *peer {
	p := &peer{t, s.Listen(source)}
	t.Cleanup(func() { p.conn.Close() })
	return p
}

// send sends one advertisement of VRID 51.
func (p *peer) send(priority uint8, interval time.Duration) {
	p.t.Helper()
	p.advertise(vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: priority, Interval: interval, Addresses: vips})
}

// advertise sends an advertisement of any kind to the group.
func (p *peer) advertise(a vrrp.Advertisement) {
	p.t.Helper()
	to := group
	if p.conn.Source().Is6() {
		to = group6
	}
	p.tell(to, a)
}

// tell sends it to an address.
func (p *peer) tell(to netip.Addr, a vrrp.Advertisement) {
	p.t.Helper()
	b, err := a.Marshal(p.conn.Source(), to)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.conn.Send(p.conn.Source(), to, b); err != nil {
		p.t.Fatal(err)
	}
}

// repeat sends n advertisements, one each interval, and sleeps after each.
func (p *peer) repeat(n int, priority uint8, interval time.Duration) {
	p.t.Helper()
	for range n {
		p.send(priority, interval)
		time.Sleep(interval)
	}
}

// want compares a diary with what it must be.
func want(t *testing.T, d *diary, entries ...string) {
	t.Helper()
	if got := d.read(); !slices.Equal(got, entries) {
		t.Errorf("happened:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(entries, "\n\t"))
	}
}

// wantState checks the present state and that addresses are held by a Master alone.
func wantState(t *testing.T, r *router, state vrrp.State) {
	t.Helper()
	if got := r.Status().State; got != state {
		t.Errorf("at %v %s is %s, want %s", time.Since(epoch), r.source, got, state)
	}
}
