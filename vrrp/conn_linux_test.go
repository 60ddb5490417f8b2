package vrrp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"lvsd/vrrp"
)

// machine is a network namespace of its own.
type machine struct {
	t  *testing.T
	ns netns.NsHandle
}

// newMachine makes a namespace that ends with the test. It needs root; only a developer's run may go without.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("SKIPPED, NOTHING OF THE REAL KERNEL WAS TESTED: network namespaces need root")
	}
	m := &machine{t: t}
	locked(t, func() {
		var err error
		if m.ns, err = netns.New(); err != nil { // moves the thread there as well
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { m.ns.Close() })
	m.run("ip", "link", "set", "lo", "up")
	return m
}

// locked runs f on a thread that ends with it, whatever namespace f moved it to.
func locked(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread is not used again
		f()
	}()
	<-done
}

// in runs f in the namespace. Sockets that f opens and processes that it starts stay there.
func (m *machine) in(f func()) {
	m.t.Helper()
	locked(m.t, func() {
		if err := netns.Set(m.ns); err != nil {
			m.t.Error(err)
			return
		}
		f()
	})
}

// run runs a command in the namespace.
func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	var out []byte
	var err error
	m.in(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		m.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// cable connects eth0 of two new machines, with addresses .1 and .2 of 10.99.0.0/24.
func cable(t *testing.T) (a, b *machine) {
	t.Helper()
	a, b = newMachine(t), newMachine(t)
	a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(b.ns)))
	for i, m := range []*machine{a, b} {
		m.run("ip", "link", "set", "eth0", "up")
		m.run("ip", "addr", "add", fmt.Sprintf("10.99.0.%d/24", i+1), "dev", "eth0")
	}
	return a, b
}

// listen opens a VRRP socket on eth0.
func (m *machine) listen(virtual ...netip.Addr) (conn vrrp.Conn, err error) {
	m.in(func() { conn, err = vrrp.Listen("eth0", vrrp.IPv4, virtual...) })
	return conn, err
}

func (m *machine) mustListen() vrrp.Conn {
	m.t.Helper()
	conn, err := m.listen()
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

func TestConnSendsAsTheRFCAsks(t *testing.T) { // ENC-14
	a, b := cable(t)
	sender := a.mustListen()
	if sender.Source() != host(1) {
		t.Fatalf("source %s", sender.Source())
	}
	// A packet socket sees what is on the wire.
	var sniffer int
	var err error
	b.in(func() {
		if sniffer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP))); err == nil {
			err = unix.SetsockoptTimeval(sniffer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sniffer)
	payload, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: vips}.Marshal(host(1), group)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(sender.Source(), group, payload); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 2048)
	for n := 0; n < 34 || frame[23] != 112; { // the kernel reports the joined group, too
		if n, _, err = unix.Recvfrom(sniffer, frame[:2048], 0); err != nil {
			t.Fatalf("nothing on the wire: %v", err)
		}
		frame = frame[:n]
	}
	if !bytes.Equal(frame[:6], []byte{0x01, 0, 0x5e, 0, 0, 0x12}) {
		t.Errorf("Ethernet destination %x", frame[:6])
	}
	// The very bytes of keepalived, but for the identification and with it the header checksum.
	want := fmt.Sprintf("%x", goldenPacket(t, "v3_ipv4_mcast").Packet)
	ip := frame[14:]
	got := fmt.Sprintf("%x", ip)
	if got[:8] != want[:8] || got[12:20] != want[12:20] || got[24:] != want[24:] {
		t.Errorf("on the wire\n%s, want\n%s", got, want)
	}
	if sum := ipChecksum(ip[:20]); sum != 0xffff {
		t.Errorf("the header sums to %#x", sum)
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

func TestConnReceives(t *testing.T) { // RX-18, RX-36
	a, b := cable(t)
	receiver := a.mustListen()
	other := b.mustListen()
	for _, n := range []int{1, 2, 255} {
		var addresses []netip.Addr
		for i := range n {
			addresses = append(addresses, netip.AddrFrom4([4]byte{10, 98, 0, byte(i)}))
		}
		payload, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 150, Interval: time.Second, Addresses: addresses}.Marshal(host(2), group)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Send(other.Source(), group, payload); err != nil {
			t.Fatal(err)
		}
		p := receive(t, receiver)
		if p.Source != host(2) || p.Destination != group || p.TTL != 255 || !bytes.Equal(p.Payload, payload) {
			t.Errorf("received %+v", p)
		}
	}
	// With a TTL of 3, with options, and to our own address: the Link decides what to make of it.
	b.raw(host(2), group, 3, nil, []byte{1, 2, 3, 4})
	if p := receive(t, receiver); p.TTL != 3 || len(p.Payload) != 4 {
		t.Errorf("received %+v", p)
	}
	b.raw(host(2), group, 255, []byte{0x94, 4, 0, 0, 1, 1, 1, 1}, []byte{1, 2, 3, 4})
	if p := receive(t, receiver); p.TTL != 255 || !bytes.Equal(p.Payload, []byte{1, 2, 3, 4}) {
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

// What a socket hears is what came in on its interface, for its group, from others.
func TestConnHearsOnlyItsInterface(t *testing.T) {
	a, b := cable(t)
	a.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(b.ns)))
	for i, m := range []*machine{a, b} {
		m.run("ip", "link", "set", "eth1", "up")
		m.run("ip", "addr", "add", fmt.Sprintf("10.98.0.%d/24", i+1), "dev", "eth1")
	}
	receiver := a.mustListen()
	same := a.mustListen()
	var second, far vrrp.Conn
	a.in(func() { second, _ = vrrp.Listen("eth1", vrrp.IPv4) })
	b.in(func() { far, _ = vrrp.Listen("eth1", vrrp.IPv4) })
	if second == nil || far == nil {
		t.Fatal("no socket on eth1")
	}
	defer second.Close()
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
	other := b.mustListen()
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
	receiver, sender := a.mustListen(), b.mustListen()
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

// FLT-07: the last priority 0 leaves from an address that is gone already.
func TestConnSendsFromAnAddressThatWasDeleted(t *testing.T) {
	a, b := cable(t)
	sender, receiver := a.mustListen(), b.mustListen()
	a.run("ip", "addr", "del", "10.99.0.1/24", "dev", "eth0")
	if err := sender.Send(sender.Source(), group, []byte("12345678")); err != nil {
		t.Fatal(err)
	}
	if p := receive(t, receiver); p.Source != host(1) {
		t.Errorf("from %s", p.Source)
	}
	a.run("ip", "link", "set", "eth0", "down")
	if err := sender.Send(sender.Source(), group, []byte("12345678")); err == nil {
		t.Error("sent on an interface that is down")
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

func (m *machine) station(c vrrp.Config) *station {
	s := &station{transitions: make(chan vrrp.Transition, 100), logs: &logBuffer{}}
	s.link = vrrp.NewLink("eth0", func() (vrrp.Conn, error) { return m.listen(vips...) }, s.logs.logger())
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

// TMR-14: a crash at an interval of 100 ms costs three of them and the skew time.
func TestTakeoverOnTheRealKernel(t *testing.T) {
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

// keepalived is a real one in the machine, in front of the same virtual addresses.
func (m *machine) keepalived(priority int, interval string) (stop func(), log *logBuffer) {
	t := m.t
	t.Helper()
	path, err := exec.LookPath("keepalived")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("keepalived is not installed")
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED AGAINST KEEPALIVED: it is not installed")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "keepalived.conf")
	text := fmt.Sprintf(`global_defs {
    router_id peer
    vrrp_version 3
}
vrrp_instance VI {
    interface eth0
    state BACKUP
    virtual_router_id 51
    priority %d
    advert_int %s
    virtual_ipaddress {
        10.99.0.100/24
        10.99.0.101/24
    }
}
`, priority, interval)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log = &logBuffer{}
	cmd := exec.Command(path, "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file="+file,
		"--pid="+filepath.Join(dir, "keepalived.pid"), "--vrrp_pid="+filepath.Join(dir, "vrrp.pid"))
	cmd.Stdout, cmd.Stderr = log, log
	m.in(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
			defer kill.Stop()
			if err := cmd.Wait(); err != nil {
				t.Logf("keepalived: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop, log
}

// waitFor waits until a line of the log has this text.
func waitFor(t *testing.T, log *logBuffer, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(log.lines(text)) == 0; time.Sleep(10 * ms) {
		if time.Now().After(deadline) {
			t.Fatalf("keepalived never says %q:\n%s", text, strings.Join(log.lines(""), "\n"))
		}
	}
}

// quick is a configuration with an interval of 200 ms, as keepalived gets in these tests.
func quick(priority uint8) vrrp.Config {
	c := config(priority)
	c.Interval = 200 * ms
	return c
}

// IOP-01: the peer is the better one; its resignation is heard.
func TestKeepalivedAsMaster(t *testing.T) {
	a, b := cable(t)
	s := a.station(quick(100))
	stop, log := b.keepalived(150, "0.2")
	waitFor(t, log, "Entering MASTER STATE")
	for deadline := time.Now().Add(2 * time.Second); s.Status().Master != host(2); time.Sleep(10 * ms) {
		if time.Now().After(deadline) {
			t.Fatalf("keepalived is not heard: %+v", s.Status())
		}
	}
	if got := s.Status(); got.State != vrrp.Backup || got.MasterPriority != 150 || got.Counters.AddressMismatches != 0 || len(got.Counters.Dropped) != 0 {
		t.Errorf("status %+v", got)
	}
	for len(s.transitions) > 0 {
		<-s.transitions
	}
	begin := time.Now()
	stop()
	tr := s.await(t, vrrp.Master)
	if got, shortest := tr.Time.Sub(begin), vrrp.SkewTime(100, 200*ms); got < shortest || got > shortest+200*ms {
		t.Errorf("master %s after keepalived was told to stop, want %s", got, shortest)
	}
	if n := s.Status().Counters.PriorityZeroReceived; n == 0 {
		t.Error("no priority 0 received")
	}
}

// IOP-02: we are the better one; keepalived accepts our advertisements, yields, and takes over when we resign.
func TestKeepalivedAsBackup(t *testing.T) {
	a, b := cable(t)
	_, log := b.keepalived(100, "0.2")
	waitFor(t, log, "Entering MASTER STATE")
	s := a.station(quick(150))
	s.await(t, vrrp.Master)
	waitFor(t, log, "Master received advert from 10.99.0.1 with higher priority 150, ours 100")
	time.Sleep(time.Second) // longer than it would wait for a Master that it does not accept
	if got := s.Status(); got.State != vrrp.Master || len(got.Counters.Dropped) != 0 {
		t.Errorf("status %+v", got)
	}
	if got := log.lines("Entering MASTER STATE"); len(got) != 1 {
		t.Errorf("keepalived: %q", got)
	}
	for _, complaint := range []string{"nvalid", "expect", "mismatch", "not present", "WARNING"} {
		if got := log.lines(complaint); len(got) != 0 {
			t.Errorf("keepalived complains: %q", got)
		}
	}
	begin := time.Now()
	s.stop() // returns a linger after keepalived was heard
	shortest := vrrp.SkewTime(100, 200*ms) + 100*ms
	if got := time.Since(begin); got < shortest || got > 600*ms {
		t.Errorf("the hand-over took %s, want %s", got, shortest)
	}
	waitFor(t, log, "Sending/queueing gratuitous ARPs")
	if got := log.lines("Entering MASTER STATE"); len(got) != 2 {
		t.Errorf("keepalived: %q", log.lines(""))
	}
	if got := s.Status(); got.Master != host(2) || got.Counters.PriorityZeroSent == 0 {
		t.Errorf("status %+v", got)
	}
}
