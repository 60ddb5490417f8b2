package vip_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"lvsd/vip"
)

// A host is a network namespace of its own.
type host struct {
	*testing.T
	ns netns.NsHandle
	*netlink.Handle
}

// newHost makes a namespace, with lo up. It needs root: elsewhere the test is
// skipped, but never where CI says that all tests have to run.
func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("must be root to make network namespaces")
		}
		t.Skip("SKIPPED: must be root to make network namespaces")
	}
	var ns netns.NsHandle
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var err error
		ns, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		handle.Close()
		ns.Close()
	})
	h := &host{T: t, ns: ns, Handle: handle}
	h.set("lo", func(l netlink.Link) error { return h.LinkSetUp(l) })
	return h
}

// start runs f on a thread in the host's namespace, and returns a function that
// waits for its end.
func (h *host) start(f func() error) (wait func() error) {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(h.ns); err != nil {
			ended <- err
			return
		}
		ended <- f()
	}()
	return func() error { return <-ended }
}

// do runs f in the host's namespace.
func (h *host) do(f func() error) {
	h.Helper()
	if err := h.start(f)(); err != nil {
		h.Fatal(err)
	}
}

// set changes an interface.
func (h *host) set(name string, change func(netlink.Link) error) {
	h.Helper()
	link, err := h.LinkByName(name)
	if err == nil {
		err = change(link)
	}
	if err != nil {
		h.Fatalf("changing %s: %v", name, err)
	}
}

// veth makes a pair of interfaces that are up: name on h, peerName on peer.
func (h *host) veth(name string, peer *host, peerName string) {
	h.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peerName, PeerNamespace: netlink.NsFd(int(peer.ns))})
	if err != nil {
		h.Fatalf("making %s: %v", name, err)
	}
	h.set(name, h.LinkSetUp)
	peer.set(peerName, peer.LinkSetUp)
}

// mac returns the hardware address of an interface.
func (h *host) mac(name string) (mac net.HardwareAddr) {
	h.Helper()
	h.set(name, func(l netlink.Link) error { mac = l.Attrs().HardwareAddr; return nil })
	return mac
}

// put and take are "ip addr add" and "ip addr del", by somebody else.
func (h *host) put(a vip.Address) {
	h.Helper()
	h.set(a.Interface, func(l netlink.Link) error { return h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a.Prefix)}) })
}

func (h *host) take(a vip.Address) {
	h.Helper()
	h.set(a.Interface, func(l netlink.Link) error { return h.AddrDel(l, &netlink.Addr{IPNet: ipNet(a.Prefix)}) })
}

// addresses returns what is on an interface, but for link-local addresses of
// IPv6, by prefix.
func (h *host) addresses(name string) map[netip.Prefix]netlink.Addr {
	h.Helper()
	found := map[netip.Prefix]netlink.Addr{}
	h.set(name, func(l netlink.Link) error {
		list, err := h.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range list {
			addr, _ := netip.AddrFromSlice(a.IP)
			ones, _ := a.Mask.Size()
			if !addr.Is6() || !addr.IsLinkLocalUnicast() {
				found[netip.PrefixFrom(addr, ones)] = a
			}
		}
		return err
	})
	return found
}

// has reports whether an address is there.
func (h *host) has(addresses ...vip.Address) bool {
	h.Helper()
	for _, a := range addresses {
		if _, ok := h.addresses(a.Interface)[a.Prefix]; !ok {
			return false
		}
	}
	return true
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// within waits until what is asked for is so, and returns how long it took.
func (h *host) within(limit time.Duration, what string, so func() bool) time.Duration {
	h.Helper()
	start := time.Now()
	for !so() {
		if time.Since(start) > limit {
			h.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// sysctl writes a setting of the host: "ipv4/conf/eth0/promote_secondaries".
func (h *host) sysctl(name, value string) {
	h.Helper()
	h.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// open connects to the kernel of the host.
func (h *host) open() *vip.Linux {
	h.Helper()
	var linux *vip.Linux
	h.do(func() (err error) {
		linux, err = vip.Open()
		return err
	})
	h.Cleanup(linux.Close)
	return linux
}

// numbered returns n addresses on an interface.
func numbered(name string, n int) []vip.Address {
	var all []vip.Address
	for i := range n {
		all = append(all, vip.Address{Interface: name, Prefix: netip.MustParsePrefix(fmt.Sprintf("10.1.%d.%d/16", i/250, i%250+1))})
	}
	return all
}
