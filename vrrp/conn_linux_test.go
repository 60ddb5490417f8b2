package vrrp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsd/vrrp"
)

// listen opens a VRRP socket of IPv4 on eth0.
func (m *machine) listen(virtual ...netip.Addr) (conn vrrp.Conn, err error) {
	return m.listenOn("eth0", vrrp.IPv4, virtual...)
}

func (m *machine) listenOn(ifname string, family vrrp.Family, virtual ...netip.Addr) (conn vrrp.Conn, err error) {
	m.in(func() { conn, err = vrrp.Listen(ifname, family, virtual...) })
	return conn, err
}

func (m *machine) mustListen(family vrrp.Family) vrrp.Conn {
	m.t.Helper()
	conn, err := m.listenOn("eth0", family)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// receive receives a packet, or fails after two seconds.
func receive(t *testing.T, conn vrrp.Conn) vrrp.Packet {
	t.Helper()
	guard := time.AfterFunc(2*time.Second, func() { conn.Close() })
	defer guard.Stop()
	p, err := conn.Receive()
	if err != nil {
		t.Fatalf("nothing received: %v", err)
	}
	return p
}

// raw sends an IP packet of protocol 112 from the namespace as a program with other manners would.
func (m *machine) raw(source, destination netip.Addr, ttl byte, options, payload []byte) {
	m.t.Helper()
	header := make([]byte, 20, 20+len(options)+len(payload))
	header[0] = byte(0x45 + len(options)/4)
	header[8], header[9] = ttl, 112
	copy(header[12:], source.AsSlice())
	copy(header[16:], destination.AsSlice())
	b := append(append(header, options...), payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	var err error
	m.in(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.BindToDevice(fd, "eth0"); err != nil {
			return
		}
		err = unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: destination.As4()})
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// What leaves the interface is what keepalived sends, to the byte, but for the identification of IPv4, and with it the
// checksum of the header, and for the flow label of IPv6.
func TestConnSendsAsTheRFCAsks(t *testing.T) {
	for _, tt := range []struct {
		name, golden       string
		family             vrrp.Family
		source, to         netip.Addr
		addresses          []netip.Addr
		ethernet           []byte // destination
		ignored            []int  // bytes of the IP header
		tos, ttl, protocol int    // where they are
	}{
		{"ENC-14 IPv4", "v3_ipv4_mcast", vrrp.IPv4, host(1), group, vips, []byte{0x01, 0, 0x5e, 0, 0, 0x12}, []int{4, 5, 10, 11}, 1, 8, 9},
		{"ENC-14 IPv6", "v3_ipv6_mcast", vrrp.IPv6, host6(1), group6, vips6, []byte{0x33, 0x33, 0, 0, 0, 0x12}, []int{1, 2, 3}, -1, 7, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := cable(t)
			sender := a.mustListen(tt.family)
			if sender.Source() != tt.source {
				t.Fatalf("source %s", sender.Source())
			}
			s := b.sniff()
			payload, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: tt.addresses}.Marshal(tt.source, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			if err := sender.Send(sender.Source(), tt.to, payload); err != nil {
				t.Fatal(err)
			}
			s.await(t, "advertisement", func(a advert) bool { return a.priority == 150 })
			s.stop()
			frame := s.frames[0]
			if !bytes.Equal(frame[:6], tt.ethernet) {
				t.Errorf("Ethernet destination %x", frame[:6])
			}
			got, want := frame[14:], goldenPacket(t, tt.golden).Packet
			if got[tt.ttl] != 255 || got[tt.protocol] != 112 || binary.BigEndian.Uint16(got)&0xff0 != 0xc00 && tt.family == vrrp.IPv6 || got[1] != 0xc0 && tt.family == vrrp.IPv4 {
				t.Errorf("IP header %x", got[:20])
			}
			if sum := ipChecksum(got[:20]); sum != 0xffff && tt.family == vrrp.IPv4 {
				t.Errorf("the header sums to %#x", sum)
			}
			for _, i := range tt.ignored {
				got[i], want[i] = 0, 0
			}
			if !bytes.Equal(got, want) {
				t.Errorf("on the wire\n%x, want\n%x", got, []byte(want))
			}
		})
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func ipChecksum(b []byte) uint32 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum>>16 + sum&0xffff
}

// packets sends IP packets to the group from eth0 of the machine, as Ethernet frames.
func (m *machine) packets(packets ...[]byte) {
	m.t.Helper()
	var err error
	m.in(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		for _, p := range packets {
			header := []byte{0x01, 0, 0x5e, 0, 0, 0x12, 0x02, 0, 0, 0, 0x99, 0x09, 0x08, 0x00}
			if p[0]>>4 == 6 {
				header = []byte{0x33, 0x33, 0, 0, 0, 0x12, 0x02, 0, 0, 0, 0x99, 0x09, 0x86, 0xdd}
			}
			if err = unix.Sendto(fd, append(header, p...), 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
				return
			}
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestConnReceives(t *testing.T) {
	a, b := cable(t)
	for _, tt := range []struct {
		family   vrrp.Family
		from, to netip.Addr
		address  func(i int) netip.Addr
		counts   []int
	}{
		{vrrp.IPv4, host(2), group, func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 98, 0, byte(i)}) }, []int{1, 2, 255}},
		{vrrp.IPv6, host6(2), group6, func(i int) netip.Addr { return global6(1000 + i) }, []int{1, 2, 90}},
	} {
		t.Run(tt.family.String(), func(t *testing.T) {
			receiver, other := a.mustListen(tt.family), b.mustListen(tt.family)
			for _, n := range tt.counts {
				var addresses []netip.Addr
				for i := range n {
					addresses = append(addresses, tt.address(i))
				}
				payload, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addresses}.Marshal(tt.from, tt.to)
				if err != nil {
					t.Fatal(err)
				}
				if err := other.Send(other.Source(), tt.to, payload); err != nil {
					t.Fatal(err)
				}
				p := receive(t, receiver)
				if p.Source != tt.from || p.Destination != tt.to || p.TTL != 255 || !bytes.Equal(p.Payload, payload) {
					t.Errorf("received %+v", p)
				}
			}
		})
	}
	receiver := a.mustListen(vrrp.IPv4)
	// With a TTL of 3, and to our own address: the Link decides what to make of it.
	b.raw(host(2), group, 3, nil, []byte{1, 2, 3, 4})
	if p := receive(t, receiver); p.TTL != 3 || len(p.Payload) != 4 {
		t.Errorf("received %+v", p)
	}
	b.raw(host(2), host(1), 255, nil, []byte{1, 2, 3, 4})
	if p := receive(t, receiver); p.Destination != host(1) {
		t.Errorf("received %+v", p)
	}
	if _, err := vrrp.Validate(vrrp.Packet{Source: host(2), Destination: host(1), TTL: 255}, host(1)); !errors.Is(err, vrrp.DropDestination) {
		t.Errorf("error %v", err)
	}
}

// The hop limit and the destination of an IPv6 packet come from the kernel, in ancillary data.
func TestConnReceivesTheHeaderOfIPv6(t *testing.T) {
	a, b := cable(t)
	receiver := a.mustListen(vrrp.IPv6)
	for _, name := range []string{"hop_limit_254", "hop_limit_1", "src_global", "src_is_vip", "valid"} {
		p := hostilePackets(t, "hostile_v3_ipv6")[name]
		b.packets(slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(p.Payload)), 112, byte(p.TTL)}, p.Source.AsSlice(), p.Destination.AsSlice(), p.Payload))
		if got := receive(t, receiver); got.Source != p.Source || got.Destination != group6 || got.TTL != p.TTL || !bytes.Equal(got.Payload, p.Payload) {
			t.Errorf("%s: received %+v, want %+v", name, got, p)
		}
	}
}

// What Ethernet pads a short frame with is not part of the packet, and options are not part of the message.
func TestConnReceivesUnusualPackets(t *testing.T) {
	t.Parallel()
	packets := make(map[string]hexBytes)
	for _, h := range readHostile(t) {
		if h.Capture == "hostile_v3_ipv4" {
			packets[h.Case] = h.Packet
		}
	}
	for _, tt := range []struct{ name, packet string }{
		{"RX-18", "ethernet_padding_only"},
		{"RX-36 NOP", "ip_options_nop"},
		{"RX-36 router alert", "ip_options_router_alert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := cable(t)
			s := a.station(quick(100))
			s.await(t, vrrp.Master)
			raw := packets[tt.packet]
			if raw[0] == 0x45 && len(raw) == int(raw[3]) {
				t.Fatalf("%x has neither options nor padding", []byte(raw))
			}
			b.packets(raw)
			if tr := s.await(t, vrrp.Backup); tr.Reason != "10.99.0.9 has priority 200" {
				t.Errorf("reason %q", tr.Reason)
			}
			if dropped := s.Status().Counters.Dropped; len(dropped) != 0 {
				t.Errorf("dropped %v", dropped)
			}
		})
	}
	// The rest of these never comes: the kernel waits for it, for some of them and for some time.
	t.Run("RX-37", func(t *testing.T) {
		a, b := cable(t)
		s := a.station(quick(100))
		s.await(t, vrrp.Master)
		before := s.Status()
		var fragments [][]byte
		for i := range 2000 {
			f := slices.Clone(packets["ip_fragment_mf"])
			binary.BigEndian.PutUint16(f[4:], uint16(i))
			f[10], f[11] = 0, 0
			binary.BigEndian.PutUint16(f[10:], ^uint16(ipChecksum(f[:20])))
			fragments = append(fragments, f)
		}
		b.packets(fragments...)
		time.Sleep(300 * ms)
		after := s.Status()
		if after.State != vrrp.Master || after.Counters.Received != 0 || len(after.Counters.Dropped) != 0 || after.Counters.Sent <= before.Counters.Sent {
			t.Errorf("%s, counters %+v", after.State, after.Counters)
		}
		stat := a.run("cat", "/proc/net/sockstat")
		var held, memory int
		if _, err := fmt.Sscanf(stat[strings.Index(stat, "FRAG:"):], "FRAG: inuse %d memory %d", &held, &memory); err != nil {
			t.Fatal(err)
		}
		if held == 0 || memory > 4<<20 {
			t.Errorf("the kernel holds %d fragments in %d bytes, want some in no more than 4 MiB", held, memory)
		}
	})
}

// An advertisement on one interface is nothing to the router with the same VRID on another one.
func TestSameVRIDOnTwoInterfaces(t *testing.T) {
	t.Parallel()
	t.Run("RX-15", func(t *testing.T) {
		a, b := cable(t)
		connect(a, b, "eth1")
		for i, m := range []*machine{a, b} {
			m.ip(fmt.Sprintf("address add 10.98.0.%d/24 dev eth1", i+1))
		}
		s0 := a.station(quick(100))
		s1 := a.stationOn("eth1", quick(100))
		s0.await(t, vrrp.Master)
		s1.await(t, vrrp.Master)
		other, err := b.listenOn("eth1", vrrp.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		p := forged(t, other.Source(), group, nil)
		if err := other.Send(p.Source, group, p.Payload); err != nil {
			t.Fatal(err)
		}
		s1.await(t, vrrp.Backup)
		if got := s0.Status(); got.State != vrrp.Master || got.Counters.Received != 0 || len(got.Counters.Dropped) != 0 {
			t.Errorf("on eth0: %+v", got)
		}
	})
}

// An IPv6 address is no source as long as the kernel checks whether it is alone; the router waits for that.
func TestTentativeAddressIsWaitedFor(t *testing.T) {
	t.Parallel()
	t.Run("FLT-11", func(t *testing.T) {
		a, b := newMachine(t), newMachine(t)
		connect(a, b, "eth0")
		b.ip(fmt.Sprintf("address add %s/64 dev eth0 nodad", host6(2)))
		a.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=1")
		sniffer := b.sniff()
		c := config6(255)
		c.Interval = 200 * ms
		s := a.station(c)
		a.ip(fmt.Sprintf("address add %s/64 dev eth0", host6(1)))
		s.link.Reopen()
		if _, err := a.listenOn("eth0", vrrp.IPv6); !errors.Is(err, vrrp.ErrNoAddress) {
			t.Errorf("while the address is tentative: %v", err)
		}
		s.await(t, vrrp.Fault)
		if got := s.Status(); got.Reason != "opening a VRRP socket on eth0: listening for VRRP over IPv6 on eth0: no address to send from" {
			t.Errorf("reason %q", got.Reason)
		}
		s.await(t, vrrp.Master) // an owner does not wait for anything else
		if first := sniffer.await(t, "advertisement", func(advert) bool { return true }); first.source != host6(1).String() || first.priority != 255 {
			t.Errorf("the first advertisement: %+v", first)
		}
	})
}

// What a socket hears is what came in on its interface, for its group, from others.
func TestConnHearsOnlyItsInterface(t *testing.T) {
	a, b := cable(t)
	connect(a, b, "eth1")
	for i, m := range []*machine{a, b} {
		m.ip(fmt.Sprintf("address add 10.98.0.%d/24 dev eth1", i+1))
	}
	receiver := a.mustListen(vrrp.IPv4)
	same := a.mustListen(vrrp.IPv4)
	second, err := a.listenOn("eth1", vrrp.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	far, err := b.listenOn("eth1", vrrp.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	send := func(c vrrp.Conn, text string) {
		t.Helper()
		if err := c.Send(c.Source(), group, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send(same, "own one.") // looped back to nobody
	send(far, "eth1 one")
	if err := far.Send(far.Source(), netip.MustParseAddr("10.98.0.1"), []byte("to eth1.")); err != nil {
		t.Fatal(err)
	}
	b.raw(host(2), netip.MustParseAddr("224.0.0.1"), 255, nil, []byte("to all.."))
	send(second, "eth1 two")
	other := b.mustListen(vrrp.IPv4)
	send(other, "eth0 one")
	if p := receive(t, receiver); string(p.Payload) != "eth0 one" {
		t.Errorf("eth0 hears %q", p.Payload)
	}
	if p := receive(t, second); string(p.Payload) != "eth1 one" {
		t.Errorf("eth1 hears %q", p.Payload)
	}
}

func TestConnPendingAndClose(t *testing.T) {
	a, b := cable(t)
	receiver, sender := a.mustListen(vrrp.IPv4), b.mustListen(vrrp.IPv4)
	if receiver.Pending() {
		t.Error("a new socket has a packet")
	}
	for range 2 {
		if err := sender.Send(sender.Source(), group, []byte("12345678")); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(2 * time.Second); !receiver.Pending(); {
		if time.Now().After(deadline) {
			t.Fatal("packets are not pending")
		}
	}
	receive(t, receiver)
	receive(t, receiver)
	if !receiver.Pending() {
		t.Error("the last packet is being worked on, but nothing is pending")
	}
	failed := make(chan error)
	go func() {
		_, err := receiver.Receive()
		failed <- err
	}()
	for deadline := time.Now().Add(2 * time.Second); receiver.Pending(); {
		if time.Now().After(deadline) {
			t.Fatal("packets are pending for ever")
		}
	}
	receiver.Close()
	select {
	case err := <-failed:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("Close does not end Receive")
	}
	if receiver.Pending() {
		t.Error("a closed socket has a packet")
	}
	if err := receiver.Send(receiver.Source(), group, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// A virtual address is never the source, whatever the kernel's list looks like.
func TestListenChoosesThePrimaryAddress(t *testing.T) {
	m := newMachine(t)
	if _, err := m.listen(); err == nil || !strings.Contains(err.Error(), "listening for VRRP on eth0") {
		t.Errorf("without the interface: %v", err)
	}
	m.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	m.run("ip", "link", "set", "eth0", "up")
	if _, err := m.listen(); !errors.Is(err, vrrp.ErrNoAddress) {
		t.Errorf("without an address: %v", err)
	}
	for _, step := range []struct {
		add     string
		virtual []netip.Addr
		want    netip.Addr // the zero one: none
	}{
		{add: "10.99.0.100/32", virtual: vips},
		{add: "10.99.0.100/32", want: vips[0]}, // the only one there is
		{add: "10.99.0.1/24", want: host(1)},
		{add: "10.99.0.101/24", virtual: vips, want: host(1)},
		{add: "10.98.0.1/24", want: host(1)},
	} {
		m.run("ip", "addr", "replace", step.add, "dev", "eth0")
		conn, err := m.listen(step.virtual...)
		if !step.want.IsValid() {
			if !errors.Is(err, vrrp.ErrNoAddress) {
				t.Errorf("after %s: %v", step.add, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("after %s: %v", step.add, err)
		}
		if conn.Source() != step.want {
			t.Errorf("after %s the source is %s, want %s", step.add, conn.Source(), step.want)
		}
		conn.Close()
	}
	// The real address was put on after a virtual one of the same network: then it is the secondary.
	m.run("ip", "addr", "flush", "dev", "eth0")
	m.run("ip", "addr", "add", "10.99.0.100/24", "dev", "eth0")
	m.run("ip", "addr", "add", "10.99.0.1/24", "dev", "eth0")
	conn, err := m.listen(vips...)
	if err != nil || conn.Source() != host(1) {
		t.Fatalf("source %v, %v", conn, err)
	}
	conn.Close()
}

// The last priority 0 leaves from an address that is gone already.
func TestConnSendsFromAnAddressThatWasDeleted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		family  vrrp.Family
		source  netip.Addr
		to      netip.Addr
		address string
	}{
		{"FLT-07 IPv4", vrrp.IPv4, host(1), group, host(1).String() + "/24"},
		{"FLT-07 IPv6", vrrp.IPv6, host6(1), group6, host6(1).String() + "/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := cable(t)
			sender, receiver := a.mustListen(tt.family), b.mustListen(tt.family)
			a.ip("address del " + tt.address + " dev eth0")
			if err := sender.Send(sender.Source(), tt.to, []byte("12345678")); err != nil {
				t.Fatal(err)
			}
			if p := receive(t, receiver); p.Source != tt.source {
				t.Errorf("from %s", p.Source)
			}
			a.ip("link set eth0 down")
			if err := sender.Send(sender.Source(), tt.to, []byte("12345678")); err == nil {
				t.Error("sent on an interface that is down")
			}
		})
	}
}

// station is an instance on a machine's eth0. The holder puts nothing on the interface.
type station struct {
	*vrrp.Instance
	link        *vrrp.Link
	transitions chan vrrp.Transition
	stop        func()
	logs        *logBuffer
}

func (m *machine) station(c vrrp.Config) *station { return m.stationOn("eth0", c) }

func (m *machine) stationOn(ifname string, c vrrp.Config) *station {
	s := &station{transitions: make(chan vrrp.Transition, 100), logs: &logBuffer{}}
	s.link = vrrp.NewLink(ifname, func() (vrrp.Conn, error) { return m.listenOn(ifname, c.Family(), c.Addresses...) }, s.logs.logger())
	s.Instance = vrrp.NewInstance(s.link, c, &holder{diary: &diary{}}, vrrp.Options{
		Name: "web", Log: s.logs.logger(), OnTransition: func(tr vrrp.Transition) { s.transitions <- tr },
	})
	ctx, stop := context.WithCancel(context.Background())
	linkCtx, stopLink := context.WithCancel(context.Background())
	var instance, link sync.WaitGroup
	link.Go(func() {
		if err := s.link.Run(linkCtx); err != nil {
			m.t.Error(err)
		}
	})
	instance.Go(func() {
		if err := s.Run(ctx); err != nil {
			m.t.Error(err)
		}
	})
	s.stop = func() {
		stop()
		instance.Wait()
		stopLink()
		link.Wait()
	}
	m.t.Cleanup(s.stop)
	return s
}

// await waits for a transition and returns it.
func (s *station) await(t *testing.T, to vrrp.State) vrrp.Transition {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case tr := <-s.transitions:
			if tr.To == to {
				return tr
			}
		case <-deadline:
			t.Fatalf("not %s within ten seconds, but %s", to, s.Status().State)
		}
	}
}

// A cable that is cut at an interval of 100 ms costs three of them and the skew time.
func TestTakeoverOnTheRealKernel(t *testing.T) {
	t.Parallel()
	a, b := cable(t)
	c := config(100)
	c.Interval = 100 * ms
	low := b.station(c)
	c.Priority = 150
	high := a.station(c)
	high.await(t, vrrp.Master)
	time.Sleep(500 * ms)
	if got := low.Status(); got.State != vrrp.Backup || got.Master != host(1) || got.MasterPriority != 150 {
		t.Fatalf("status of the lower %+v", got)
	}
	if got := high.Status(); got.State != vrrp.Master || got.Counters.SendErrors != 0 {
		t.Fatalf("status of the higher %+v", got)
	}
	for len(low.transitions) > 0 {
		<-low.transitions
	}
	begin := time.Now()
	a.run("ip", "link", "set", "eth0", "down")
	cut := time.Now()
	tr := low.await(t, vrrp.Master)
	// The cable was cut between begin and cut, up to an interval after the last advertisement. The machine may be busy.
	shortest := vrrp.MasterDownInterval(100, c.Interval) - c.Interval
	longest := vrrp.MasterDownInterval(100, c.Interval) + 100*ms
	if tr.Time.Sub(cut) > longest || tr.Time.Sub(begin) < shortest {
		t.Errorf("takeover between %s and %s after the cut, want %s to %s", tr.Time.Sub(cut), tr.Time.Sub(begin), shortest, longest)
	}
	if n := high.Status().Counters.SendErrors; n == 0 {
		t.Error("nothing was counted that could not be sent")
	}
}

// quick is a configuration with an interval of 200 ms.
func quick(priority uint8) vrrp.Config {
	c := config(priority)
	c.Interval = 200 * ms
	return c
}
