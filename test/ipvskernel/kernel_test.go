// Package ipvskernel tests package ipvs on the kernel's own IPVS; ipvsadm says what
// is right.
package ipvskernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"lvsd/ipvs"
	"lvsd/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// TestOpenIsSilent comes first: moby/ipvs complains once in a process.
func TestOpenIsSilent(t *testing.T) {
	var log bytes.Buffer
	logrus.SetOutput(&log)
	t.Setenv("PATH", "/nonexistent") // there is no modprobe
	k, err := ipvs.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if log.Len() > 0 {
		t.Errorf("log: %s", &log)
	}
	if logrus.StandardLogger().Out != &log {
		t.Error("the standard logger of logrus writes elsewhere than before")
	}
}

var (
	web  = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 80, Protocol: ipvs.TCP}
	dns  = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 53, Protocol: ipvs.UDP}
	web6 = ipvs.Key{Address: netip.MustParseAddr("2001:db8::100"), Port: 80, Protocol: ipvs.TCP}
	dns6 = ipvs.Key{Address: netip.MustParseAddr("2001:db8::100"), Port: 53, Protocol: ipvs.UDP}
)

// newNamespace puts the test into a network namespace of its own.
func newNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// open opens IPVS in a network namespace of the test's own.
func open(t *testing.T) *ipvs.Linux {
	t.Helper()
	newNamespace(t)
	run(t, "ip", "link", "set", "lo", "up") // before, the kernel takes no address for a unicast one
	k, err := ipvs.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// run runs a command in the namespace of the test and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ipvsadm runs ipvsadm with the words of one command line.
func ipvsadm(t *testing.T, args string) {
	t.Helper()
	run(t, "ipvsadm", strings.Fields(args)...)
}

// printed returns what `ipvsadm -Ln` prints below its first line.
func printed(t *testing.T) string {
	t.Helper()
	_, text, _ := strings.Cut(run(t, "ipvsadm", "-Ln"), "\n")
	return text
}

func service(k ipvs.Key, scheduler string, destinations ...ipvs.Destination) ipvs.Service {
	return ipvs.Service{Key: k, Scheduler: scheduler, Destinations: destinations}
}

func persistent(s ipvs.Service, seconds, mask int) ipvs.Service {
	s.Persistence = time.Duration(seconds) * time.Second
	s.PersistenceMask = mask
	return s
}

func destination(address string, f ipvs.Forward, weight int) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddrPort(address), Forward: f, Weight: weight}
}

// everything is a table of all that lvsd can ask for.
func everything() ipvs.Table {
	all := ipvs.Key{Address: web.Address, Protocol: ipvs.UDP}
	https, https6 := web, web6
	https.Port, https6.Port = 443, 443
	return ipvs.Table{
		service(web, "wrr",
			destination("192.168.50.22:8080", ipvs.NAT, 65535),
			destination("192.168.50.22:80", ipvs.DR, 1),
			destination("192.168.50.9:80", ipvs.Tunnel, 0)),
		persistent(service(https, "sh", destination("192.168.50.22:443", ipvs.NAT, 1)), 300, 0),
		persistent(service(dns, "rr", destination("192.168.50.22:53", ipvs.NAT, 1)), 1, 24),
		persistent(service(all, "rr", destination("192.168.50.22:0", ipvs.NAT, 1)), 31*24*3600, 1),
		service(web6, "mh",
			destination("[2001:db8:1111:2222:3333:4444:5555:6666]:65535", ipvs.NAT, 1),
			destination("[2001:db8::22]:80", ipvs.Tunnel, 2),
			destination("[2001:db8::9]:80", ipvs.DR, 3)),
		persistent(service(https6, "wlc"), 300, 0),
		persistent(service(dns6, "lc", destination("[2001:db8::22]:53", ipvs.NAT, 1)), 300, 64),
	}
}

// mustApply makes all changes.
func mustApply(t *testing.T, k *ipvs.Linux, changes []ipvs.Change) {
	t.Helper()
	for _, c := range changes {
		var err error
		switch c.Kind {
		case ipvs.AddService:
			err = k.AddService(c.Service)
		case ipvs.UpdateService:
			err = k.UpdateService(c.Service)
		case ipvs.DeleteService:
			err = k.DeleteService(c.Key)
		case ipvs.AddDestination:
			err = k.AddDestination(c.Key, c.Destination)
		case ipvs.UpdateDestination:
			err = k.UpdateDestination(c.Key, c.Destination)
		case ipvs.DeleteDestination:
			err = k.DeleteDestination(c.Key, c.Destination)
		}
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
}

func mustList(t *testing.T, k *ipvs.Linux) ipvs.Table {
	t.Helper()
	table, err := k.List()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestKernelTakesAndReportsEverything(t *testing.T) {
	k := open(t)
	want := everything()
	mustApply(t, k, ipvs.Diff(want, nil, nil))

	got := mustList(t, k)
	if diff := cmp.Diff(printed(t), got.String()); diff != "" {
		t.Errorf("table (-ipvsadm +ours):\n%s", diff)
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if changes := ipvs.Diff(want, got, nil); len(changes) > 0 {
		t.Errorf("what was written reads differently: %v", changes)
	}

	// Everything is changed and in the end removed.
	next := everything()
	for i := range next {
		next[i].Scheduler = "lc"
		if next[i].Port != 0 {
			next[i] = persistent(next[i], 60*(i%2), 16*(i%2))
		}
		for j := range next[i].Destinations {
			d := &next[i].Destinations[j]
			d.Weight = 7
			if d.Address.Port() == next[i].Port {
				d.Forward = ipvs.DR
			}
		}
	}
	mustApply(t, k, ipvs.Diff(next, got, nil))
	if diff := cmp.Diff(next.String(), printed(t)); diff != "" {
		t.Errorf("table (-want +ipvsadm):\n%s", diff)
	}
	mustApply(t, k, ipvs.Diff(ipvs.Table{next[0]}, mustList(t, k), func(ipvs.Key) bool { return true }))
	for _, d := range next[0].Destinations {
		if err := k.DeleteDestination(next[0].Key, d); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(ipvs.Table{service(web, "lc")}.String(), printed(t)); diff != "" {
		t.Errorf("table (-want +ipvsadm):\n%s", diff)
	}
}

func TestKernelHasTheSchedulers(t *testing.T) {
	k := open(t)
	for _, name := range ipvs.Schedulers() {
		err := k.AddService(service(web, name))
		if errors.Is(err, ipvs.ErrNoScheduler) && name == "twos" {
			// Debian builds no twos.
			if !strings.Contains(err.Error(), "ip_vs_twos") || errors.Is(err, syscall.ENOENT) {
				t.Errorf("the error is %q", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := mustList(t, k); len(got) != 1 || got[0].Scheduler != name {
			t.Errorf("%s is listed as %v", name, got)
		}
		if err := k.DeleteService(web); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := k.AddService(service(web, "rr")); err != nil {
		t.Fatal(err)
	}
	if err := k.UpdateService(service(web, "twos")); !errors.Is(err, ipvs.ErrNoScheduler) {
		t.Errorf("UpdateService with a scheduler that is not there: %v", err)
	}
}

func TestCheckSchedulersLeavesNothing(t *testing.T) {
	k := open(t)
	if err := ipvs.CheckSchedulers([]string{"rr", "mh", "wlc"}); err != nil {
		t.Error(err)
	}
	err := ipvs.CheckSchedulers([]string{"rr", "twos"})
	if !errors.Is(err, ipvs.ErrNoScheduler) || !strings.Contains(err.Error(), "ip_vs_twos") {
		t.Errorf("twos, which Debian does not build: %v", err)
	}
	if err := k.AddService(service(web, "rr")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ipvs.Table{service(web, "rr")}.String(), printed(t)); diff != "" {
		t.Errorf("table (-want +ipvsadm):\n%s", diff)
	}
}

func TestKernelSaysThatOurPictureIsStale(t *testing.T) {
	k := open(t)
	d := destination("192.168.50.22:80", ipvs.NAT, 1)
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"update of no service", func() error { return k.UpdateService(service(web, "rr")) }, syscall.ESRCH},
		{"removal of no service", func() error { return k.DeleteService(web) }, syscall.ESRCH},
		{"destination to no service", func() error { return k.AddDestination(web, d) }, syscall.ESRCH},
		{"update of a destination of no service", func() error { return k.UpdateDestination(web, d) }, syscall.ESRCH},
		{"removal of a destination of no service", func() error { return k.DeleteDestination(web, d) }, syscall.ESRCH},
		{"service", func() error { return k.AddService(service(web, "rr")) }, nil},
		{"service again", func() error { return k.AddService(service(web, "rr")) }, syscall.EEXIST},
		{"update of no destination", func() error { return k.UpdateDestination(web, d) }, syscall.ENOENT},
		{"removal of no destination", func() error { return k.DeleteDestination(web, d) }, syscall.ENOENT},
		{"destination", func() error { return k.AddDestination(web, d) }, nil},
		{"destination again", func() error { return k.AddDestination(web, d) }, syscall.EEXIST},
	}
	for _, tt := range tests {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestKernelIsNotAskedForWhatItWouldGarble(t *testing.T) {
	k := open(t)
	if err := k.AddService(service(web6, "rr")); err != nil {
		t.Fatal(err)
	}
	if err := k.AddDestination(web6, destination("192.168.50.22:80", ipvs.Tunnel, 1)); err == nil {
		t.Error("an IPv4 real server is taken into an IPv6 service")
	}
	if got := mustList(t, k); len(got[0].Destinations) > 0 {
		t.Errorf("it is listed as\n%s", got)
	}
}

func TestReconcilerAndOthers(t *testing.T) {
	k := open(t)
	ipvsadm(t, "-A -f 7 -s rr") // a firewall mark
	ipvsadm(t, "-A --sctp-service 192.168.50.99:5000 -s rr")
	ipvsadm(t, "-A -u 192.168.50.99:5060 -s rr --ops")
	ipvsadm(t, "-A -t 192.168.50.100:80 -s rr") // will be wanted
	ipvsadm(t, "-a -t 192.168.50.100:80 -r 192.168.50.22:80 -m -w 3")
	foreign := []string{"FWM  7 rr", "SCTP 192.168.50.99:5000 rr", "UDP  192.168.50.99:5060 rr ops"}

	r, err := ipvs.NewReconciler(k, ipvs.Options{StateFile: filepath.Join(t.TempDir(), "ipvs.json")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	apply := func(table ipvs.Table) {
		t.Helper()
		r.Set(table)
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := r.Applied(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantForeign := func() {
		t.Helper()
		text := printed(t)
		for _, line := range foreign {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%q is missing in\n%s", line, text)
			}
		}
	}

	table := everything()
	apply(table)
	wantForeign()
	if changes := ipvs.Diff(table, listed(t, r), nil); len(changes) > 0 {
		t.Errorf("still differs: %v", changes)
	}

	// Somebody clears the table: ours is back within a second.
	ipvsadm(t, "-C")
	time.Sleep(time.Second)
	if diff := cmp.Diff(table.String(), printed(t)); diff != "" {
		t.Errorf("table a second after ipvsadm -C (-want +ipvsadm):\n%s", diff)
	}
	if n := r.Status().Repairs; n == 0 {
		t.Error("no repair is counted")
	}

	ipvsadm(t, "-A -f 7 -s rr")
	ipvsadm(t, "-A --sctp-service 192.168.50.99:5000 -s rr")
	ipvsadm(t, "-A -u 192.168.50.99:5060 -s rr --ops")
	if err := r.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	wantForeign()
	if n := strings.Count(printed(t), "\n"); n != 2+len(foreign) {
		t.Errorf("after Clear:\n%s", printed(t))
	}
}

func listed(t *testing.T, r *ipvs.Reconciler) ipvs.Table {
	t.Helper()
	table, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestLargeTable measures what the promise of a thousand services with ten real
// servers each comes down to in the kernel.
func TestLargeTable(t *testing.T) {
	k := open(t)
	var table ipvs.Table
	for i := range 1000 {
		key := ipvs.Key{Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80, Protocol: ipvs.TCP}
		s := service(key, "rr")
		for j := range 10 {
			s.Destinations = append(s.Destinations, destination(fmt.Sprintf("10.1.%d.%d:80", j, i%250+1), ipvs.NAT, 1))
		}
		table = append(table, s)
	}
	begin := time.Now()
	changes := ipvs.Diff(table, nil, nil)
	t.Logf("Diff of %d changes: %s", len(changes), time.Since(begin))
	begin = time.Now()
	mustApply(t, k, changes)
	t.Logf("applying %d changes: %s", len(changes), time.Since(begin))
	begin = time.Now()
	got := mustList(t, k)
	t.Logf("listing: %s", time.Since(begin))
	begin = time.Now()
	if changes := ipvs.Diff(table, got, nil); len(changes) > 0 {
		t.Errorf("%d changes are left", len(changes))
	}
	t.Logf("Diff of equal tables: %s", time.Since(begin))
}
