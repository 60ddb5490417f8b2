package elector

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lvsd/configs"
	"lvsd/vrrp"
)

// A pulled cable: Fault, no address, no word. Plugged in again, the director waits
// a whole master down interval before it takes the address back. A neighbour that
// asks nobody has the new master's hardware address each time.
func TestCableIsPulled(t *testing.T) {
	t.Run("FLT-01, GARP-15", func(t *testing.T) {
		bridge, a, b := twoStations(t)
		n := bridge.station("neighbour", "10.0.0.9/24")
		knows := func(s *station) bool {
			known, want := net.HardwareAddr{}, net.HardwareAddr{}
			s.set("eth0", func(l netlink.Link) error { want = l.Attrs().HardwareAddr; return nil })
			n.set("eth0", func(l netlink.Link) error {
				entries, err := n.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
				for _, e := range entries {
					if e.IP.String() == "10.0.0.100" {
						known = e.HardwareAddr
					}
				}
				return err
			})
			return bytes.Equal(known, want)
		}
		if err := n.in(func() error {
			c, err := net.Dial("udp", "10.0.0.100:9")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("hello"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		a.within(time.Second, "the neighbour asks", func() bool { return knows(a) })
		heard := n.ear(vrrp.IPv4)

		a.carrier(false)
		took := a.within(2*time.Second, "fault", func() bool { return a.status().State == "fault" })
		heard()
		b.within(2*time.Second, "b master", func() bool { return b.status().State == "master" })
		late := b.within(time.Second, "the neighbour knows b", func() bool { return knows(b) })
		t.Logf("fault after %v; the neighbour knew the new master %v after its takeover", took, late)
		if s := a.status(); s.Reason != "interface eth0 has no carrier" || a.holds("10.0.0.100") {
			t.Errorf("%+v", s)
		}
		for _, p := range heard() {
			if p.Source == netip.MustParseAddr("10.0.0.1") {
				t.Errorf("heard from the one without a cable: %+v", p)
			}
		}

		a.moved()
		a.carrier(true)
		expectMaster(t, a, b)
		late = a.within(time.Second, "the neighbour knows a", func() bool { return knows(a) })
		m := a.moved()
		if len(m) != 2 || m[0].To != vrrp.Backup || m[1].To != vrrp.Master {
			t.Fatalf("transitions %+v", m)
		}
		// Three intervals and the skew of priority 150.
		if waited := m[1].at.Sub(m[0].at); waited < 341*time.Millisecond {
			t.Errorf("it preempted after %v", waited)
		}
		t.Logf("after the repair the neighbour knew it %v later", late)
	})
}

// The kernel takes the IPv6 addresses away with the interface. When it is up again,
// the link-local one is not used before it is known to be nobody else's; nor is it
// at the start.
func TestLinkLocalAddressIsNotUsedWhileTentative(t *testing.T) {
	t.Run("FLT-02, FLT-11", func(t *testing.T) {
		bridge := newBridge(t)
		a, n := bridge.station("a"), bridge.station("neighbour")
		local := func() (own netip.Addr, tentative bool) {
			for _, x := range a.addrs() {
				ip, _ := netip.AddrFromSlice(x.IP)
				if ip.IsLinkLocalUnicast() && ip.Is6() && ip != netip.MustParseAddr("fe80::99:100") {
					return ip, x.Flags&unix.IFA_F_TENTATIVE != 0
				}
			}
			return netip.Addr{}, true
		}
		n.sysctl("ipv6/conf/eth0/accept_dad", "0")
		n.address(n.AddrAdd, "fe80::9/64")
		time.Sleep(2 * time.Second) // the neighbour's own detection
		a.set("eth0", a.LinkSetDown)
		a.set("eth0", a.LinkSetUp)
		heard := n.ear(vrrp.IPv6)
		a.elect(quick(150, "fe80::99:100/64", "2001:db8::100/64"))
		expect := func(event string) {
			t.Helper()
			saw, ready := false, time.Time{}
			took := a.within(patience, event+": master", func() bool {
				_, tentative := local()
				saw = saw || tentative
				if !tentative && ready.IsZero() {
					ready = time.Now()
				}
				s := a.status().State
				if tentative && (s == "backup" || s == "master") {
					// It may have become valid or vanished between the two looks.
					if _, still := local(); still && a.status().State == s {
						t.Fatalf("%s: %s with a tentative address", event, s)
					}
				}
				return s == "master"
			})
			if !saw {
				t.Errorf("%s: the address was never tentative, nothing is tested", event)
			}
			time.Sleep(150 * time.Millisecond)
			own, _ := local()
			packets := heard()
			if len(packets) == 0 {
				t.Errorf("%s: nothing was heard", event)
			}
			for _, p := range packets {
				if p.Source != own {
					t.Errorf("%s: an advertisement from %s, want %s", event, p.Source, own)
				}
			}
			if !a.holds("fe80::99:100") || !a.holds("2001:db8::100") {
				t.Errorf("%s: addresses %v", event, a.addrs())
			}
			t.Logf("%s: master after %v, %v after its address could be used", event, took, a.status().Since.Sub(ready))
		}
		expect("start")

		a.set("eth0", a.LinkSetDown)
		a.within(time.Second, "fault", func() bool { return a.status().State == "fault" })
		if s := a.status(); s.Reason != "interface eth0 is down" || a.holds("2001:db8::100") {
			t.Errorf("%+v", s)
		}
		heard()
		a.set("eth0", a.LinkSetUp)
		a.within(time.Second, "waiting for the address", func() bool {
			return a.status().Reason == "interface eth0 has no link-local IPv6 address of its own"
		})
		expect("up again")
	})
}

// Ten losses of the carrier in two seconds.
func TestCableFlaps(t *testing.T) {
	t.Run("FLT-03", func(t *testing.T) {
		_, a, b := twoStations(t)
		for range 10 {
			a.carrier(false)
			time.Sleep(100 * time.Millisecond)
			a.carrier(true)
			time.Sleep(100 * time.Millisecond)
		}
		expectMaster(t, a, b)
		a.moved()
		b.moved()
		sent := a.status().Counters.Sent
		time.Sleep(time.Second)
		if n := a.status().Counters.Sent - sent; n < 8 || n > 11 {
			t.Errorf("%d advertisements in a second, want 10", n)
		}
		if m := append(a.moved(), b.moved()...); len(m) > 0 {
			t.Errorf("transitions afterwards: %+v", m)
		}
	})
}

// An address taken away is back before anybody elects anything.
func TestTakenAddressComesBackInPlace(t *testing.T) {
	t.Run("FLT-05", func(t *testing.T) {
		_, a, b := twoStations(t)
		time.Sleep(500 * time.Millisecond) // the first burst is over
		sent := a.announcer.Status().Sent
		a.address(a.AddrDel, "10.0.0.100/24")
		took := a.within(time.Second, "put back", func() bool { return a.holds("10.0.0.100") })
		told := a.within(time.Second, "announced", func() bool { return a.announcer.Status().Sent >= sent+2 })
		t.Logf("back after %v, announced %v later", took, told)
		time.Sleep(500 * time.Millisecond)
		if m := append(a.moved(), b.moved()...); len(m) > 0 {
			t.Errorf("transitions %+v", m)
		}
		if s := a.status(); s.Counters.PriorityZeroSent != 0 || s.Addresses[0].Differed == "" {
			t.Errorf("%+v", s)
		}
	})
}

// The kernel takes the virtual address away with the primary one, whose secondary
// it is. With another address on the interface the master goes on from that one;
// with none left it resigns, and comes back with an address.
func TestPrimaryAddressIsTaken(t *testing.T) {
	t.Run("FLT-07", func(t *testing.T) {
		bridge, a, b := twoStations(t)
		a.address(a.AddrAdd, "10.0.1.1/24")
		heard := bridge.station("neighbour", "10.0.0.9/24").ear(vrrp.IPv4)
		from := func(source string, priority byte) func() bool {
			return func() bool {
				for _, p := range heard() {
					if p.Source == netip.MustParseAddr(source) && p.Payload[2] == priority {
						return true
					}
				}
				return false
			}
		}
		a.within(time.Second, "heard", from("10.0.0.1", 150))
		a.sysctl("ipv4/conf/all/promote_secondaries", "0")
		a.sysctl("ipv4/conf/eth0/promote_secondaries", "0")
		a.address(a.AddrDel, "10.0.0.1/24")
		a.within(time.Second, "heard from the other address", from("10.0.1.1", 150))
		a.within(time.Second, "put back", func() bool { return a.holds("10.0.0.100") })
		if m := append(a.moved(), b.moved()...); len(m) > 0 {
			t.Errorf("transitions with another address left: %+v", m)
		}

		a.address(a.AddrDel, "10.0.1.1/24")
		a.within(time.Second, "resigned", from("10.0.1.1", 0))
		expectMaster(t, b, a)
		if s := a.status(); s.State != "fault" || s.Reason != "interface eth0 has no IPv4 address of its own" || s.Counters.PriorityZeroSent != 1 {
			t.Errorf("%+v", s)
		}
		a.address(a.AddrAdd, "10.0.0.1/24")
		expectMaster(t, a, b)
	})
}

// The interface vanishes and comes back as another one of its name. The director
// speaks and hears on that.
func TestInterfaceIsMadeAgain(t *testing.T) {
	t.Run("FLT-09", func(t *testing.T) {
		_, a, b := twoStations(t)
		index := func() (n int) {
			a.set("eth0", func(l netlink.Link) error { n = l.Attrs().Index; return nil })
			return n
		}
		before := index()
		a.set("eth0", a.LinkDel)
		a.within(time.Second, "fault", func() bool { return a.status().State == "fault" })
		if r := a.status().Reason; r != "interface eth0 is missing" {
			t.Errorf("fault because %q", r)
		}
		expectMaster(t, b, a)
		received := a.status().Counters.Received
		a.plug("10.0.0.1/24")
		if index() == before {
			// The kernel may give the number out again: then there is nothing new.
			a.set("eth0", a.LinkDel)
			a.plug()
			a.set("eth0", a.LinkDel)
			a.plug("10.0.0.1/24")
		}
		expectMaster(t, a, b)
		if n := a.status().Counters.Received; n <= received {
			t.Errorf("%d advertisements received, %d before: it is deaf on the new interface", n, received)
		}
		t.Logf("index %d, then %d", before, index())
	})
}

// Twenty addresses do not fit into a packet of 100 bytes.
func TestSmallMTU(t *testing.T) {
	t.Run("FLT-10", func(t *testing.T) {
		a := newBridge(t).station("a", "10.0.0.1/24")
		a.set("eth0", func(l netlink.Link) error { return a.LinkSetMTU(l, 100) })
		config := quick(100)
		for n := range 20 {
			prefix := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", 100+n))
			config.Addresses = append(config.Addresses, configs.Address{Prefix: prefix, Interface: "eth0"})
		}
		a.elect(config)
		a.within(time.Second, "fault", func() bool { return a.status().State == "fault" })
		want := "interface eth0 has an MTU of 100, the advertisement needs 108: move addresses to extra_addresses"
		if s := a.status(); s.Reason != want || a.holds("10.0.0.100") {
			t.Errorf("%s because %q", s.State, s.Reason)
		}
		a.set("eth0", func(l netlink.Link) error { return a.LinkSetMTU(l, 108) })
		a.within(2*time.Second, "master", func() bool { return a.status().State == "master" && a.holds("10.0.0.119") })
	})
}

// The kernel refuses the IPv6 address while IPv6 is off: it is not announced, and
// the reason is told. Once it can be put in place it is announced.
func TestRefusedAddressIsNotAnnounced(t *testing.T) {
	t.Run("GARP-12", func(t *testing.T) {
		a := newBridge(t).station("a", "10.0.0.1/24")
		a.sysctl("ipv6/conf/eth0/disable_ipv6", "1")
		config := quick(100, "10.0.0.100/24")
		config.ExtraAddresses = []configs.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Interface: "eth0"}}
		a.elect(config)
		a.within(2*time.Second, "master", func() bool { return a.status().State == "master" })
		time.Sleep(500 * time.Millisecond)
		if n := a.announcer.Status(); n.Sent != 10 || n.Addresses != 1 || n.Errors != 0 {
			t.Errorf("announced %+v, want five rounds of the IPv4 address", n)
		}
		s := a.status()
		if err := a.elector.addresses.Status().Err; err == nil || !strings.Contains(err.Error(), "IPv6 is disabled there") || s.Counters.HolderErrors != 1 || s.Addresses[1].Held {
			t.Errorf("error %v, %+v", err, s)
		}
		a.sysctl("ipv6/conf/eth0/disable_ipv6", "0")
		took := a.within(2*time.Second, "announced", func() bool { return a.announcer.Status().Addresses == 2 && a.holds("2001:db8::100") })
		t.Logf("in place and announced %v after it could be", took)
	})
}
