package elector

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vip/viptest"
	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// journal is what one or more directors did, in order.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := j.entries
	j.entries = nil
	return entries
}

// host is a director in memory: a kernel with one interface, a wire for
// announcements, and a place on the VRRP segment.
type host struct {
	*viptest.Kernel
	t       *testing.T
	journal *journal
	wire    *viptest.Wire
	segment *vrrptest.Segment
	address netip.Addr
	elector *Elector
	state   string // state file
	deaf    atomic.Bool
	end     context.CancelFunc
	ended   chan error
}

// Watch passes on what the kernel in memory reports. It makes host a Network.
func (h *host) Watch(ctx context.Context, notify func()) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.Wake():
			notify()
		}
	}
}

// speaker notes what is advertised. While its host is deaf it loses what arrives.
type speaker struct {
	vrrp.Conn
	journal *journal
	deaf    *atomic.Bool
}

func (s speaker) Receive() (vrrp.Packet, error) {
	for {
		p, err := s.Conn.Receive()
		if err != nil || !s.deaf.Load() {
			return p, err
		}
	}
}

func (s speaker) Send(from, to netip.Addr, payload []byte) error {
	s.journal.add("advertise priority %d", payload[2])
	return s.Conn.Send(from, to, payload)
}

func newHost(t *testing.T, segment *vrrptest.Segment, address string) *host {
	h := &host{
		Kernel:  viptest.NewKernel("eth2"),
		t:       t,
		journal: &journal{},
		wire:    &viptest.Wire{},
		segment: segment,
		address: netip.MustParseAddr(address),
		state:   filepath.Join(t.TempDir(), "addresses.json"),
	}
	h.Put(vip.Address{Interface: "eth2", Prefix: netip.PrefixFrom(h.address, 24)})
	return h
}

// start starts an elector on the host.
func (h *host) start(instances ...configs.Instance) {
	h.t.Helper()
	h.Fail(func(op viptest.Op, a vip.Address) error {
		if op != viptest.OpAddresses {
			h.journal.add("%s %s", op, a)
		}
		return nil
	})
	h.wire.Fail(func(string) error {
		h.journal.add("announce")
		return nil
	})
	var err error
	h.elector, err = New(Options{
		Network: h,
		Open: func(string, vrrp.Family, ...netip.Addr) (vrrp.Conn, error) {
			return speaker{h.segment.Listen(h.address), h.journal, &h.deaf}, nil
		},
		Announcer:    vip.NewAnnouncer(vip.AnnouncerOptions{Link: h.Link, Dial: h.wire.Dial}),
		OnTransition: func(name string, t vrrp.Transition) { h.journal.add("%s: %s", name, t.To) },
		StateFile:    h.state,
		HoldFile:     h.state + ".hold",
		Log:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	h.end = cancel
	h.ended = make(chan error, 1)
	h.elector.SetReport("", nil)
	h.elector.Configure(instances)
	go func() { h.ended <- h.elector.Run(ctx) }()
	synctest.Wait()
}

// stop ends the elector as SIGTERM does, and waits for it.
func (h *host) stop() {
	h.t.Helper()
	h.end()
	if err := <-h.ended; err != nil {
		h.t.Errorf("%s: Run: %v", h.address, err)
	}
}

func web(priority uint8, addresses ...string) configs.Instance {
	i := configs.Instance{Name: "web", Interface: "eth2", VRID: 51, Priority: priority, AdvertInterval: time.Second, Preempt: true}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, configs.Address{Prefix: netip.MustParsePrefix(a), Interface: "eth2"})
	}
	return i
}

func (h *host) holds(prefix string) bool {
	return h.Has(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(prefix)})
}

const vip100 = "192.168.50.100/24"

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs a test by the number of its conformance case on virtual time.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func expectJournal(t *testing.T, j *journal, want ...string) {
	t.Helper()
	got := slices.Compact(j.take()) // rounds of announcements become one
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestTakeoverIsAddressesThenAnnouncementThenAdvertisement(t *testing.T) {
	bubble(t, "GARP-01", func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.start(web(150, vip100))
		h.journal.take()
		wait(3414 * time.Millisecond)
		expectJournal(t, h.journal)
		wait(time.Millisecond) // 3 s and the skew of priority 150: 3.4140625 s
		expectJournal(t, h.journal, "add 192.168.50.100/24 on eth2", "announce", "advertise priority 150", "web: master")
		h.stop()
	})
}

func TestAKernelThatIsSlowDoesNotHoldUpTheAdvertisement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.start(web(150, vip100))
		h.Fail(func(op viptest.Op, a vip.Address) error { return context.DeadlineExceeded })
		h.journal.take()
		wait(3415*time.Millisecond + 100*time.Millisecond)
		got := h.journal.take()
		if !slices.Contains(got, "advertise priority 150") {
			t.Errorf("100 ms after the takeover the journal is %q, want an advertisement", got)
		}
		h.Fail(nil)
		wait(2 * time.Second)
		if !h.holds(vip100) {
			t.Error("the address is not there after the kernel has recovered")
		}
		h.stop()
	})
}

// TestHandOver sees, every millisecond of a planned hand-over and of the
// preemption by the returning director, that some director has the address.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		segment.SetDelay(200 * time.Microsecond)
		a, b := newHost(t, segment, "192.168.50.31"), newHost(t, segment, "192.168.50.32")
		a.start(web(150, vip100))
		b.start(web(100, vip100))
		wait(4 * time.Second)
		if !a.holds(vip100) || b.holds(vip100) {
			t.Fatal("before the hand-over a should hold the address alone")
		}
		watch := func(what string, d time.Duration) {
			t.Helper()
			for range d / time.Millisecond {
				wait(time.Millisecond)
				if !a.holds(vip100) && !b.holds(vip100) {
					t.Fatalf("%s: nobody holds the address", what)
				}
			}
		}
		stopped := make(chan struct{})
		go func() { a.stop(); close(stopped) }()
		watch("hand-over", time.Second)
		<-stopped
		if a.holds(vip100) || !b.holds(vip100) {
			t.Error("after the hand-over b should hold the address alone")
		}
		a.start(web(150, vip100))
		watch("preemption", 4*time.Second)
		if !a.holds(vip100) || b.holds(vip100) {
			t.Error("after the preemption a should hold the address alone")
		}
		b.stop()
		a.stop()
	})
}

// TestAYieldingMasterAnnouncesNoMore is preempted just before its second burst
// of announcements is due, while its addresses linger.
func TestAYieldingMasterAnnouncesNoMore(t *testing.T) {
	bubble(t, "GARP-08", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		b := newHost(t, segment, "192.168.50.32")
		b.start(web(100, vip100))
		wait(3*time.Second + 609*time.Millisecond + time.Millisecond) // master from now on
		b.wire.Frames()
		wait(5*time.Second - 50*time.Millisecond)
		a := newHost(t, segment, "192.168.50.31")
		advertisement, err := vrrp.Advertisement{
			Version: vrrp.Version3,
			VRID:    51, Priority: 150, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.168.50.100")},
		}.Marshal(a.address, netip.MustParseAddr("224.0.0.18"))
		if err != nil {
			t.Fatal(err)
		}
		b.wire.Frames()
		segment.Inject(vrrp.Packet{Source: a.address, Destination: netip.MustParseAddr("224.0.0.18"), TTL: 255, Payload: advertisement})
		wait(90 * time.Millisecond) // the second burst would have begun by now
		if frames := b.wire.Frames(); !b.holds(vip100) || len(frames) != 0 {
			t.Errorf("holding: %t, announced: %v; want the address held and nothing announced", b.holds(vip100), frames)
		}
		b.stop()
	})
}

func TestStartAfterAKillGoesOnAsMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.Put(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)})
		h.start(web(150, vip100))
		wait(1415 * time.Millisecond) // one interval and the skew time
		expectJournal(t, h.journal, "web: backup", "announce", "advertise priority 150", "web: master")
		h.stop()
	})
}

func TestStartAfterAKillLetsGoWhenAnotherHasTakenOver(t *testing.T) {
	bubble(t, "FLT-08", func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		b := newHost(t, segment, "192.168.50.32")
		b.start(web(200, vip100))
		wait(4 * time.Second)
		a := newHost(t, segment, "192.168.50.31")
		a.Put(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)})
		a.start(web(150, vip100))
		wait(1200 * time.Millisecond) // an advertisement, and the time that the address lingers
		if a.holds(vip100) || !b.holds(vip100) {
			t.Error("the address should have stayed with the one that took over")
		}
		a.stop()
		b.stop()
	})
}

func TestStartRemovesAddressesOfAnOlderConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		// What a daemon remembers that was killed while it held three.
		remembered := `{"addresses":[{"interface":"eth2","prefix":"192.168.50.100/24"},{"interface":"eth2","prefix":"192.168.50.77/24"}]}`
		if err := os.WriteFile(h.state, []byte(remembered), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{vip100, "192.168.50.77/24", "192.168.50.200/24"} {
			h.Put(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(p)})
		}
		h.start(web(150, vip100))
		wait(2 * time.Second)
		if !h.holds(vip100) || h.holds("192.168.50.77/24") {
			t.Errorf("after the start:\n%s", h)
		}
		h.stop()
		if h.holds(vip100) || !h.holds("192.168.50.200/24") || !h.holds("192.168.50.31/24") {
			t.Errorf("after the end only the foreign addresses should be left:\n%s", h)
		}
	})
}

func TestFaultOfTheInterface(t *testing.T) {
	tests := []struct {
		name   string
		damage func(h *host)
		repair func(h *host)
		reason string
	}{
		{
			"FLT-01 cable", func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.Carrier = false }) },
			func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.Carrier = true }) },
			"interface eth2 has no carrier",
		},
		{
			"FLT-02 set down", func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.Up = false }) },
			func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.Up = true }) },
			"interface eth2 is down",
		},
		{
			"FLT-09 removed", func(h *host) { h.RemoveLink("eth2") },
			func(h *host) {
				h.AddLink("eth2")
				h.Put(vip.Address{Interface: "eth2", Prefix: netip.PrefixFrom(h.address, 24)})
			},
			"interface eth2 is missing",
		},
		{
			"FLT-07 no address", func(h *host) { h.Take(vip.Address{Interface: "eth2", Prefix: netip.PrefixFrom(h.address, 24)}) },
			func(h *host) { h.Put(vip.Address{Interface: "eth2", Prefix: netip.PrefixFrom(h.address, 24)}) },
			"interface eth2 has no IPv4 address of its own",
		},
		{
			"FLT-10 small MTU", func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.MTU = 31 }) },
			func(h *host) { h.SetLink("eth2", func(l *vip.Link) { l.MTU = 32 }) },
			"interface eth2 has an MTU of 31, the advertisement needs 32: move addresses to extra_addresses",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
				h.start(web(150, vip100))
				wait(4 * time.Second)
				tt.damage(h)
				wait(100 * time.Millisecond)
				s := h.elector.Status()[0]
				if s.State != "fault" || s.Reason != tt.reason {
					t.Errorf("state %s, reason %q, want fault because %q", s.State, s.Reason, tt.reason)
				}
				if h.holds(vip100) {
					t.Error("the address is still held")
				}
				h.journal.take()
				tt.repair(h)
				wait(4 * time.Second)
				if s := h.elector.Status()[0]; s.State != "master" || !s.Addresses[0].Held {
					t.Errorf("after the repair: %+v", s)
				}
				if !slices.Contains(h.journal.take(), "announce") {
					t.Error("nothing was announced after the repair")
				}
				h.stop()
			})
		})
	}
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		h := newHost(t, segment, "192.168.50.31")
		h.start(web(150, vip100))
		wait(4 * time.Second)
		h.journal.take()

		h.elector.Configure([]configs.Instance{web(150, vip100)})
		wait(100 * time.Millisecond)
		expectJournal(t, h.journal) // an equal configuration changes nothing

		h.elector.Configure([]configs.Instance{web(150, vip100, "192.168.50.101/24")})
		wait(100 * time.Millisecond)
		expectJournal(t, h.journal, "add 192.168.50.101/24 on eth2", "announce")

		wait(800 * time.Millisecond)
		h.journal.take()
		h.elector.Configure([]configs.Instance{web(150, "192.168.50.101/24")})
		wait(50 * time.Millisecond)
		if got := h.journal.take(); !slices.Contains(got, "delete 192.168.50.100/24 on eth2") || h.holds(vip100) {
			t.Errorf("the removed address: journal %q", got)
		}

		other := web(150, "192.168.50.102/24")
		other.Name, other.VRID = "other", 52
		h.elector.Configure([]configs.Instance{other})
		wait(4 * time.Second)
		if h.holds("192.168.50.101/24") || !h.holds("192.168.50.102/24") {
			t.Errorf("after the exchange of the instances:\n%s", h)
		}
		h.stop()
	})
}

func TestReloadThatLowersThePriorityMovesTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		segment := vrrptest.NewSegment(1)
		a, b := newHost(t, segment, "192.168.50.31"), newHost(t, segment, "192.168.50.32")
		a.start(web(150, vip100))
		b.start(web(100, vip100))
		wait(4 * time.Second)
		a.elector.Configure([]configs.Instance{web(50, vip100)})
		for range 6000 {
			wait(time.Millisecond)
			if !a.holds(vip100) && !b.holds(vip100) {
				t.Fatal("nobody holds the address")
			}
		}
		if a.holds(vip100) || !b.holds(vip100) {
			t.Error("the address should have moved")
		}
		a.stop()
		b.stop()
	})
}

// TestAnInstanceThatComesBackWhileItEnds takes an instance away and puts it back
// before its hand-over is over.
func TestAnInstanceThatComesBackWhileItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.start(web(150, vip100))
		wait(4 * time.Second)
		h.elector.Configure(nil)
		wait(10 * time.Millisecond)
		h.elector.Configure([]configs.Instance{web(150, vip100)})
		wait(8 * time.Second)
		if s := h.elector.Status(); len(s) != 1 || s[0].State != "master" || !h.holds(vip100) {
			t.Errorf("status %+v\n%s", s, h)
		}
		h.stop()
	})
}

// There is nothing in the journal of an election: it stays master.
func TestADeletedAddressIsPutBackAndAnnounced(t *testing.T) {
	bubble(t, "FLT-05", func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.start(web(150, vip100))
		wait(4500 * time.Millisecond)
		h.journal.take()
		h.Take(vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)})
		wait(50 * time.Millisecond)
		expectJournal(t, h.journal, "add 192.168.50.100/24 on eth2", "announce")
		h.stop()
	})
}

func TestTwoInstancesOnOneInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		other := web(100, "192.168.50.101/24")
		other.Name, other.VRID = "other", 52
		h.start(web(150, vip100), other)
		wait(4 * time.Second)
		for _, s := range h.elector.Status() {
			if s.State != "master" || !s.Addresses[0].Held {
				t.Errorf("%+v", s)
			}
		}
		h.stop()
		if h.holds(vip100) || h.holds("192.168.50.101/24") {
			t.Errorf("after the end:\n%s", h)
		}
	})
}

// TestInstancesThatTakeOverTogether has many instances become master in the same
// moment: none may undo what another has just done.
func TestInstancesThatTakeOverTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		var instances []configs.Instance
		for n := range 60 {
			i := web(100, fmt.Sprintf("192.168.50.%d/24", 100+n))
			i.Name, i.VRID = fmt.Sprint("web", n), uint8(n+1)
			instances = append(instances, i)
		}
		h.start(instances...)
		wait(4 * time.Second)
		for _, entry := range h.journal.take() {
			if strings.HasPrefix(entry, "delete") {
				t.Errorf("an address was taken off again: %s", entry)
			}
		}
		for _, s := range h.elector.Status() {
			if s.State != "master" || !s.Addresses[0].Held {
				t.Errorf("%s is %s, held: %t", s.Name, s.State, s.Addresses[0].Held)
			}
		}
		h.stop()
	})
}
