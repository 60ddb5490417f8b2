package vip

import (
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxRemovals bounds what is remembered of removed addresses. On some hosts
// addresses come and go by the thousand, and nobody ever asks about them.
const maxRemovals = 4096

// place is an address as the kernel's events have it.
type place struct {
	index  int // of the interface
	prefix netip.Prefix
}

// A removal is what is known of an address that was removed.
type removal struct {
	port uint32 // of the netlink socket on which it was asked for
	who  string // "" until somebody asks, if it takes a search
}

// noteRemoval remembers who asked for the removal that an event is about, and
// forgets it when the address is back. The events of IPv6 do not say who it was
// (net/ipv6/addrconf.c, inet6_ifa_notify).
//
// It is looked up at once: "ip addr del" has ended a millisecond later.
func (l *Linux) noteRemoval(m syscall.NetlinkMessage) {
	gone := m.Header.Type == unix.RTM_DELADDR
	if !gone && m.Header.Type != unix.RTM_NEWADDR {
		return
	}
	at, ok := placeOf(m.Data)
	if !ok {
		return
	}
	r := removal{port: m.Header.Pid}
	if gone && isPID(r.port) {
		r.who = process(int(r.port))
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.removed, at)
	if gone && r.port != 0 { // 0: the kernel did it by itself
		if len(l.removed) >= maxRemovals {
			clear(l.removed)
		}
		l.removed[at] = r
	}
}

// placeOf reads what the event of an address is about.
func placeOf(data []byte) (place, bool) {
	if len(data) < unix.SizeofIfAddrmsg {
		return place{}, false
	}
	attributes, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return place{}, false
	}
	msg := nl.DeserializeIfAddrmsg(data)
	var address, local netip.Addr
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_LOCAL: // of IPv4 always, of IPv6 only beside the address of a peer
			local, _ = netip.AddrFromSlice(a.Value)
		}
	}
	if local.IsValid() {
		address = local
	}
	prefix := netip.PrefixFrom(address, int(msg.Prefixlen))
	return place{int(msg.Index), prefix}, prefix.IsValid()
}

// RemovedBy says which process took an address from its interface, as far as
// Watch has heard of it: "NetworkManager (pid 812)", or "a process that has ended
// (pid 812)". It returns "" when the kernel did it, and always for IPv6.
func (l *Linux) RemovedBy(a Address) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := place{l.indexes[a.Interface], a.Prefix}
	r, ok := l.removed[at]
	if !ok {
		return ""
	}
	if r.who != "" {
		return r.who
	}
	// One process may have removed many, and is searched for once.
	who := owner(r.port)
	for at, other := range l.removed {
		if other.port == r.port {
			l.removed[at] = removal{r.port, who}
		}
	}
	return who
}

func (l *Linux) forgetRemovals() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.removed)
}
