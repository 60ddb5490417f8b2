package vip_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// entry returns an address as the kernel lists it.
func (h *host) entry(linux *vip.Linux, a vip.Address) vip.Entry {
	h.Helper()
	have, err := linux.Addresses()
	if err != nil {
		h.Fatal(err)
	}
	i := slices.IndexFunc(have, func(e vip.Entry) bool { return e.Address == a })
	if i < 0 {
		h.Fatalf("%s is not there", a)
	}
	return have[i]
}

// source returns the address from which the kernel connects to another one.
func (h *host) source(to string) (from netip.Addr) {
	h.Helper()
	h.do(func() error {
		c, err := net.Dial("udp", net.JoinHostPort(to, "9"))
		if err != nil {
			return err
		}
		defer c.Close()
		from = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		return nil
	})
	return from
}

// events returns what the kernel says of addresses while something is done:
// "del 10.0.0.1/24", "new 10.0.0.1/24".
func (h *host) events(do func()) (said []string) {
	h.Helper()
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	if err := netlink.AddrSubscribeAt(h.ns, updates, done); err != nil {
		h.Fatal(err)
	}
	mark := viptest.Addresses("lo", "127.9.9.9/32")[0]
	do()
	h.put(mark)
	for u := range updates {
		if u.LinkAddress.IP.String() == mark.Prefix.Addr().String() {
			break
		}
		if !u.LinkAddress.IP.IsLinkLocalUnicast() {
			said = append(said, fmt.Sprintf("%s %s", map[bool]string{true: "new", false: "del"}[u.NewAddr], &u.LinkAddress))
		}
	}
	close(done)
	for range updates { // until it has ended
	}
	h.take(mark)
	return slices.Compact(said) // some come again when the kernel is done with detection
}

// apply makes the kernel carry what d says, or fails.
func (h *host) apply(r *vip.Reconciler, d vip.Desired) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Apply(ctx, d); err != nil {
		h.Fatal(err)
	}
}

func TestKernelKeepsAttributes(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	own := viptest.Addresses("eth0", "10.0.0.31/24")[0]
	h.put(own)
	for _, e := range []vip.Entry{
		{Address: viptest.Addresses("eth0", "10.0.0.100/24")[0], Attributes: vip.Attributes{Label: "eth0:web"}},
		{Address: viptest.Addresses("eth0", "10.0.0.100/32")[0], Attributes: vip.Attributes{Scope: vip.ScopeSite}},
		{Address: viptest.Addresses("eth0", "10.0.0.100/25")[0], Attributes: vip.Attributes{Scope: vip.ScopeLink}},
		{Address: viptest.Addresses("eth0", "10.0.0.100/32")[0], Attributes: vip.Attributes{Label: "eth0:6789012345", Scope: vip.ScopeHost}},
	} {
		t.Run(e.Prefix.String()+" "+e.Attributes.String(), func(t *testing.T) {
			if err := linux.Add(e.Address, e.Attributes); err != nil {
				t.Fatal(err)
			}
			if got := h.entry(linux, e.Address); got != e {
				t.Errorf("listed as %+v", got)
			}
			// Others in place of those, and with no harm to the director's own.
			for _, want := range []vip.Attributes{{Label: "eth0:other", Scope: e.Scope}, {Scope: e.Scope}, e.Attributes} {
				from := h.entry(linux, e.Address)
				h.do(func() error { return linux.Change(from, want) })
				if got := h.entry(linux, e.Address); got != (vip.Entry{Address: e.Address, Attributes: want}) || !h.has(own) {
					t.Errorf("changed to %+v: listed as %+v", want, got)
				}
			}
			checkAttributes(t, h.addresses("eth0")[e.Prefix])
			h.do(func() error { return linux.Delete(e.Address) })
			h.do(func() error {
				if err := linux.Change(e, vip.Attributes{Scope: e.Scope}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
					return fmt.Errorf("changing what is not there: %w", err)
				}
				return nil
			})
		})
	}
}

// A kernel that does not want an address otherwise keeps it as it is.
func TestKernelRefusesAttributes(t *testing.T) {
	h, _ := pair(t)
	linux := h.open()
	a := viptest.Addresses("eth0", "10.0.0.100/24")[0]
	h.put(viptest.Addresses("eth0", "10.0.0.31/24")[0])
	const words = "scope link: must be global, that of 10.0.0.31/24 in the same subnet: invalid argument"
	if err := linux.Add(a, vip.Attributes{Scope: vip.ScopeLink}); err == nil || err.Error() != words {
		t.Errorf("adding: %v", err)
	}
	if err := linux.Add(a, vip.Attributes{Label: "eth0:67890123456"}); err == nil {
		t.Error("a label of 16 characters was taken")
	}
	if err := linux.Add(a, vip.Attributes{}); err != nil {
		t.Fatal(err)
	}
	from := h.entry(linux, a)
	for _, tt := range []struct {
		to    vip.Attributes
		words string
		said  []string
	}{
		{vip.Attributes{Scope: vip.ScopeLink}, words, nil},
		{
			vip.Attributes{Label: "eth0:67890123456"},
			"adding it again: numerical result out of range",
			[]string{"del 10.0.0.100/24", "new 10.0.0.100/24"},
		},
	} {
		said := h.events(func() {
			h.do(func() error {
				if err := linux.Change(from, tt.to); err == nil || err.Error() != tt.words {
					t.Errorf("changing to %+v: %v", tt.to, err)
				}
				return nil
			})
		})
		if diff := cmp.Diff(tt.said, said); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if got := h.entry(linux, a); got != from {
			t.Errorf("listed as %+v", got)
		}
	}
}

// What a killed daemon has left stays as it is if it is right; otherwise it is put
// right with the least change.
func TestLeftoverIsAdoptedOrPutRight(t *testing.T) {
	h, _ := pair(t)
	h.sysctl("ipv6/conf/eth0/accept_dad", "0")
	linux := h.open()
	v4 := viptest.Addresses("eth0", "10.0.0.100/24")[0]
	v6 := viptest.Addresses("eth0", "2001:db8::100/64")[0]
	d := vip.Desired{Held: []vip.Address{v4, v6}, Attributes: map[vip.Address]vip.Attributes{v4: {Label: "eth0:web", Scope: vip.ScopeLink}}}
	for _, a := range d.Held {
		if err := linux.Add(a, d.Attributes[a]); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond) // the kernel tells of a new IPv6 address twice, the second time a moment later
	r := h.keep(vip.Options{Period: time.Hour})
	reach := func(d vip.Desired, want ...string) {
		t.Helper()
		said := h.events(func() { h.apply(r, d) })
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		for _, a := range d.Held {
			if got := h.entry(linux, a); got != (vip.Entry{Address: a, Attributes: d.Attributes[a]}) {
				t.Errorf("listed as %+v", got)
			}
		}
	}
	reach(d)
	reach(vip.Desired{Held: d.Held}, "del 10.0.0.100/24", "new 10.0.0.100/24")
	if n := r.Status().Repairs; n != 0 {
		t.Errorf("%d repairs of what nobody has touched", n)
	}

	// Lifetimes are changed in place.
	for _, lifetimes := range []netlink.Addr{{}, {PreferedLft: 100, ValidLft: 200}, {ValidLft: 200}} {
		reach(vip.Desired{Held: d.Held[:1], Known: d.Held[1:]}, "del 2001:db8::100/64")
		h.set("eth0", func(l netlink.Link) error {
			lifetimes.IPNet = ipNet(v6.Prefix)
			return h.AddrAdd(l, &lifetimes)
		})
		h.within(time.Second, "removed again", func() bool { return !h.has(v6) })
		h.apply(r, vip.Desired{Held: d.Held[:1]}) // and does not know of v6
		h.set("eth0", func(l netlink.Link) error { return h.AddrAdd(l, &lifetimes) })
		// Even without detection it is tentative for a moment, and a change then is
		// no event (net/ipv6/addrconf.c, inet6_addr_modify).
		h.within(time.Second, "not tentative", func() bool { return h.addresses("eth0")[v6.Prefix].Flags&unix.IFA_F_TENTATIVE == 0 })
		if got := h.entry(linux, v6).Flaw; got != vip.Preferred {
			t.Errorf("lifetimes %d, %d: flaw %d", lifetimes.PreferedLft, lifetimes.ValidLft, got)
		}
		reach(vip.Desired{Held: d.Held}, "new 2001:db8::100/64")
		checkAttributes(t, h.addresses("eth0")[v6.Prefix])
	}
}

// A virtual IPv6 address in the subnet of the director's own one answers, and is
// never the source of a connection that the director makes. One that somebody has
// put on without that is the source until it is adopted. Of IPv4 the first address
// of a subnet is the source.
func TestVirtualAddressIsNoSource(t *testing.T) {
	h, n := pair(t)
	for _, host := range []*host{h, n} {
		host.sysctl("ipv6/conf/eth0/accept_dad", "0")
	}
	own := viptest.Addresses("eth0", "10.0.0.31/24", "2001:db8::31/64")
	virtual := viptest.Addresses("eth0", "10.0.0.100/24", "2001:db8::100/64")
	for _, a := range own {
		h.put(a)
	}
	n.put(viptest.Addresses("eth0", "10.0.0.17/24")[0])
	n.put(viptest.Addresses("eth0", "2001:db8::17/64")[0])
	expect := func(when string, want4, want6 vip.Address) {
		t.Helper()
		if got := h.source("10.0.0.17"); got != want4.Prefix.Addr() {
			t.Errorf("%s: the source is %s, want %s", when, got, want4.Prefix.Addr())
		}
		if got := h.source("2001:db8::17"); got != want6.Prefix.Addr() {
			t.Errorf("%s: the source is %s, want %s", when, got, want6.Prefix.Addr())
		}
	}
	expect("alone", own[0], own[1])
	for _, a := range virtual {
		h.put(a)
	}
	expect("with addresses as ip addr adds them", own[0], virtual[1])

	r := h.keep(vip.Options{})
	h.apply(r, vip.Desired{Held: virtual})
	expect("with virtual addresses", own[0], own[1])
	for _, a := range virtual {
		h.take(a)
	}
	h.within(time.Second, "back", func() bool { return h.has(virtual...) })
	expect("with virtual addresses added by lvsd", own[0], own[1])

	for _, a := range virtual {
		var listener net.Listener
		h.do(func() (err error) {
			listener, err = net.Listen("tcp", netip.AddrPortFrom(a.Prefix.Addr(), 0).String())
			return err
		})
		n.do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
			if err != nil {
				return err
			}
			return c.Close()
		})
		listener.Close()
	}
}

// An IPv6 address that another director still had when somebody put it here is
// dead. Adopted as it is, it would stay so.
func TestAddressThatFailedDuplicateDetectionIsRevived(t *testing.T) {
	h, n := pair(t)
	a := viptest.Addresses("eth0", "2001:db8::100/64")[0]
	if err := n.open().Add(a, vip.Attributes{}); err != nil {
		t.Fatal(err)
	}
	h.put(a)
	h.within(10*time.Second, "failed detection", func() bool { return h.addresses("eth0")[a.Prefix].Flags&unix.IFA_F_DADFAILED != 0 })
	linux := h.open()
	if got := h.entry(linux, a).Flaw; got != vip.Duplicate {
		t.Errorf("flaw %d", got)
	}
	r := h.keep(vip.Options{})
	h.apply(r, vip.Desired{Held: []vip.Address{a}})
	checkAttributes(t, h.addresses("eth0")[a.Prefix])
}
