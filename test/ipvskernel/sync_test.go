package ipvskernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"lvsd/ipvs"
	"lvsd/test/lab"
)

// syncID is the group of directors of these tests.
const syncID = 7

// A pair is two directors with NAT between a client and real servers, which are one
// host. The addresses of the services and the gateway of the real servers are on
// the first.
type pair struct {
	*lab.Lab
	t *testing.T

	client, server *lab.Host
	a, b           *lab.Host
	table          ipvs.Table
}

var gateways = []string{"10.0.2.254/24", "2001:db8:2::fe/64"}

var compareAddrPort = gocmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

var (
	vip  = netip.MustParseAddr("10.0.1.100")
	vip6 = netip.MustParseAddr("2001:db8:1::100")
)

func newPair(t *testing.T) *pair {
	t.Helper()
	l := lab.New(t)
	p := &pair{Lab: l, t: t, client: l.Host("client"), server: l.Host("server"), a: l.Host("a"), b: l.Host("b")}
	front, back := l.Segment("front"), l.Segment("back")
	p.client.Connect(front, "eth0", "10.0.1.10/24", "2001:db8:1::10/64")
	p.server.Connect(back, "eth0", "10.0.2.22/24", "10.0.2.23/24", "2001:db8:2::22/64")
	for i, d := range []*lab.Host{p.a, p.b} {
		d.Connect(front, "eth0", fmt.Sprintf("10.0.1.3%d/24", i+1), fmt.Sprintf("2001:db8:1::3%d/64", i+1))
		d.Connect(back, "eth1", fmt.Sprintf("10.0.2.3%d/24", i+1), fmt.Sprintf("2001:db8:2::3%d/64", i+1))
		d.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	}
	p.server.Route("default", "10.0.2.254")
	p.server.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:2::fe")
	p.move(nil, p.a)

	key := func(a netip.Addr, port uint16, protocol ipvs.Protocol) ipvs.Key {
		return ipvs.Key{Address: a, Port: port, Protocol: protocol}
	}
	p.table = ipvs.Table{
		service(key(vip, 80, ipvs.TCP), "rr", destination("10.0.2.22:80", ipvs.NAT, 1)),
		persistent(service(key(vip, 81, ipvs.TCP), "rr",
			destination("10.0.2.22:81", ipvs.NAT, 1), destination("10.0.2.23:81", ipvs.NAT, 1)), 300, 24),
		service(key(vip, 53, ipvs.UDP), "rr", destination("10.0.2.22:53", ipvs.NAT, 1)),
		service(key(vip6, 80, ipvs.TCP), "rr", destination("[2001:db8:2::22]:80", ipvs.NAT, 1)),
	}
	for _, d := range []*lab.Host{p.a, p.b} {
		d.Do(func() {
			k, err := ipvs.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer k.Close()
			mustApply(t, k, ipvs.Diff(p.table, nil, nil))
		})
	}
	return p
}

// move takes the addresses of the services and the gateway from one director to
// another: first they are added, then everybody learns of it, then they are removed.
func (p *pair) move(from, to *lab.Host) {
	p.Helper()
	outside := []string{vip.String() + "/24", vip6.String() + "/64"}
	to.AddAddress("eth0", outside...)
	to.AddAddress("eth1", gateways...)
	if from == nil {
		return
	}
	for _, a := range outside {
		a, _, _ = strings.Cut(a, "/")
		p.client.Run("ip", "neigh", "replace", a, "lladdr", to.HardwareAddr("eth0").String(), "dev", "eth0")
	}
	for _, a := range gateways {
		a, _, _ = strings.Cut(a, "/")
		p.server.Run("ip", "neigh", "replace", a, "lladdr", to.HardwareAddr("eth1").String(), "dev", "eth0")
	}
	for i := range outside {
		from.DeleteAddress("eth0", outside[i])
		from.DeleteAddress("eth1", gateways[i])
	}
}

// sync runs f with the synchronisation of a director.
func (p *pair) sync(d *lab.Host, f func(s *ipvs.Sync) error) {
	p.Helper()
	d.Do(func() {
		s, err := ipvs.OpenSync()
		if err == nil {
			defer s.Close()
			err = f(s)
		}
		if err != nil {
			p.t.Errorf("%s: %v", d.Name, err)
		}
	})
}

// connections returns the connections of a director in a fixed order, with what is
// left of their lives or without.
func (p *pair) connections(d *lab.Host, expires bool) []ipvs.Connection {
	p.Helper()
	var all []ipvs.Connection
	var err error
	d.Do(func() { all, err = ipvs.ReadConnections(context.Background()) })
	if err != nil {
		p.Fatalf("%s: %v", d.Name, err)
	}
	for i := range all {
		if !expires {
			all[i].Expires = 0
		}
	}
	slices.SortFunc(all, func(a, b ipvs.Connection) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Virtual.Compare(b.Virtual), a.Client.Compare(b.Client))
	})
	return all
}

// send sends connections from a director.
func (p *pair) send(d *lab.Host, id uint8, connections []ipvs.Connection) {
	p.Helper()
	d.Do(func() {
		if err := ipvs.SendConnections(context.Background(), "eth1", id, connections); err != nil {
			p.t.Errorf("%s: %v", d.Name, err)
		}
	})
}

// drip writes an endless sequence, 100 bytes each millisecond.
func drip(c net.Conn) {
	defer c.Close()
	block := make([]byte, 100)
	n := byte(0)
	for {
		for i := range block {
			block[i] = n
			n++
		}
		if _, err := c.Write(block); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// serve accepts connections on an address of the server and gives them to handle.
func (p *pair) serve(address string, handle func(net.Conn)) {
	l := p.server.Listen(address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
}

// dial connects from the client.
func (p *pair) dial(network, address string) net.Conn {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := p.client.Dial(ctx, network, address)
	if err != nil {
		p.Fatalf("dialing %s: %v", address, err)
	}
	p.Cleanup(func() { c.Close() })
	return c
}

// expect reads n bytes of drip's sequence, of which next is the first.
func expect(t *testing.T, c net.Conn, next byte, n int) byte {
	t.Helper()
	b := make([]byte, n)
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if m, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("download from %s: %v after %d of %d bytes", c.RemoteAddr(), err, m, n)
	}
	for _, got := range b {
		if got != next {
			t.Fatalf("download from %s: byte %d, want %d", c.RemoteAddr(), got, next)
		}
		next++
	}
	return next
}

// TestConnectionsGoOnAtAnotherDirector is a planned hand-over without the kernel's
// own master daemon: whatever goes on afterwards, goes on because of what was sent.
func TestConnectionsGoOnAtAnotherDirector(t *testing.T) {
	p := newPair(t)
	p.serve("10.0.2.22:80", drip)
	p.serve("[2001:db8:2::22]:80", drip)
	for _, name := range []string{"10.0.2.22", "10.0.2.23"} {
		p.serve(name+":81", func(c net.Conn) {
			fmt.Fprintln(c, name)
			c.Close()
		})
	}
	p.sync(p.b, func(s *ipvs.Sync) error {
		return s.Ensure(ipvs.SyncDaemon{Role: ipvs.SyncBackup, Interface: "eth1", ID: syncID})
	})

	downloads := []net.Conn{p.dial("tcp", "10.0.1.100:80"), p.dial("tcp", "[2001:db8:1::100]:80")}
	next := make([]byte, len(downloads))
	for i, c := range downloads {
		next[i] = expect(t, c, 0, 10_000)
	}
	datagrams := p.dial("udp", "10.0.1.100:53")
	if _, err := datagrams.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	whoAnswers := func() string {
		b, err := io.ReadAll(p.dial("tcp", "10.0.1.100:81"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	persistently := whoAnswers()

	want := p.connections(p.a, false)
	var seen []string
	for _, c := range want {
		seen = append(seen, fmt.Sprint(c.Protocol, " ", c.Virtual, " ", c.State, " ", c.Template()))
	}
	if diff := gocmp.Diff([]string{
		"TCP 10.0.1.100:80 ESTABLISHED false",
		"TCP 10.0.1.100:81 ASSURED true",
		"TCP 10.0.1.100:81 FIN_WAIT false",
		"TCP [2001:db8:1::100]:80 ESTABLISHED false",
		"UDP 10.0.1.100:53 UDP false",
	}, seen); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	if got := p.connections(p.b, false); len(got) > 0 {
		t.Fatalf("the other director knows %v already", got)
	}
	counters := p.a.Run("ipvsadm", "-Ln")

	connections := p.connections(p.a, true)
	ipvs.RenewTemplates(connections, p.table)
	p.send(p.a, syncID+1, connections) // to other directors: not heard
	time.Sleep(100 * time.Millisecond)
	if got := p.connections(p.b, false); len(got) > 0 {
		t.Fatalf("the other director takes what is for others: %v", got)
	}
	p.send(p.a, syncID, connections)
	p.Eventually(5*time.Second, "the other director knows as many connections", func() bool {
		return len(p.connections(p.b, false)) == len(want)
	})
	if diff := gocmp.Diff(want, p.connections(p.b, false), compareAddrPort); diff != "" {
		t.Errorf("connections of both directors (-a +b):\n%s", diff)
	}
	for i, c := range p.connections(p.b, true) {
		if d := connections[i].Expires - c.Expires; d < 0 || d > 5*time.Second {
			t.Errorf("%v expires at the other director in %v, was sent with %v", c.Client, c.Expires, connections[i].Expires)
		}
	}
	if diff := gocmp.Diff(counters, p.b.Run("ipvsadm", "-Ln")); diff != "" {
		t.Errorf("tables of both directors (-a +b):\n%s", diff)
	}

	p.move(p.a, p.b)
	for i, c := range downloads {
		expect(t, c, next[i], 100_000)
	}
	// The scheduler of b has not sent anybody anywhere and would begin at its first
	// real server, then take the second.
	for range 3 {
		if got := whoAnswers(); got != persistently {
			t.Errorf("a persistent client is sent to %s, was at %s", got, persistently)
		}
	}
}

func TestManyConnectionsArrive(t *testing.T) {
	p := newPair(t)
	p.sync(p.b, func(s *ipvs.Sync) error {
		return s.Ensure(ipvs.SyncDaemon{Role: ipvs.SyncBackup, Interface: "eth1", ID: syncID})
	})
	const n = 10_000
	var connections []ipvs.Connection
	for i := range n {
		connections = append(connections, ipvs.Connection{
			Protocol:    ipvs.TCP,
			Client:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), uint16(1024+i)),
			Virtual:     netip.AddrPortFrom(vip, 80),
			Destination: netip.MustParseAddrPort("10.0.2.22:80"),
			State:       "ESTABLISHED",
			Expires:     900 * time.Second,
		})
	}
	begin := time.Now()
	p.send(p.a, syncID, connections)
	t.Logf("sending %d connections: %s", n, time.Since(begin))
	p.Eventually(10*time.Second, "all connections have arrived", func() bool {
		return strings.Contains(p.b.Run("ipvsadm", "-Ln"), "  -> 10.0.2.22:80                 Masq    1      10000      0         \n")
	})
	begin = time.Now()
	var arrived []ipvs.Connection
	p.b.Do(func() {
		var err error
		if arrived, err = ipvs.ReadConnections(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Logf("reading %d connections: %s", n, time.Since(begin))
	if len(arrived) != n {
		t.Errorf("%d connections have arrived, want %d", len(arrived), n)
	}

	// What is not sent any more when time is over is an error.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.a.Do(func() {
		if err := ipvs.SendConnections(ctx, "eth1", syncID, connections); !errors.Is(err, context.Canceled) {
			t.Errorf("SendConnections: %v", err)
		}
		if _, err := ipvs.ReadConnections(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ReadConnections: %v", err)
		}
		if err := ipvs.SendConnections(t.Context(), "eth7", syncID, connections); err == nil {
			t.Error("SendConnections sends on an interface that is not there")
		}
	})
}

// TestKernelAndWeSendTheSame shows that what SendConnections writes is what the master
// daemon of the kernel writes: both lead to the same entry.
func TestKernelAndWeSendTheSame(t *testing.T) {
	p := newPair(t)
	p.serve("10.0.2.22:80", drip)
	daemons := []ipvs.SyncDaemon{
		{Role: ipvs.SyncMaster, Interface: "eth1", ID: syncID},
		{Role: ipvs.SyncBackup, Interface: "eth1", ID: syncID},
	}
	for _, d := range []*lab.Host{p.a, p.b} {
		p.sync(d, func(s *ipvs.Sync) error { return s.Ensure(daemons...) })
		d.Do(func() {
			if _, err := ipvs.SetSysctl("sync_threshold", "1 50"); err != nil {
				t.Error(err)
			}
		})
	}
	expect(t, p.dial("tcp", "10.0.1.100:80"), 0, 10_000)
	p.Eventually(10*time.Second, "the kernel has sent the connection", func() bool {
		return len(p.connections(p.b, false)) == 1
	})
	kernel := p.connections(p.b, false)
	p.send(p.a, syncID, p.connections(p.a, true))
	time.Sleep(500 * time.Millisecond)
	if diff := gocmp.Diff(kernel, p.connections(p.b, false), compareAddrPort); diff != "" {
		t.Errorf("connections (-kernel +ours):\n%s", diff)
	}
	if got := p.b.Run("ipvsadm", "-Ln"); !strings.Contains(got, "  -> 10.0.2.22:80                 Masq    1      1          0         \n") {
		t.Errorf("table:\n%s", got)
	}
	// The sender's own backup daemon has heard neither its kernel nor us.
	if got := p.a.Run("cat", "/proc/net/snmp"); !strings.Contains(got, "\nUdp: 0 ") {
		t.Errorf("the sender has received datagrams:\n%s", got)
	}
}

func TestSyncDaemons(t *testing.T) {
	l := lab.New(t)
	h := l.Host("a")
	wire := l.Segment("wire")
	h.Connect(wire, "eth0", "10.0.1.1/24")
	h.Connect(wire, "eth1", "10.0.2.1/24")
	h.Do(func() {
		s, err := ipvs.OpenSync()
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		master := ipvs.SyncDaemon{Role: ipvs.SyncMaster, Interface: "eth0", ID: 7}
		backup := ipvs.SyncDaemon{Role: ipvs.SyncBackup, Interface: "eth0", ID: 7}
		long := backup
		long.Interface, long.MaxLength = "eth1", 1234
		otherID := master
		otherID.ID = 255

		for _, tt := range []struct {
			name string
			want []ipvs.SyncDaemon
			text string // what ipvsadm says
			kept bool   // the threads must be the same as before
		}{
			{"nothing runs", nil, "", false},
			{"both roles at once", []ipvs.SyncDaemon{master, backup}, "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\nbackup sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n", false},
			{"adopted", []ipvs.SyncDaemon{backup, master}, "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\nbackup sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n", true},
			{"replaced", []ipvs.SyncDaemon{otherID, long}, "master sync daemon (mcast=eth0, syncid=255, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\nbackup sync daemon (mcast=eth1, syncid=7, maxlen=1234, group=224.0.0.81, port=8848, ttl=1)\n", false},
			{"one stopped", []ipvs.SyncDaemon{long}, "backup sync daemon (mcast=eth1, syncid=7, maxlen=1234, group=224.0.0.81, port=8848, ttl=1)\n", false},
			{"length given up", []ipvs.SyncDaemon{backup}, "backup sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n", false},
			{"all stopped", nil, "", false},
		} {
			before := syncThreads(t)
			if err := s.Ensure(tt.want...); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if diff := gocmp.Diff(tt.text, run(t, "ipvsadm", "-Ln", "--daemon")); diff != "" {
				t.Errorf("%s (-want +ipvsadm):\n%s", tt.name, diff)
			}
			if after := syncThreads(t); tt.kept && !slices.Equal(before, after) {
				t.Errorf("%s: threads %v before, %v after", tt.name, before, after)
			}
		}

		// Somebody else's group is no good.
		run(t, "ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth0", "--syncid", "7", "--mcast-group", "224.0.0.99")
		daemons, err := s.Daemons()
		if err != nil || len(daemons) != 1 || daemons[0].Group != netip.MustParseAddr("224.0.0.99") || daemons[0].Port != 8848 {
			t.Errorf("Daemons: %+v, %v", daemons, err)
		}
		if err := s.Ensure(backup); err != nil {
			t.Error(err)
		}
		if text := run(t, "ipvsadm", "-Ln", "--daemon"); !strings.Contains(text, "group=224.0.0.81") {
			t.Errorf("ipvsadm says %s", text)
		}

		if err := s.Start(backup); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("starting what runs: %v", err)
		}
		if err := s.Stop(ipvs.SyncMaster); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("stopping what does not run: %v", err)
		}
		nowhere := master
		nowhere.Interface = "eth7"
		if err := s.Ensure(nowhere); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("an interface that is not there: %v", err)
		}
		if err := s.Ensure(); err != nil {
			t.Error(err)
		}
	})
}

// syncThreads returns the process numbers of the kernel's sync threads.
func syncThreads(t *testing.T) []string {
	t.Helper()
	folders, err := os.ReadDir("/proc")
	if err != nil {
		t.Error(err)
	}
	var threads []string
	for _, f := range folders {
		name, err := os.ReadFile("/proc/" + f.Name() + "/comm")
		if err == nil && (strings.HasPrefix(string(name), "ipvs-m:") || strings.HasPrefix(string(name), "ipvs-b:")) {
			threads = append(threads, f.Name())
		}
	}
	return threads
}

func TestSetSysctl(t *testing.T) {
	open(t)
	previous, err := ipvs.SetSysctl("sync_threshold", "1 50")
	if err != nil || previous != "3 50" {
		t.Errorf("SetSysctl: %q, %v", previous, err)
	}
	if got := run(t, "sysctl", "-n", "net.ipv4.vs.sync_threshold"); got != "1\t50\n" {
		t.Errorf("sysctl says %q", got)
	}
	if previous, err = ipvs.SetSysctl("sync_threshold", previous); err != nil || previous != "1 50" {
		t.Errorf("SetSysctl: %q, %v", previous, err)
	}
	for _, name := range []string{"no_such_setting", "../ip_forward", "..", "", "/etc/passwd"} {
		if _, err := ipvs.SetSysctl(name, "1"); err == nil {
			t.Errorf("SetSysctl sets %q", name)
		}
	}
	if _, err := ipvs.SetSysctl("sync_threshold", "some 50"); err == nil {
		t.Error("SetSysctl sets what the kernel does not take")
	}
}
