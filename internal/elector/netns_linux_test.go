package elector

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp"
)

// A station is a network namespace with one interface, eth0, on a bridge.
type station struct {
	*testing.T
	*netlink.Handle
	ns     netns.NsHandle
	bridge *station // nil for the bridge itself
	name   string   // of its port there

	elector   *Elector
	announcer *vip.Announcer
	mu        sync.Mutex // guards what follows
	moves     []move
}

// move is a transition and its time.
type move struct {
	vrrp.Transition
	at time.Time
}

func newStation(t *testing.T) *station {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("must be root to make network namespaces")
		}
		t.Skip("SKIPPED: must be root to make network namespaces")
	}
	s := &station{T: t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var err error
		s.ns, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	var err error
	if s.Handle, err = netlink.NewHandleAt(s.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Handle.Close()
		s.ns.Close()
	})
	return s
}

// newBridge makes the segment that stations are on.
func newBridge(t *testing.T) *station {
	t.Helper()
	s := newStation(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := s.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	s.set("br0", s.LinkSetUp)
	return s
}

// station makes a station on the bridge, with addresses.
func (s *station) station(name string, addresses ...string) *station {
	s.Helper()
	n := newStation(s.T)
	n.bridge, n.name = s, name
	n.plug(addresses...)
	return n
}

// plug makes the station's eth0, with addresses.
func (s *station) plug(addresses ...string) {
	s.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.name
	if err := s.bridge.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(s.ns))}); err != nil {
		s.Fatal(err)
	}
	s.bridge.set(s.name, func(l netlink.Link) error {
		br0, err := s.bridge.LinkByName("br0")
		return errors.Join(err, s.bridge.LinkSetMaster(l, br0), s.bridge.LinkSetUp(l))
	})
	s.set("eth0", s.LinkSetUp)
	for _, a := range addresses {
		s.address(s.AddrAdd, a)
	}
}

// set changes an interface.
func (s *station) set(name string, change func(netlink.Link) error) {
	s.Helper()
	link, err := s.LinkByName(name)
	if err == nil {
		err = change(link)
	}
	if err != nil {
		s.Fatalf("changing %s: %v", name, err)
	}
}

// address is "ip addr add" or "ip addr del" by somebody else.
func (s *station) address(do func(netlink.Link, *netlink.Addr) error, prefix string) {
	s.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		s.Fatal(err)
	}
	s.set("eth0", func(l netlink.Link) error { return do(l, a) })
}

// carrier plugs the cable in or pulls it.
func (s *station) carrier(up bool) {
	s.Helper()
	change := s.bridge.LinkSetDown
	if up {
		change = s.bridge.LinkSetUp
	}
	s.bridge.set(s.name, change)
}

// sysctl writes a setting.
func (s *station) sysctl(name, value string) {
	s.Helper()
	if err := s.in(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }); err != nil {
		s.Fatal(err)
	}
}

// in runs f in the namespace.
func (s *station) in(f func() error) error {
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(s.ns); err != nil {
			ended <- err
			return
		}
		ended <- f()
	}()
	return <-ended
}

// addrs lists the addresses of eth0; none if there is no eth0.
func (s *station) addrs() []netlink.Addr {
	link, err := s.LinkByName("eth0")
	if err != nil {
		return nil
	}
	list, err := s.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	return list
}

func (s *station) holds(address string) bool {
	for _, a := range s.addrs() {
		if a.IP.String() == address {
			return true
		}
	}
	return false
}

// here is the kernel of a station for goroutines on any thread.
type here struct {
	*vip.Linux
	s *station
}

func (h here) Link(name string) (l vip.Link, err error) {
	e := h.s.in(func() error { l, err = h.Linux.Link(name); return nil })
	return l, errors.Join(e, err)
}

func (h here) Delete(a vip.Address) error {
	return h.s.in(func() error { return h.Linux.Delete(a) })
}

func (h here) Watch(ctx context.Context, notify func()) error {
	return h.s.in(func() error { return h.Linux.Watch(ctx, notify) })
}

// elect runs an elector on the station until the test ends.
func (s *station) elect(instances ...configs.Instance) {
	s.Helper()
	network := here{s: s}
	if err := s.in(func() (err error) { network.Linux, err = vip.Open(); return err }); err != nil {
		s.Fatal(err)
	}
	s.announcer = vip.NewAnnouncer(vip.AnnouncerOptions{Link: network.Link, Dial: func(l vip.Link) (c net.PacketConn, err error) {
		err = s.in(func() (err error) {
			c, err = packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.HardwareAddr}, packet.Raw, 0, nil)
			return err
		})
		return c, err
	}})
	var err error
	s.elector, err = New(Options{
		Network: network,
		Open: func(ifname string, family vrrp.Family, virtual ...netip.Addr) (c vrrp.Conn, err error) {
			err = s.in(func() (err error) { c, err = vrrp.Listen(ifname, family, virtual...); return err })
			return c, err
		},
		Announcer: s.announcer,
		OnTransition: func(_ string, t vrrp.Transition) {
			s.mu.Lock()
			s.moves = append(s.moves, move{t, time.Now()})
			s.mu.Unlock()
		},
		StateFile: filepath.Join(s.TempDir(), "addresses.json"),
		HoldFile:  filepath.Join(s.TempDir(), "held"),
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s.elector.SetReport("", nil)
	s.elector.Configure(instances)
	go func() { ended <- s.elector.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("%s: Run: %v", s.name, err)
		}
		network.Close()
	})
}

// status returns that of the only instance.
func (s *station) status() InstanceStatus {
	all := s.elector.Status()
	if len(all) != 1 {
		return InstanceStatus{}
	}
	return all[0]
}

// moved returns the transitions since it was called last.
func (s *station) moved() []move {
	s.mu.Lock()
	defer s.mu.Unlock()
	moves := s.moves
	s.moves = nil
	return moves
}

// within waits until what is asked for is so, and returns how long it took.
func (s *station) within(limit time.Duration, what string, so func() bool) time.Duration {
	s.Helper()
	start := time.Now()
	for !so() {
		if time.Since(start) > limit {
			s.Fatalf("not within %v: %s: %+v", limit, what, s.status())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// ear returns what VRRP a station hears, in order, until the test ends.
func (s *station) ear(family vrrp.Family) func() []vrrp.Packet {
	s.Helper()
	var c vrrp.Conn
	if err := s.in(func() (err error) { c, err = vrrp.Listen("eth0", family); return err }); err != nil {
		s.Fatal(err)
	}
	var mu sync.Mutex
	var heard []vrrp.Packet
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			p, err := c.Receive()
			if err != nil {
				return
			}
			p.Payload = append([]byte{}, p.Payload...)
			mu.Lock()
			heard = append(heard, p)
			mu.Unlock()
		}
	})
	s.Cleanup(func() {
		c.Close()
		reading.Wait()
	})
	return func() []vrrp.Packet {
		mu.Lock()
		defer mu.Unlock()
		got := heard
		heard = nil
		return got
	}
}

// quick is an instance on eth0 that advertises ten times a second.
func quick(priority uint8, addresses ...string) configs.Instance {
	i := configs.Instance{Name: "web", Interface: "eth0", VRID: 51, Priority: priority, AdvertInterval: 100 * time.Millisecond, Preempt: true}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, configs.Address{Prefix: netip.MustParsePrefix(a), Interface: "eth0"})
	}
	return i
}

const patience = 10 * time.Second

// twoStations starts two directors, the first of which becomes master.
func twoStations(t *testing.T) (bridge, a, b *station) {
	t.Helper()
	bridge = newBridge(t)
	a, b = bridge.station("a", "10.0.0.1/24"), bridge.station("b", "10.0.0.2/24")
	a.elect(quick(150, "10.0.0.100/24"))
	b.elect(quick(100, "10.0.0.100/24"))
	expectMaster(t, a, b)
	a.moved()
	b.moved()
	return bridge, a, b
}

// expectMaster waits until one holds the address and the other does not.
func expectMaster(t *testing.T, master, other *station) {
	t.Helper()
	master.within(patience, master.name+" master", func() bool {
		return master.status().State == "master" && master.holds("10.0.0.100") && !other.holds("10.0.0.100")
	})
}
