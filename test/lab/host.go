package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/socket"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Host is a machine: a network namespace with its interfaces, addresses, routes and processes. Files are shared by
// all hosts.
type Host struct {
	Name string

	lab *Lab
	ns  *os.File
	nl  *netlink.Handle

	mu     sync.Mutex
	names  map[string]netip.Addr
	cables map[string]*Cable
}

// Host makes a host without any interface but lo, which is up. It forwards nothing, filters nothing, and uses IPv6
// addresses at once, without looking for duplicates.
func (l *Lab) Host(name string) *Host {
	l.Helper()
	ns, err := newNamespace()
	if err != nil {
		l.Fatalf("host %s: %v", name, err)
	}
	l.Cleanup(func() { ns.Close() })
	nl, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		l.Fatalf("host %s: opening netlink: %v", name, err)
	}
	l.Cleanup(nl.Close)
	h := &Host{Name: name, lab: l, ns: ns, nl: nl, names: map[string]netip.Addr{}, cables: map[string]*Cable{}}
	// A new namespace copies some of these from the machine.
	h.Sysctl(
		"net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
		"net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0",
	)
	h.Up("lo")
	return h
}

// Do calls f on a thread that is inside the host. Goroutines that f starts are outside.
func (h *Host) Do(f func()) {
	h.lab.Helper()
	if err := inNamespace(h.ns, f); err != nil {
		h.lab.Fatalf("host %s: %v", h.Name, err)
	}
}

// Sysctl sets kernel parameters, each in the form "net.ipv4.ip_forward=1".
func (h *Host) Sysctl(settings ...string) {
	h.lab.Helper()
	h.Do(func() {
		for _, s := range settings {
			name, value, _ := strings.Cut(s, "=")
			path := filepath.Join("/proc/sys", strings.ReplaceAll(strings.TrimSpace(name), ".", "/"))
			if err := os.WriteFile(path, []byte(strings.TrimSpace(value)), 0o644); err != nil {
				h.lab.Fatalf("host %s: sysctl %s: %v", h.Name, s, err)
			}
		}
	})
}

// link returns an interface of the host.
func (h *Host) link(name string) netlink.Link {
	h.lab.Helper()
	link, err := h.nl.LinkByName(name)
	if err != nil {
		h.lab.Fatalf("host %s: interface %s: %v", h.Name, name, err)
	}
	return link
}

// Up sets an interface up.
func (h *Host) Up(ifname string) {
	h.lab.Helper()
	if err := h.nl.LinkSetUp(h.link(ifname)); err != nil {
		h.lab.Fatalf("host %s: setting %s up: %v", h.Name, ifname, err)
	}
}

// Down sets an interface down on the host itself, as an operator does. See [Cable.Cut] for a loss of carrier.
func (h *Host) Down(ifname string) {
	h.lab.Helper()
	if err := h.nl.LinkSetDown(h.link(ifname)); err != nil {
		h.lab.Fatalf("host %s: setting %s down: %v", h.Name, ifname, err)
	}
}

// HardwareAddr returns the MAC address of an interface.
func (h *Host) HardwareAddr(ifname string) net.HardwareAddr {
	h.lab.Helper()
	return h.link(ifname).Attrs().HardwareAddr
}

// AddAddress puts addresses with their prefix lengths on an interface.
func (h *Host) AddAddress(ifname string, addresses ...string) {
	h.lab.Helper()
	link := h.link(ifname)
	for _, a := range addresses {
		if err := h.nl.AddrAdd(link, h.address(a)); err != nil {
			h.lab.Fatalf("host %s: adding %s to %s: %v", h.Name, a, ifname, err)
		}
	}
}

// DeleteAddress takes an address off an interface, behind the back of whoever put it there.
func (h *Host) DeleteAddress(ifname, address string) {
	h.lab.Helper()
	if err := h.nl.AddrDel(h.link(ifname), h.address(address)); err != nil {
		h.lab.Fatalf("host %s: deleting %s from %s: %v", h.Name, address, ifname, err)
	}
}

func (h *Host) address(s string) *netlink.Addr {
	h.lab.Helper()
	a, err := netlink.ParseAddr(s)
	if err != nil {
		h.lab.Fatalf("host %s: address %s: %v", h.Name, s, err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// Addresses returns the addresses of an interface, without the link-local ones of IPv6.
func (h *Host) Addresses(ifname string) []netip.Prefix {
	h.lab.Helper()
	list, err := h.list(h.link(ifname))
	if err != nil {
		h.lab.Fatalf("host %s: addresses of %s: %v", h.Name, ifname, err)
	}
	var all []netip.Prefix
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		ones, _ := a.Mask.Size()
		if p := netip.PrefixFrom(ip.Unmap(), ones); !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p)
		}
	}
	return all
}

// list lists addresses, again when they have changed meanwhile.
func (h *Host) list(link netlink.Link) ([]netlink.Addr, error) {
	for {
		list, err := h.nl.AddrList(link, netlink.FAMILY_ALL)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
}

// Has reports whether an address is on any interface of the host.
func (h *Host) Has(address netip.Addr) bool {
	h.lab.Helper()
	list, err := h.list(nil)
	if err != nil {
		h.lab.Fatalf("host %s: addresses: %v", h.Name, err)
	}
	for _, a := range list {
		if ip, _ := netip.AddrFromSlice(a.IP); ip.Unmap() == address.Unmap() {
			return true
		}
	}
	return false
}

// Neighbor returns the MAC address that the host's ARP cache or neighbour cache has for an address, nil if none. It
// asks nobody.
func (h *Host) Neighbor(address netip.Addr) net.HardwareAddr {
	h.lab.Helper()
	list, err := h.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		h.lab.Fatalf("host %s: neighbours: %v", h.Name, err)
	}
	const valid = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
	for _, n := range list {
		if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() == address.Unmap() && n.State&valid != 0 {
			return n.HardwareAddr
		}
	}
	return nil
}

// Route adds a route to a network, "default" for all, by way of a gateway.
func (h *Host) Route(network, gateway string) {
	h.lab.Helper()
	gw, err := netip.ParseAddr(gateway)
	if err != nil {
		h.lab.Fatalf("host %s: gateway: %v", h.Name, err)
	}
	if network == "default" {
		network = "0.0.0.0/0"
		if gw.Is6() {
			network = "::/0"
		}
	}
	dst, err := netip.ParsePrefix(network)
	if err != nil {
		h.lab.Fatalf("host %s: route: %v", h.Name, err)
	}
	err = h.nl.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		Gw:  gw.AsSlice(),
	})
	if err != nil {
		h.lab.Fatalf("host %s: route to %s via %s: %v", h.Name, network, gateway, err)
	}
}

// Dummy makes an interface that leads nowhere, and sets it up.
func (h *Host) Dummy(ifname string, addresses ...string) {
	h.lab.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = ifname
	if err := h.nl.LinkAdd(&netlink.Dummy{LinkAttrs: attrs}); err != nil {
		h.lab.Fatalf("host %s: making %s: %v", h.Name, ifname, err)
	}
	h.Up(ifname)
	h.AddAddress(ifname, addresses...)
}

// Tunl0 sets up the kernel's IP-in-IP tunnel interface, which takes tunnels from everywhere, with addresses.
func (h *Host) Tunl0(addresses ...string) {
	h.lab.Helper()
	if _, err := h.nl.LinkByName("tunl0"); err != nil {
		// The module makes one in each namespace.
		h.Run("modprobe", "ipip")
	}
	h.AddAddress("tunl0", addresses...)
	h.Up("tunl0")
}

// Resolve makes a name known to what dials by way of the host's Dial and HTTPClient.
func (h *Host) Resolve(name, address string) {
	h.lab.Helper()
	a, err := netip.ParseAddr(address)
	if err != nil {
		h.lab.Fatalf("host %s: address of %s: %v", h.Name, name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[name] = a
}

// Dial connects from the host. The network is tcp or udp, the address has an IP address or a name given to Resolve.
// It may be called from any goroutine.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	ip, ok := h.names[name]
	h.mu.Unlock()
	if !ok {
		if ip, err = netip.ParseAddr(name); err != nil {
			return nil, fmt.Errorf("dialing %s from %s: %w", address, h.Name, err)
		}
	}
	n, err := net.LookupPort(network, port)
	if err != nil {
		return nil, err
	}
	c, err := h.connect(ctx, network, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	if err != nil {
		return nil, fmt.Errorf("dialing %s from %s: %w", address, h.Name, err)
	}
	return c, nil
}

// connect makes a socket inside the namespace and connects it from outside: a socket stays where it was made, and no
// thread has to wait in the namespace.
func (h *Host) connect(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	kind := unix.SOCK_STREAM
	if strings.HasPrefix(network, "udp") {
		kind = unix.SOCK_DGRAM
	}
	family := unix.AF_INET6
	var address unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		family = unix.AF_INET
		address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	s, err := socket.Socket(family, kind, 0, network, &socket.Config{NetNS: int(h.ns.Fd())})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.Connect(ctx, address); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	var c net.Conn
	e := raw.Control(func(fd uintptr) {
		var copied int
		if copied, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		f := os.NewFile(uintptr(copied), network)
		defer f.Close()
		c, err = net.FileConn(f)
	})
	if e != nil {
		return nil, e
	}
	return c, err
}

// Listen listens for TCP connections on an address of the host, ":80" for all.
func (h *Host) Listen(address string) net.Listener {
	h.lab.Helper()
	var l net.Listener
	var err error
	h.Do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		h.lab.Fatalf("host %s: listening on %s: %v", h.Name, address, err)
	}
	h.lab.Cleanup(func() { l.Close() })
	return l
}

// HTTPClient returns a client that connects from the host, anew for each request, does not verify certificates and
// gives up after 5 s. Its transport is a *http.Transport, its settings may be changed.
func (h *Host) HTTPClient() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:       h.Dial,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		},
	}
}

// Get requests a URL from the host and returns what came, following redirects. Nothing came if Err of the result is
// not nil.
func (h *Host) Get(url string) Result {
	return get(context.Background(), h.HTTPClient(), url, "", time.Now())
}
