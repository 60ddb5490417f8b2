package vip_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// itself is this process as RemovedBy calls it.
func itself() string {
	name := filepath.Base(os.Args[0])
	return fmt.Sprintf("%s (pid %d)", name[:min(len(name), 15)], os.Getpid())
}

func TestWhoRemovedAnAddressIsSaid(t *testing.T) {
	h, _ := pair(t)
	h.sysctl("ipv6/conf/eth0/accept_dad", "0")
	a := viptest.Addresses("eth0", "10.0.0.100/24", "2001:db8::100/64")
	// The handle of h was first to be opened here and has the process id for its
	// port; this one has not.
	second, err := netlink.NewHandleAt(h.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()

	log := &logbook{}
	repaired := make(chan []vip.Address, 10)
	r := h.keep(vip.Options{Period: time.Hour, Log: log.logger(), Repaired: func(a []vip.Address) { repaired <- a }})
	h.apply(r, vip.Desired{Held: a})
	byCommand := func() []string {
		h.Helper()
		var command *exec.Cmd
		h.do(func() error {
			command = exec.Command("ip", "addr", "del", "10.0.0.100/24", "dev", "eth0")
			return command.Run()
		})
		pid := command.ProcessState.Pid()
		return []string{fmt.Sprintf("removed by ip (pid %d)", pid), fmt.Sprintf("removed by a process that has ended (pid %d)", pid)}
	}
	for _, tt := range []struct {
		name    string
		address vip.Address
		remove  func() (want []string)
	}{
		{"a command", a[0], byCommand},
		{"a daemon", a[0], func() []string { h.take(a[0]); return []string{"removed by " + itself()} }},
		{"the second socket of a daemon", a[0], func() []string {
			h.set("eth0", func(l netlink.Link) error { return second.AddrDel(l, &netlink.Addr{IPNet: ipNet(a[0].Prefix)}) })
			return []string{"removed by " + itself()}
		}},
		{"nobody knows, for IPv6", a[1], func() []string { h.take(a[1]); return []string{"was missing"} }},
		{"the kernel", a[1], func() []string {
			h.set("eth0", h.LinkSetDown)
			h.set("eth0", h.LinkSetUp)
			return []string{"was missing"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A look that is under way may find the address missing before the event
			// about it has been read.
			time.Sleep(50 * time.Millisecond)
			before := r.Status().Repairs
			want := tt.remove()
			select {
			case <-repaired:
			case <-time.After(5 * time.Second):
				t.Fatal("not put back")
			}
			h.within(time.Second, "status", func() bool { return r.Status().Repairs > before })
			lines := log.lines("put back")
			line := lines[len(lines)-1]
			got := r.Status().Repaired[tt.address].Differed
			said := false
			for _, w := range want {
				said = said || strings.Contains(line, fmt.Sprintf("differed=%q", w)) && got == w
			}
			if !said {
				t.Errorf("logged %q, status %q, want %q", line, got, want)
			}
		})
	}
}

// A removal is forgotten when the address is back, and is nobody's after its
// process and socket are gone.
func TestRemovalIsForgottenWhenTheAddressIsBack(t *testing.T) {
	h, _ := pair(t)
	a := viptest.Addresses("eth0", "10.0.0.100/32", "10.0.0.101/32")
	linux := h.open()
	<-h.watch(linux) // it listens
	third, err := netlink.NewHandleAt(h.ns)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(handle *netlink.Handle, a vip.Address) {
		h.set(a.Interface, func(l netlink.Link) error { return handle.AddrDel(l, &netlink.Addr{IPNet: ipNet(a.Prefix)}) })
	}
	removedBy := func(a vip.Address) (who string) {
		h.do(func() error { who = linux.RemovedBy(a); return nil })
		return who
	}
	h.put(a[0])
	h.put(a[1])
	if _, err := linux.Addresses(); err != nil {
		t.Fatal(err)
	}
	remove(third, a[0])
	remove(third, a[1])
	third.Close()
	h.within(time.Second, "heard", func() bool { return removedBy(a[1]) != "" })
	for _, a := range a {
		if got := removedBy(a); !regexp.MustCompile(`^a process that has ended \(netlink port [0-9]{7,10}\)$`).MatchString(got) {
			t.Errorf("%s removed by %q", a, got)
		}
	}
	h.put(a[0])
	h.within(time.Second, "heard", func() bool { return removedBy(a[0]) == "" })
	if got := removedBy(a[1]); got == "" {
		t.Error("the other one is forgotten too")
	}
	if got := removedBy(vip.Address{Interface: "eth7", Prefix: a[1].Prefix}); got != "" {
		t.Errorf("on an interface that is not there: %q", got)
	}
}
