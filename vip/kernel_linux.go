package vip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// netlinkTimeout bounds a request to the kernel: one that hangs must not
	// hold up the addresses of other interfaces for ever.
	netlinkTimeout = 2 * time.Second

	// dumpTries is how often a list is asked for again when interfaces or
	// addresses changed while the kernel wrote it down.
	dumpTries = 10

	// eventBuffer is the receive buffer of Watch in bytes; the kernel doubles it.
	// A change of an address takes about 1 KiB of it.
	eventBuffer = 4 << 20

	// forever is the kernel's infinite lifetime in seconds, or 68 years on a
	// machine whose int has no room for that. Half of it is long enough.
	forever = min(math.MaxUint32, math.MaxInt)
)

// Linux is the kernel's rtnetlink. Its methods may be called by several
// goroutines.
type Linux struct {
	handle      *netlink.Handle
	sysctl      string // the folder of net.*
	eventBuffer int

	mu      sync.Mutex     // guards what follows
	indexes map[string]int // by name, as of the newest list of interfaces
	removed map[place]removal
}

var _ Kernel = (*Linux)(nil)

// Open connects to the kernel of the network namespace that the calling thread
// is in.
func Open() (*Linux, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := handle.SetSocketTimeout(netlinkTimeout); err != nil {
		handle.Close()
		return nil, fmt.Errorf("setting the timeout of a netlink socket: %w", err)
	}
	return &Linux{handle: handle, sysctl: "/proc/sys/net", eventBuffer: eventBuffer, removed: map[place]removal{}}, nil
}

// Close ends the connection. No other method may be called afterwards.
func (l *Linux) Close() { l.handle.Close() }

// dump calls list until it was not disturbed by changes while it ran: what it
// returns then would be a part only.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var err error
	for range dumpTries {
		var all []T
		all, err = list()
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, err
}

// Addresses returns the addresses of all interfaces, but for those of
// point-to-point form (local and peer), which are never lvsd's.
func (l *Linux) Addresses() ([]Entry, error) {
	// The addresses come first: an interface that appears between the two lists
	// has a name then, and an address whose interface is gone is gone as well.
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	links, err := dump(l.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	indexes := make(map[string]int, len(links))
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
		indexes[link.Attrs().Name] = link.Attrs().Index
	}
	l.mu.Lock()
	l.indexes = indexes
	l.mu.Unlock()

	have := make([]Entry, 0, len(addrs))
	for _, a := range addrs {
		name, known := names[a.LinkIndex]
		prefix, ok := prefixOf(a)
		if known && ok && a.Peer == nil {
			have = append(have, entryOf(Address{Interface: name, Prefix: prefix}, a))
		}
	}
	return have, nil
}

// entryOf returns the address as the kernel lists it.
func entryOf(address Address, a netlink.Addr) Entry {
	e := Entry{Address: address}
	switch {
	case address.Prefix.Addr().Is4():
		e.Attributes = named(Attributes{Label: a.Label, Scope: Scope(a.Scope)}, address.Interface)
	case a.Flags&unix.IFA_F_DADFAILED != 0:
		e.Flaw = Duplicate
	case a.Flags&unix.IFA_F_DEPRECATED == 0, uint32(a.ValidLft) < forever/2:
		e.Flaw = Preferred
	}
	return e
}

// prefixOf returns the address and prefix length of a, with host bits.
func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := a.Mask.Size()
	prefix := netip.PrefixFrom(addr, ones)
	return prefix, prefix.IsValid()
}

// Add puts an address on its interface, for ever: its valid lifetime is
// infinite. An IPv4 address gets no broadcast address.
//
// An IPv6 address is used at once, without duplicate address detection, which
// would take a second and would find the director that is about to let the
// address go. Its preferred lifetime is over from the start: the kernel answers
// on it, and takes any other of the machine's addresses for the source of its own
// connections (RFC 6724, section 5, rule 3), which would break when the address
// moves.
func (l *Linux) Add(a Address, attributes Attributes) error {
	err := l.onLink(a.Interface, addrOf(a, attributes), l.handle.AddrAdd)
	switch {
	case errors.Is(err, unix.EACCES): // net/ipv6/addrconf.c, addrconf_add_dev
		return fmt.Errorf("IPv6 is disabled there: %w", err)
	case errors.Is(err, unix.EINVAL):
		return cmp.Or(l.checkScope(a, attributes.Scope), err)
	}
	return err
}

// Change gives an address that is on its interface other attributes. The kernel
// changes the lifetimes of IPv6 in place. All else it takes over only when the
// address is new (net/ipv4/devinet.c, inet_rtm_newaddr), so the address goes and
// comes back at once, and as it was if the kernel does not want it otherwise.
func (l *Linux) Change(from Entry, to Attributes) error {
	a := from.Address
	if from.Flaw == Preferred {
		return l.onLink(a.Interface, addrOf(a, to), l.handle.AddrReplace)
	}
	if from.Scope != to.Scope {
		if err := l.checkScope(a, to.Scope); err != nil {
			return err
		}
	}
	if err := l.Delete(a); err != nil {
		return err
	}
	err := l.Add(a, to)
	if err == nil {
		return nil
	}
	if back := l.Add(a, from.Attributes); back != nil {
		return fmt.Errorf("adding it again: %w; and as it was: %w", err, back)
	}
	return fmt.Errorf("adding it again: %w", err)
}

// checkScope returns an error if the kernel would not take an address for its
// scope: in IPv4 all addresses of a subnet have the same (net/ipv4/devinet.c,
// __inet_insert_ifa).
func (l *Linux) checkScope(a Address, scope Scope) error {
	if a.Prefix.Addr().Is6() {
		return nil
	}
	subnet, err := l.subnet(a)
	if err != nil {
		return err
	}
	for prefix, addr := range subnet {
		if has := Scope(addr.Scope); prefix != a.Prefix && has != scope {
			return fmt.Errorf("scope %s: must be %s, that of %s in the same subnet: %w", scope, has, prefix, unix.EINVAL)
		}
	}
	return nil
}

// subnet returns the IPv4 addresses in the subnet of a on its interface.
func (l *Linux) subnet(a Address) (map[netip.Prefix]netlink.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.handle.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	link, err := l.linkByName(a.Interface)
	if err != nil {
		return nil, err
	}
	found := make(map[netip.Prefix]netlink.Addr)
	for _, addr := range addrs {
		prefix, ok := prefixOf(addr)
		if ok && addr.LinkIndex == link.Attrs().Index && prefix.Masked() == a.Prefix.Masked() {
			found[prefix] = addr
		}
	}
	return found, nil
}

// Delete takes an address from its interface, and no other with it.
func (l *Linux) Delete(a Address) error {
	if a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() {
		if err := l.promoteSecondaries(a); err != nil {
			return err
		}
	}
	return l.onLink(a.Interface, addrOf(a, Attributes{}), l.handle.AddrDel)
}

// addrOf returns an address as Add puts it on its interface.
func addrOf(a Address, attributes Attributes) *netlink.Addr {
	ip := a.Prefix.Addr()
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP:   ip.AsSlice(),
		Mask: net.CIDRMask(a.Prefix.Bits(), ip.BitLen()),
	}}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD
		addr.ValidLft = forever
		return addr
	}
	addr.Broadcast = net.IPv4zero // netlink's way to say none
	addr.Label, addr.Scope = attributes.Label, int(attributes.Scope)
	return addr
}

// onLink calls do with the address on the interface of the given name.
func (l *Linux) onLink(name string, addr *netlink.Addr, do func(netlink.Link, *netlink.Addr) error) error {
	l.mu.Lock()
	index, known := l.indexes[name]
	l.mu.Unlock()
	if !known {
		link, err := l.linkByName(name)
		if err != nil {
			return err
		}
		index = link.Attrs().Index
	}
	addr.LinkIndex = index
	err := do(nil, addr)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %s", ErrNoLink, name)
	}
	return err
}

// promoteSecondaries makes sure that the other addresses in the subnet of a
// survive when a goes. Unless net.ipv4.conf.*.promote_secondaries is on, the
// kernel removes them all together with the one that came first, and with them
// perhaps the director's own address and the routes that use it
// (net/ipv4/devinet.c, __inet_del_ifa).
func (l *Linux) promoteSecondaries(a Address) error {
	path := func(name string) string { return l.sysctl + "/ipv4/conf/" + name + "/promote_secondaries" }
	// A slash in the name of an interface cannot be; a dot, as in eth0.5, is just
	// a dot in a path.
	if isOn(path("all")) || isOn(path(a.Interface)) {
		return nil
	}
	werr := os.WriteFile(path(a.Interface), []byte("1\n"), 0)
	if werr == nil {
		return nil
	}

	// It cannot be set, in a container for example. Then a may go only if it
	// takes none along.
	others, err := l.secondaries(a)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("the kernel would remove %s as well: net.ipv4.conf.%s.promote_secondaries is off and cannot be set: %w",
			list(others), a.Interface, werr)
	}
	return nil
}

func isOn(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// secondaries returns the addresses that hang on a: none if a hangs on another
// address itself.
func (l *Linux) secondaries(a Address) ([]Address, error) {
	subnet, err := l.subnet(a)
	if err != nil {
		return nil, err
	}
	var others []Address
	for prefix, addr := range subnet {
		secondary := addr.Flags&unix.IFA_F_SECONDARY != 0
		switch {
		case prefix == a.Prefix && secondary:
			return nil, nil
		case prefix != a.Prefix && secondary:
			others = append(others, Address{Interface: a.Interface, Prefix: prefix})
		}
	}
	slices.SortFunc(others, Address.Compare)
	return others, nil
}

// Link returns the interface of the given name, with its addresses. The error
// wraps ErrNoLink when there is none.
func (l *Linux) Link(name string) (Link, error) {
	link, err := l.linkByName(name)
	if err != nil {
		return Link{}, err
	}
	at := link.Attrs()
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.handle.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return Link{}, fmt.Errorf("listing addresses of %s: %w", name, err)
	}
	out := Link{
		Name:         name,
		Index:        at.Index,
		HardwareAddr: at.HardwareAddr,
		MTU:          at.MTU,
		Up:           at.RawFlags&unix.IFF_UP != 0,
		Carrier:      at.RawFlags&unix.IFF_RUNNING != 0,
		NoARP:        at.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) != 0,
		Router:       isOn(l.sysctl + "/ipv6/conf/" + name + "/forwarding"),
	}
	for _, a := range addrs {
		// The kernel tells when an address that it is still checking for a duplicate
		// may be used: it is a new one then.
		prefix, ok := prefixOf(a)
		if ok && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			out.Addresses = append(out.Addresses, prefix)
		}
	}
	return out, nil
}

func (l *Linux) linkByName(name string) (netlink.Link, error) {
	link, err := l.handle.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, fmt.Errorf("%w: %s", ErrNoLink, name)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up interface %s: %w", name, err)
	}
	if first := link.Attrs().Name; first != name {
		// The kernel finds interfaces by alternative names, and lists them by
		// their first name only.
		return nil, fmt.Errorf("%w: %s is an alternative name of %s", ErrNoLink, name, first)
	}
	return link, nil
}

// Watch calls notify whenever an interface or an address may have changed: once
// when it starts to listen, with each event of the kernel, and after events
// were lost. It returns an error if it cannot start, and nil when ctx ends.
//
// A notify that takes its time loses events, and nothing else: it is called
// again afterwards.
func (l *Linux) Watch(ctx context.Context, notify func()) error {
	pause := backoffMin
	for started := false; ; started = true {
		heard, err := l.watch(ctx, notify)
		if ctx.Err() != nil {
			return nil
		}
		if !started && !heard {
			return fmt.Errorf("watching interfaces and addresses: %w", err)
		}
		// What the lost events were about is found by looking, once watch
		// listens again.
		if heard {
			pause = backoffMin
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, backoffMax)
	}
}

// watch listens to the kernel on one socket until an error, ENOBUFS for a full
// buffer among them. It returns whether it listened at all.
func (l *Linux) watch(ctx context.Context, notify func()) (heard bool, err error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return false, fmt.Errorf("subscribing: %w", err)
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, socket.Close)()
	// Above the system's limit with CAP_NET_ADMIN only; otherwise as much as the
	// limit allows.
	if socket.SetReceiveBufferSize(l.eventBuffer, true) != nil {
		if err := socket.SetReceiveBufferSize(l.eventBuffer, false); err != nil {
			return false, fmt.Errorf("setting the receive buffer: %w", err)
		}
	}
	l.forgetRemovals() // some may have been undone unheard
	for notify(); ; notify() {
		messages, _, err := socket.Receive()
		if err != nil {
			return true, fmt.Errorf("receiving events: %w", err)
		}
		for _, m := range messages {
			l.noteRemoval(m)
		}
	}
}
