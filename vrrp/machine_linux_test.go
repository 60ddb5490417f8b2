package vrrp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
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

// ip runs commands of ip in the namespace.
func (m *machine) ip(commands ...string) {
	m.t.Helper()
	var out []byte
	var err error
	m.in(func() {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(commands, "\n"), err, out)
	}
}

// cable connects eth0 of two new machines, with the addresses .1 and .2 of all networks.
func cable(t *testing.T) (a, b *machine) {
	t.Helper()
	a, b = newMachine(t), newMachine(t)
	connect(a, b, "eth0")
	for i, m := range []*machine{a, b} {
		m.ip(
			fmt.Sprintf("address add %s/24 dev eth0", host(i+1)),
			fmt.Sprintf("address add %s/64 dev eth0 nodad", host6(i+1)),
			fmt.Sprintf("address add %s/64 dev eth0 nodad", global6(i+1)),
		)
	}
	return a, b
}

// connect lays a cable between interfaces of this name, which are up then and have no addresses.
func connect(a, b *machine, name string) {
	a.t.Helper()
	a.ip(fmt.Sprintf("link add %s type veth peer name %s netns /proc/%d/fd/%d", name, name, os.Getpid(), int(b.ns)))
	for _, m := range []*machine{a, b} {
		m.ip("link set "+name+" addrgenmode none", "link set "+name+" up")
	}
}

// advert is an advertisement as it was on the wire.
type advert struct {
	at       time.Time // by the clock of the kernel
	source   string
	priority uint8
}

// sniffer records the advertisements on eth0 of a machine, in both directions.
type sniffer struct {
	fd   int
	done chan struct{}
	read sync.WaitGroup

	mu      sync.Mutex
	adverts []advert
	frames  [][]byte
}

func (m *machine) sniff() *sniffer {
	m.t.Helper()
	s := &sniffer{done: make(chan struct{})}
	var err error
	m.in(func() {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL))); err != nil {
			return
		}
		if err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return
		}
		err = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000})
	})
	if err != nil {
		m.t.Fatal(err)
	}
	s.read.Go(func() { s.run(m.t) })
	m.t.Cleanup(s.stop)
	return s
}

func (s *sniffer) stop() {
	select {
	case <-s.done:
	default:
		close(s.done)
		s.read.Wait()
		unix.Close(s.fd)
	}
}

func (s *sniffer) run(t *testing.T) {
	frame, control := make([]byte, 2048), make([]byte, 128)
	for {
		select {
		case <-s.done:
			return
		default:
		}
		n, c, _, _, err := unix.Recvmsg(s.fd, frame, control, 0)
		switch err {
		case nil:
		case unix.EAGAIN, unix.EINTR:
			continue
		default:
			t.Errorf("sniffing: %v", err)
			return
		}
		f := slices.Clone(frame[:n])
		var a advert
		switch {
		case n >= 37 && f[12] == 0x08 && f[13] == 0 && f[14] == 0x45 && f[23] == 112:
			a.source, a.priority = netip.AddrFrom4([4]byte(f[26:30])).String(), f[36]
		case n >= 57 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 112:
			a.source, a.priority = netip.AddrFrom16([16]byte(f[22:38])).String(), f[56]
		default:
			continue
		}
		messages, err := unix.ParseSocketControlMessage(control[:c])
		if err != nil || len(messages) == 0 || len(messages[0].Data) < int(unsafe.Sizeof(unix.Timespec{})) {
			t.Errorf("a packet without a time: %v", err)
			return
		}
		a.at = time.Unix((*unix.Timespec)(unsafe.Pointer(&messages[0].Data[0])).Unix())
		s.mu.Lock()
		s.adverts, s.frames = append(s.adverts, a), append(s.frames, f)
		s.mu.Unlock()
	}
}

// heard returns what was recorded until now.
func (s *sniffer) heard() []advert {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.adverts)
}

// await waits until a recorded advertisement fits, and returns the first one.
func (s *sniffer) await(t *testing.T, what string, fits func(a advert) bool) advert {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		heard := s.heard()
		if i := slices.IndexFunc(heard, fits); i >= 0 {
			return heard[i]
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s on the wire within 20 seconds: %s", what, chronicle(heard))
		}
	}
}

// reigns is who was Master, one after the other, by what was on the wire. The last words of a router that another one has
// just replaced are none, nor are resignations.
func reigns(adverts []advert) []string {
	var names []string
	var since time.Time
	for _, a := range adverts {
		if a.priority == 0 {
			continue
		}
		if n := len(names); n == 0 || names[n-1] != a.source {
			if n > 1 && names[n-2] == a.source && a.at.Sub(since) < trip {
				continue
			}
			names, since = append(names, a.source), a.at
		}
	}
	return names
}

// trip is more time than an advertisement is under way, with the time that a busy machine takes to see it.
const trip = 50 * time.Millisecond

// chronicle tells it in a line each.
func chronicle(adverts []advert) string {
	var b strings.Builder
	for _, a := range adverts {
		fmt.Fprintf(&b, "\n\t%8.3f %s %d", a.at.Sub(adverts[0].at).Seconds(), a.source, a.priority)
	}
	return b.String()
}
