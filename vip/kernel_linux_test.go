package vip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// pair returns a director with an interface eth0, and the host at its other end,
// where it is called eth0 too.
func pair(t *testing.T) (director, neighbour *host) {
	t.Helper()
	director, neighbour = newHost(t), newHost(t)
	director.veth("eth0", neighbour, "eth0")
	return director, neighbour
}

// watch runs Watch on a host until the test ends, and returns what it wakes.
func (h *host) watch(linux *vip.Linux) <-chan struct{} {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	wake := make(chan struct{}, 1)
	watching := h.start(func() error {
		return linux.Watch(ctx, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	})
	h.Cleanup(func() {
		cancel()
		if err := watching(); err != nil {
			h.Error(err)
		}
	})
	return wake
}

// keep runs a Reconciler and Watch on a host until the test ends.
func (h *host) keep(o vip.Options) *vip.Reconciler {
	h.Helper()
	linux := h.open()
	r, err := vip.NewReconciler(linux, o)
	if err != nil {
		h.Fatal(err)
	}
	wake := h.watch(linux)
	ctx, cancel := context.WithCancel(context.Background())
	running := h.start(func() error { return r.Run(ctx, wake) })
	h.Cleanup(func() {
		cancel()
		if err := running(); err != nil {
			h.Error(err)
		}
	})
	return r
}

func TestKernelAddsAndDeletes(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	for _, a := range viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.100/32", "10.0.0.101/31", "10.0.0.102/8", "2001:db8::100/64", "2001:db8::101/128", "fe80::99:100/64") {
		t.Run(a.Prefix.String(), func(t *testing.T) {
			// Once with what a list has left behind, and once without.
			for _, listed := range []bool{false, true} {
				if have, err := linux.Addresses(); listed && (err != nil || slices.Contains(have, vip.Entry{Address: a})) {
					t.Fatalf("before: %v, %v", have, err)
				}
				if err := linux.Add(a, vip.Attributes{}); err != nil {
					t.Fatal(err)
				}
				have, err := linux.Addresses()
				if err != nil || !slices.Contains(have, vip.Entry{Address: a}) {
					t.Errorf("after adding: %v, %v", have, err)
				}
				if err := linux.Add(a, vip.Attributes{}); !errors.Is(err, syscall.EEXIST) {
					t.Errorf("adding again: %v", err)
				}
				if !a.Prefix.Addr().IsLinkLocalUnicast() {
					checkAttributes(t, h.addresses("eth0")[a.Prefix])
				}
				h.do(func() error { return linux.Delete(a) })
				h.do(func() error {
					if err := linux.Delete(a); !errors.Is(err, syscall.EADDRNOTAVAIL) {
						return fmt.Errorf("deleting again: %w", err)
					}
					return nil
				})
				if have, err := linux.Addresses(); err != nil || slices.Contains(have, vip.Entry{Address: a}) {
					t.Errorf("after deleting: %v, %v", have, err)
				}
			}
		})
	}
}

// For ever, usable at once, never a source by accident where there is a choice
// (IPv6), and without a broadcast address.
func checkAttributes(t *testing.T, a netlink.Addr) {
	t.Helper()
	preferred, flags := uint32(math.MaxUint32), unix.IFA_F_PERMANENT
	if a.IP.To4() == nil {
		preferred, flags = 0, unix.IFA_F_PERMANENT|unix.IFA_F_NODAD|unix.IFA_F_DEPRECATED
	}
	if uint32(a.ValidLft) != math.MaxUint32 || uint32(a.PreferedLft) != preferred {
		t.Errorf("%s: lifetimes %d, %d", a, a.ValidLft, a.PreferedLft)
	}
	if a.Flags&^unix.IFA_F_SECONDARY != flags {
		t.Errorf("%s: flags %#x, want %#x", a, a.Flags, flags)
	}
	if a.Broadcast != nil {
		t.Errorf("%s: broadcast address %s", a, a.Broadcast)
	}
}

func TestKernelWithoutTheInterface(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	a := viptest.Addresses("eth0", "10.0.0.100/24")[0]
	if _, err := linux.Addresses(); err != nil { // now it remembers eth0's index
		t.Fatal(err)
	}
	h.set("eth0", h.LinkDel)
	h.do(func() error {
		for what, err := range map[string]error{
			"listed":          linux.Add(a, vip.Attributes{}),
			"listed, delete":  linux.Delete(a),
			"never there":     linux.Add(vip.Address{Interface: "eth7", Prefix: a.Prefix}, vip.Attributes{}),
			"never there, -d": linux.Delete(vip.Address{Interface: "eth7", Prefix: a.Prefix}),
		} {
			if !errors.Is(err, vip.ErrNoLink) {
				t.Errorf("%s: %v", what, err)
			}
		}
		return nil
	})
	if _, err := linux.Link("eth0"); !errors.Is(err, vip.ErrNoLink) || err.Error() != "no such interface: eth0" {
		t.Errorf("Link: %v", err)
	}
}

func TestKernelWithIPv6Disabled(t *testing.T) {
	h, _ := pair(t)
	h.sysctl("ipv6/conf/eth0/disable_ipv6", "1")
	err := h.open().Add(viptest.Addresses("eth0", "2001:db8::100/64")[0], vip.Attributes{})
	if err == nil || err.Error() != "IPv6 is disabled there: permission denied" {
		t.Errorf("adding: %v", err)
	}
}

// What an interrupted list has found is a part, and never used.
func TestInterruptedListIsAskedForAgain(t *testing.T) {
	for _, tt := range []struct {
		interrupted int
		want        []int
	}{{0, []int{1, 2}}, {1, []int{1, 2}}, {9, []int{1, 2}}, {10, nil}} {
		tries := 0
		got, err := vip.Dump(func() ([]int, error) {
			tries++
			if tries <= tt.interrupted {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, nil
		})
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("interrupted %d times: %v, %v", tt.interrupted, got, err)
		}
	}
	tries := 0
	if got, err := vip.Dump(func() ([]int, error) { tries++; return []int{1}, unix.ENOBUFS }); got != nil || !errors.Is(err, unix.ENOBUFS) || tries != 1 {
		t.Errorf("another error: %v, %v after %d tries", got, err, tries)
	}
}

func TestLinkIsDescribed(t *testing.T) {
	h, n := pair(t)
	linux := h.open()
	h.put(viptest.Addresses("eth0", "10.0.0.31/24")[0])
	link := func(name string) (l vip.Link) {
		t.Helper()
		h.do(func() (err error) {
			l, err = linux.Link(name)
			return err
		})
		return l
	}
	h.within(5*time.Second, "carrier", func() bool { return link("eth0").Carrier })
	l := link("eth0")
	if l.Name != "eth0" || l.Index < 2 || !bytes.Equal(l.HardwareAddr, h.mac("eth0")) || l.MTU != 1500 || !l.Up || l.NoARP || l.Router {
		t.Errorf("link %+v", l)
	}
	if want := netip.MustParsePrefix("10.0.0.31/24"); !slices.Contains(l.Addresses, want) || slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().IsLoopback() }) {
		t.Errorf("addresses %v", l.Addresses)
	}
	if !link("lo").NoARP {
		t.Error("ARP is spoken on lo")
	}

	n.set("eth0", n.LinkSetDown)
	h.within(5*time.Second, "no carrier", func() bool { return !link("eth0").Carrier })
	if !link("eth0").Up {
		t.Error("not up")
	}
	h.set("eth0", h.LinkSetDown)
	if link("eth0").Up {
		t.Error("up")
	}
	h.set("eth0", h.LinkSetARPOff)
	h.sysctl("ipv6/conf/eth0/forwarding", "1")
	if l := link("eth0"); !l.NoARP || !l.Router {
		t.Errorf("link %+v", l)
	}

	h.set("eth0", func(l netlink.Link) error { return h.LinkAddAltName(l, "uplink") })
	if _, err := linux.Link("uplink"); !errors.Is(err, vip.ErrNoLink) || !strings.Contains(err.Error(), "alternative name of eth0") {
		t.Errorf("by its alternative name: %v", err)
	}
}

// An IPv6 address is an address of the interface once nobody else has it.
func TestTentativeAddressIsNotListed(t *testing.T) {
	t.Run("FLT-11", func(t *testing.T) {
		h, _ := pair(t)
		linux := h.open()
		a := viptest.Addresses("eth0", "2001:db8::31/64")[0]
		listed := func() bool {
			l, err := linux.Link("eth0")
			if err != nil {
				t.Fatal(err)
			}
			return slices.Contains(l.Addresses, a.Prefix)
		}
		wake := h.watch(linux)
		h.put(a)
		if listed() {
			t.Error("listed while tentative")
		}
		for deadline := time.After(10 * time.Second); !listed(); {
			select {
			case <-wake:
			case <-deadline:
				t.Fatal("no event after which it is listed")
			}
		}
		if h.addresses("eth0")[a.Prefix].Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Error("listed while tentative")
		}
	})
}

// The kernel drops every address of a subnet with the first one, unless told
// otherwise: the director's own must not go with a virtual one.
func TestDeletingTheFirstAddressKeepsTheOthers(t *testing.T) {
	vip1 := viptest.Addresses("eth0", "10.0.0.100/24")[0]
	foreign := viptest.Addresses("eth0", "10.0.0.31/24", "10.0.0.32/24")
	setup := func(t *testing.T) (*host, *vip.Linux) {
		h, _ := pair(t)
		h.sysctl("ipv4/conf/all/promote_secondaries", "0")
		h.sysctl("ipv4/conf/eth0/promote_secondaries", "0")
		h.put(vip1)
		h.put(foreign[0])
		h.put(foreign[1])
		return h, h.open()
	}
	t.Run("told otherwise", func(t *testing.T) {
		h, linux := setup(t)
		h.do(func() error { return linux.Delete(vip1) })
		if h.has(vip1) || !h.has(foreign...) {
			t.Errorf("left: %v", h.addresses("eth0"))
		}
	})
	t.Run("deaf kernel", func(t *testing.T) {
		h, linux := setup(t)
		linux.SetSysctl(t.TempDir())
		h.do(func() error {
			err := linux.Delete(vip1)
			const words = "the kernel would remove 10.0.0.31/24 on eth0, 10.0.0.32/24 on eth0 as well: net.ipv4.conf.eth0.promote_secondaries is off and cannot be set: "
			if err == nil || !strings.HasPrefix(err.Error(), words) {
				return fmt.Errorf("deleting: %w", err)
			}
			// One that takes none along may go.
			return linux.Delete(foreign[0])
		})
		if !h.has(vip1, foreign[1]) || h.has(foreign[0]) {
			t.Errorf("left: %v", h.addresses("eth0"))
		}
	})
}

// A list that changes while the kernel writes it is asked for again, and never
// taken for the whole.
func TestListIsCompleteWhileAddressesChange(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	ours := numbered("eth0", 500)
	for _, a := range ours {
		if err := linux.Add(a, vip.Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	other := viptest.Addresses("lo", "172.16.0.1/32")[0]
	churning := h.start(func() error {
		for ctx.Err() == nil {
			h.put(other)
			h.take(other)
		}
		return nil
	})
	lists, interrupted := 0, 0
	for range 50 {
		have, err := linux.Addresses()
		if err != nil {
			if !errors.Is(err, netlink.ErrDumpInterrupted) {
				t.Fatal(err)
			}
			interrupted++
			continue
		}
		lists++
		if add, _, _ := vip.Diff(vip.Desired{Held: ours}, nil, have); len(add) > 0 {
			t.Fatalf("%d of %d addresses are not in the list", len(add), len(ours))
		}
	}
	cancel()
	if err := churning(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lists, %d given up as interrupted", lists, interrupted)
	if lists == 0 {
		t.Error("no list was complete")
	}
}

// The default of all: an event, not the period, brings the address back.
func TestTakenAddressIsPutBackOnARealKernel(t *testing.T) {
	t.Run("FLT-05", takenAddressIsPutBackOnARealKernel)
}

func takenAddressIsPutBackOnARealKernel(t *testing.T) {
	h, _ := pair(t)
	foreign := viptest.Addresses("eth0", "10.0.0.31/24", "10.0.0.200/24")
	ours := viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/32", "2001:db8::100/64")
	h.put(foreign[0])
	h.put(foreign[1])
	h.put(ours[1]) // there already: adopted

	repaired := make(chan []vip.Address, 10)
	log := &logbook{}
	r := h.keep(vip.Options{Period: time.Hour, Repaired: func(a []vip.Address) { repaired <- a }, Log: log.logger()})
	if err := r.Apply(t.Context(), vip.Desired{Held: ours}); err != nil {
		t.Fatal(err)
	}
	if !h.has(join(ours, foreign)...) {
		t.Fatalf("addresses %v", h.addresses("eth0"))
	}
	for _, a := range ours {
		h.take(a)
		took := h.within(time.Second, a.String()+" put back", func() bool { return h.has(a) })
		t.Logf("%s was back after %v", a, took)
		if got := <-repaired; !slices.Equal(got, []vip.Address{a}) {
			t.Errorf("told as repaired: %v", got)
		}
	}
	if n := r.Status().Repairs; n != 3 {
		t.Errorf("%d repairs counted", n)
	}
	if err := r.Apply(t.Context(), vip.Desired{Known: ours}); err != nil {
		t.Fatal(err)
	}
	if h.has(ours[0]) || h.has(ours[1]) || h.has(ours[2]) || !h.has(foreign...) {
		t.Errorf("after letting go: %v", h.addresses("eth0"))
	}
	if errs := log.lines("level=ERROR"); errs != nil {
		t.Errorf("logged %q", errs)
	}
}

// IPv6 addresses go when an interface is set down, and come back with it; all go
// with the interface, and come back on a new one of its name.
func TestInterfaceComesAndGoes(t *testing.T) { t.Run("FLT-09", interfaceComesAndGoes) }

func interfaceComesAndGoes(t *testing.T) {
	h, n := pair(t)
	ours := viptest.Addresses("eth0", "10.0.0.100/24", "2001:db8::100/64")
	elsewhere := viptest.Addresses("lo", "10.0.0.101/32")
	r := h.keep(vip.Options{})
	if err := r.Apply(t.Context(), vip.Desired{Held: ours}); err != nil {
		t.Fatal(err)
	}
	h.set("eth0", h.LinkSetDown)
	h.within(time.Second, "seen", func() bool { return h.has(ours[0]) })
	h.set("eth0", h.LinkSetUp)
	h.within(time.Second, "back after the interface was down", func() bool { return h.has(ours...) })

	h.set("eth0", h.LinkDel)
	err := r.Apply(t.Context(), vip.Desired{Held: join(ours, elsewhere)})
	if !errors.Is(err, vip.ErrNoLink) {
		t.Errorf("Apply without the interface: %v", err)
	}
	if !h.has(elsewhere...) {
		t.Error("the missing interface has held up another")
	}
	h.veth("eth0", n, "eth0")
	took := h.within(time.Second, "back on the new interface", func() bool { return h.has(ours...) })
	t.Logf("back on the new interface after %v", took)
	h.within(time.Second, "no error any more", func() bool { return r.Status().Err == nil })
}

func TestLeftoverOfAKilledDaemonIsRemoved(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	left := viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/24")
	foreign := viptest.Addresses("eth0", "10.0.0.31/24")
	h.put(foreign[0])
	for _, a := range left {
		if err := linux.Add(a, vip.Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(t.TempDir(), "addresses.json")
	writeState(t, state, left)
	r := h.keep(vip.Options{StateFile: state})
	if err := r.Apply(t.Context(), vip.Desired{Held: left[1:]}); err != nil {
		t.Fatal(err)
	}
	if h.has(left[0]) || !h.has(left[1], foreign[0]) {
		t.Errorf("addresses %v", h.addresses("eth0"))
	}
}

func TestThousandAddressesOnARealKernel(t *testing.T) {
	h, _ := pair(t)
	foreign := viptest.Addresses("eth0", "10.1.200.1/16")
	h.put(foreign[0])
	all := numbered("eth0", 1000)
	r := h.keep(vip.Options{StateFile: filepath.Join(t.TempDir(), "addresses.json")})
	for _, d := range []vip.Desired{{Held: all}, {Known: all}} {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := r.Apply(ctx, d)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d addresses held after %v", len(d.Held), time.Since(start))
		if n := len(h.addresses("eth0")); n != len(d.Held)+1 || !h.has(foreign...) {
			t.Errorf("%d addresses on the interface", n)
		}
	}
}

// A buffer that overflows closes nothing for good: notify is called after the
// loss, and for what comes then.
func TestWatchSurvivesLostEvents(t *testing.T) {
	h, _ := pair(t)
	h.sysctl("ipv6/conf/eth0/disable_ipv6", "1") // or its own addresses make events, too
	linux := h.open()
	linux.SetEventBuffer(1) // the kernel makes it its least, some 4 KiB
	ctx, cancel := context.WithCancel(context.Background())
	called, slow := make(chan struct{}, 1000), make(chan struct{})
	watching := h.start(func() error {
		return linux.Watch(ctx, func() {
			called <- struct{}{}
			<-slow
		})
	})
	select {
	case <-called: // it listens
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was said at the start")
	}
	churn := viptest.Addresses("eth0", "10.0.0.100/24")[0]
	for range 200 {
		h.put(churn)
		h.take(churn)
	}
	close(slow)
	// The few events that fitted, and then one after the loss.
	quiet := 0
	h.within(5*time.Second, "quiet", func() bool {
		select {
		case <-called:
			quiet = 0
		case <-time.After(50 * time.Millisecond):
			quiet++
		}
		return quiet > 2
	})
	h.put(churn)
	select {
	case <-called:
	case <-time.After(time.Second):
		t.Error("deaf after lost events")
	}
	cancel()
	if err := watching(); err != nil {
		t.Error(err)
	}
}

func TestWatchHearsLinksAndAddresses(t *testing.T) {
	h, n := pair(t)
	h.sysctl("ipv6/conf/eth0/disable_ipv6", "1") // or its own addresses make events, too
	linux := h.open()
	ctx, cancel := context.WithCancel(context.Background())
	called := make(chan struct{}, 1)
	watching := h.start(func() error {
		return linux.Watch(ctx, func() {
			select {
			case called <- struct{}{}:
			default:
			}
		})
	})
	quiet := func() {
		for {
			select {
			case <-called:
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	a := join(viptest.Addresses("eth0", "10.0.0.100/24"), viptest.Addresses("lo", "2001:db8::100/64"))
	for _, event := range []struct {
		name string
		do   func()
	}{
		{"an address", func() { h.put(a[0]) }},
		{"its end", func() { h.take(a[0]) }},
		{"an IPv6 address", func() { h.put(a[1]) }},
		{"an interface's alias", func() { h.set("eth0", func(l netlink.Link) error { return h.LinkSetAlias(l, "uplink") }) }},
		{"the carrier's loss", func() { n.set("eth0", n.LinkSetDown) }},
		{"a deleted interface", func() { h.set("eth0", h.LinkDel) }},
	} {
		quiet()
		event.do()
		select {
		case <-called:
		case <-time.After(2 * time.Second):
			t.Errorf("nothing was said about %s", event.name)
		}
	}
	cancel()
	if err := watching(); err != nil {
		t.Error(err)
	}
}

// The neighbour knows the virtual address by the old director's hardware
// address. It sends nothing; the new director's frames alone must move it.
func TestNeighbourMovesToTheNewDirector(t *testing.T) {
	t.Run("GARP-15", neighbourMovesToTheNewDirector)
}

func neighbourMovesToTheNewDirector(t *testing.T) {
	segment, neighbour, old, director := newHost(t), newHost(t), newHost(t), newHost(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := segment.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	segment.set("br0", segment.LinkSetUp)
	for name, h := range map[string]*host{"neighbour": neighbour, "old": old, "director": director} {
		segment.veth(name, h, "eth0")
		segment.set(name, func(l netlink.Link) error {
			bridge, err := segment.LinkByName("br0")
			if err != nil {
				return err
			}
			return segment.LinkSetMaster(l, bridge)
		})
		// Addresses of IPv6 are used at once.
		h.sysctl("ipv6/conf/eth0/accept_dad", "0")
	}
	neighbour.put(viptest.Addresses("eth0", "10.0.0.17/24")[0])
	director.put(viptest.Addresses("eth0", "10.0.0.32/24")[0])
	neighbourLinux, oldLinux := neighbour.open(), old.open()
	if err := neighbourLinux.Add(viptest.Addresses("eth0", "2001:db8::17/64")[0], vip.Attributes{}); err != nil {
		t.Fatal(err)
	}
	shared := viptest.Addresses("eth0", "10.0.0.100/24", "2001:db8::100/64")
	for _, a := range shared {
		if err := oldLinux.Add(a, vip.Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	knows := func(a vip.Address) (mac net.HardwareAddr) {
		neighbour.set("eth0", func(l netlink.Link) error {
			entries, err := neighbour.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
			for _, e := range entries {
				if ip, _ := netip.AddrFromSlice(e.IP); ip.Unmap() == a.Prefix.Addr() {
					mac = e.HardwareAddr
				}
			}
			return err
		})
		return mac
	}
	for _, a := range shared {
		neighbour.within(5*time.Second, "the neighbour learns "+a.String(), func() bool {
			neighbour.do(func() error {
				c, err := net.Dial("udp", netip.AddrPortFrom(a.Prefix.Addr(), 9).String())
				if err != nil {
					return err
				}
				defer c.Close()
				_, _ = c.Write([]byte("hello")) // refused, or not resolved yet
				return nil
			})
			time.Sleep(20 * time.Millisecond)
			return bytes.Equal(knows(a), old.mac("eth0"))
		})
	}

	linux := director.open()
	announcer := vip.NewAnnouncer(vip.AnnouncerOptions{Link: linux.Link})
	ctx, cancel := context.WithCancel(context.Background())
	running := director.start(func() error { return announcer.Run(ctx) })
	r := director.keep(vip.Options{})
	start := time.Now()
	if err := r.Apply(t.Context(), vip.Desired{Held: shared}); err != nil {
		t.Fatal(err)
	}
	held := time.Since(start)
	if err := announcer.Announce(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	announced := time.Since(start)
	for _, a := range shared {
		// Well before the second round: one frame has to do.
		took := neighbour.within(50*time.Millisecond, "the neighbour knows "+a.String()+" anew", func() bool {
			return bytes.Equal(knows(a), director.mac("eth0"))
		})
		t.Logf("%s: held after %v, announced after %v, known %v later", a, held, announced, took)
	}
	cancel()
	if err := running(); err != nil {
		t.Error(err)
	}
}

// A real interface that vanishes and comes back: an error while it is gone, and
// frames on the new one.
func TestAnnouncingOnAnInterfaceThatVanishes(t *testing.T) {
	h, n := pair(t)
	linux := h.open()
	announcer := vip.NewAnnouncer(vip.AnnouncerOptions{Link: linux.Link, Spacing: 10 * time.Millisecond, Repeat: 1000})
	ctx, cancel := context.WithCancel(context.Background())
	running := h.start(func() error { return announcer.Run(ctx) })
	if err := announcer.Announce(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	files := openFiles(t)
	for range 3 {
		h.set("eth0", h.LinkDel)
		h.within(time.Second, "an error", func() bool { return announcer.Status().Failing["eth0"] != "" })
		if err := announcer.Announce(t.Context(), one); !errors.Is(err, vip.ErrNoLink) {
			t.Errorf("Announce without the interface: %v", err)
		}
		h.veth("eth0", n, "eth0")
		h.within(time.Second, "no error", func() bool { return announcer.Status().Failing["eth0"] == "" })
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d files open, %d before", now, files)
	}
	h.set("eth0", h.LinkSetDown)
	h.within(time.Second, "an error", func() bool { return strings.Contains(announcer.Status().Failing["eth0"], "network is down") })
	cancel()
	if err := running(); err != nil {
		t.Error(err)
	}
}

// openFiles counts the open sockets of this process.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// What the fake kernel refuses, the real one refuses for the same reason.
func TestFakeKernelIsAsStrictAsTheRealOne(t *testing.T) {
	h, _ := pair(t)
	steps := []struct {
		do   string
		name string
		p    string
	}{
		{"add", "eth0", "10.0.0.1/24"},
		{"add", "eth0", "10.0.0.1/24"}, // EEXIST
		{"add", "eth0", "10.0.0.1/32"}, // another address
		{"add", "eth0", "2001:db8::1/64"},
		{"add", "eth0", "2001:db8::1/128"},    // EEXIST
		{"delete", "eth0", "2001:db8::1/128"}, // EADDRNOTAVAIL
		{"delete", "eth0", "10.0.0.1/16"},     // EADDRNOTAVAIL
		{"change", "eth0", "10.0.0.1/16"},     // EADDRNOTAVAIL
		{"change", "eth0", "10.0.0.1/24"},
		{"delete", "eth0", "10.0.0.1/24"},
		{"delete", "eth0", "10.0.0.1/24"}, // EADDRNOTAVAIL
		{"add", "eth7", "10.0.0.1/24"},    // ErrNoLink
		{"change", "eth7", "10.0.0.1/24"}, // ErrNoLink
		{"delete", "eth7", "10.0.0.1/24"}, // ErrNoLink
	}
	run := func(k vip.Kernel) (results []string) {
		for _, s := range steps {
			a := viptest.Addresses(s.name, s.p)[0]
			do := map[string]func(vip.Address) error{
				"add": func(a vip.Address) error { return k.Add(a, vip.Attributes{}) },
				"change": func(a vip.Address) error {
					return k.Change(vip.Entry{Address: a}, vip.Attributes{Scope: vip.ScopeLink})
				},
				"delete": k.Delete,
			}[s.do]
			result := "done"
			if err := do(a); err != nil {
				result = "unknown: " + err.Error()
				for _, known := range []error{syscall.EEXIST, syscall.EADDRNOTAVAIL, vip.ErrNoLink} {
					if errors.Is(err, known) {
						result = known.Error()
					}
				}
			}
			results = append(results, fmt.Sprintf("%s %s: %s", s.do, a, result))
		}
		return results
	}
	linux := h.open()
	var want []string
	h.do(func() error {
		want = run(linux)
		return nil
	})
	if diff := cmp.Diff(want, run(viptest.NewKernel("eth0"))); diff != "" {
		t.Errorf("(-real +fake):\n%s", diff)
	}
}
