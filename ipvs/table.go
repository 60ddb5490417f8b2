package ipvs

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Table is a set of services: the kernel's, or the wanted one.
type Table []Service

// sort orders the table and the destinations in it as ipvsadm prints them.
func (t Table) sort() {
	slices.SortFunc(t, func(a, b Service) int { return a.compare(b.Key) })
	for _, s := range t {
		slices.SortFunc(s.Destinations, func(a, b Destination) int { return a.Address.Compare(b.Address) })
	}
}

// Sorted returns a copy of the table in the order in which String prints it: IPv4
// before IPv6, then by protocol, address and port; destinations by address and
// port.
func (t Table) Sorted() Table {
	t = slices.Clone(t)
	for i := range t {
		t[i].Destinations = slices.Clone(t[i].Destinations)
	}
	t.sort()
	return t
}

// String returns the table as `ipvsadm -Ln` prints it below its first line, which
// tells the version of IPVS. (ipvsadm compares addresses by a difference that
// overflows, so its order of addresses that are far apart can be another one.)
func (t Table) String() string {
	var b strings.Builder
	b.WriteString("Prot LocalAddress:Port Scheduler Flags\n")
	b.WriteString("  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n")
	for _, s := range t.Sorted() {
		s = s.normal()
		fmt.Fprintf(&b, "%-4s %s %s", s.Protocol, netip.AddrPortFrom(s.Address, s.Port), s.Scheduler)
		if s.Persistence > 0 {
			fmt.Fprintf(&b, " persistent %d", s.Persistence/time.Second)
			if s.PersistenceMask != 0 {
				b.WriteString(" mask " + maskText(s.Address, s.PersistenceMask))
			}
		}
		b.WriteByte('\n')
		for _, d := range s.Destinations {
			fmt.Fprintf(&b, "  -> %-28s %-7s %-6d %-10d %-10d\n",
				d.Address, d.Forward.ipvsadm(), d.Weight, d.ActiveConnections, d.InactiveConnections)
		}
	}
	return b.String()
}

// maskText returns a persistence mask as ipvsadm prints it: dotted for IPv4, the
// prefix length for IPv6.
func maskText(a netip.Addr, bits int) string {
	if a.Is4() {
		return net.IP(net.CIDRMask(max(bits, 0), 32)).String()
	}
	return fmt.Sprint(bits)
}

// index is a table in the form in which it is compared and changed. Of two
// services with one key, or two destinations with one address, the first counts.
type index map[Key]*entry

type entry struct {
	Service      // normal; its Destinations are not used
	destinations map[netip.AddrPort]Destination
}

func (t Table) index() index {
	x := make(index, len(t))
	for _, s := range t {
		if _, ok := x[s.Key]; ok {
			continue
		}
		e := &entry{Service: s.normal(), destinations: make(map[netip.AddrPort]Destination, len(s.Destinations))}
		e.Service.Destinations = nil
		for _, d := range s.Destinations {
			if _, ok := e.destinations[d.Address]; !ok {
				e.destinations[d.Address] = d
			}
		}
		x[s.Key] = e
	}
	return x
}

// serving counts the destinations of a service that get new connections.
func (x index) serving(k Key) int {
	e, ok := x[k]
	if !ok {
		return 0
	}
	n := 0
	for _, d := range e.destinations {
		if d.Weight > 0 {
			n++
		}
	}
	return n
}

// apply does to the index what a change does to the kernel.
func (x index) apply(c Change) {
	switch c.Kind {
	case AddService:
		x[c.Key] = &entry{Service: c.Service.normal(), destinations: make(map[netip.AddrPort]Destination)}
	case UpdateService:
		if e, ok := x[c.Key]; ok {
			e.Service = c.Service.normal()
		}
	case DeleteService:
		delete(x, c.Key)
	case AddDestination, UpdateDestination:
		if e, ok := x[c.Key]; ok {
			e.destinations[c.Destination.Address] = c.Destination
		}
	case DeleteDestination:
		if e, ok := x[c.Key]; ok {
			delete(e.destinations, c.Destination.Address)
		}
	}
}
