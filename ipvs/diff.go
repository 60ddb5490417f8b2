package ipvs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ChangeKind says which of the kernel's six operations a Change is.
type ChangeKind uint8

// The kinds of changes.
const (
	AddService ChangeKind = iota + 1
	UpdateService
	DeleteService
	AddDestination
	UpdateDestination
	DeleteDestination
)

// A Change is one step from one table towards another.
type Change struct {
	Kind ChangeKind
	Key  Key

	// Service is the service to add, or as it shall be, without destinations.
	// OldService is what it was, for UpdateService alone.
	Service, OldService Service

	// Destination is the destination to add, to remove, or as it shall be.
	// OldDestination is what it was, for UpdateDestination alone. The counters
	// of both are 0.
	Destination, OldDestination Destination
}

// String returns the change in plain words, as an operator would say it: "set
// weight of 192.168.50.22:80 in TCP 192.168.50.100:80 from 1 to 2".
func (c Change) String() string {
	switch c.Kind {
	case AddService:
		text := fmt.Sprintf("add %s with scheduler %s", c.Key, c.Service.Scheduler)
		if c.Service.Persistence > 0 {
			text += ", persistence " + persistenceText(c.Service)
		}
		return text
	case UpdateService:
		var parts []string
		if c.Service.Scheduler != c.OldService.Scheduler {
			parts = append(parts, fmt.Sprintf("scheduler of %s from %s to %s", c.Key, c.OldService.Scheduler, c.Service.Scheduler))
		}
		if was, is := persistenceText(c.OldService), persistenceText(c.Service); was != is {
			parts = append(parts, fmt.Sprintf("persistence of %s from %s to %s", c.Key, was, is))
		}
		return "set " + strings.Join(parts, " and ")
	case DeleteService:
		return fmt.Sprintf("remove %s", c.Key)
	case AddDestination:
		return fmt.Sprintf("add %s to %s with weight %d, forward %s",
			c.Destination.Address, c.Key, c.Destination.Weight, c.Destination.Forward)
	case UpdateDestination:
		var parts []string
		if c.Destination.Weight != c.OldDestination.Weight {
			parts = append(parts, fmt.Sprintf("weight of %s in %s from %d to %d",
				c.Destination.Address, c.Key, c.OldDestination.Weight, c.Destination.Weight))
		}
		if c.Destination.Forward != c.OldDestination.Forward {
			parts = append(parts, fmt.Sprintf("forward of %s in %s from %s to %s",
				c.Destination.Address, c.Key, c.OldDestination.Forward, c.Destination.Forward))
		}
		return "set " + strings.Join(parts, " and ")
	case DeleteDestination:
		return fmt.Sprintf("remove %s from %s", c.Destination.Address, c.Key)
	default:
		return fmt.Sprintf("change %d of %s", c.Kind, c.Key)
	}
}

// persistenceText returns "none", "300 s" or "300 s mask 255.255.255.0".
func persistenceText(s Service) string {
	s = s.normal()
	if s.Persistence == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d s", s.Persistence/time.Second)
	if s.PersistenceMask != 0 {
		text += " mask " + maskText(s.Address, s.PersistenceMask)
	}
	return text
}

// Diff returns the changes that lead from the table have to the table want. A
// service that is not wanted is removed if owned says that it is ours, and is
// otherwise left alone; owned may be nil, then nothing is ours.
//
// The order is part of the contract. It keeps every service that has a
// destination with a weight above 0 now, and shall have one, from being without
// one after any of the changes:
//
//  1. new services, each followed at once by its destinations, those that get
//     connections first: from the first packet on there is somebody to serve it;
//  2. services whose scheduler or persistence changes, one change each;
//  3. in services that stay: destinations added, and those whose weight is raised
//     or whose forwarding method alone changes;
//  4. in services that stay: destinations whose weight is lowered, then those
//     that are removed: what replaces them is in place by now;
//  5. services removed.
//
// Within each group the changes follow the order of Table.String. If want has two
// services with one key, or two destinations with one address, the first counts.
func Diff(want, have Table, owned func(Key) bool) []Change {
	return diff(want.index(), have.index(), owned)
}

func diff(want, have index, owned func(Key) bool) []Change {
	var added, updated, raised, lowered, removed, deleted []Change

	for _, k := range sortedKeys(want) {
		w := want[k]
		h, ok := have[k]
		if !ok {
			added = append(added, addition(w)...)
			continue
		}
		if !w.sameSettings(h.Service) {
			updated = append(updated, Change{Kind: UpdateService, Key: k, Service: w.Service, OldService: h.Service})
		}
		for _, a := range sortedAddresses(w.destinations) {
			d := w.destinations[a].uncounted()
			old, ok := h.destinations[a]
			old = old.uncounted()
			update := Change{Kind: UpdateDestination, Key: k, Destination: d, OldDestination: old}
			switch {
			case !ok:
				raised = append(raised, Change{Kind: AddDestination, Key: k, Destination: d})
			case d.same(old):
			case d.Weight < old.Weight:
				lowered = append(lowered, update)
			default:
				raised = append(raised, update)
			}
		}
		for _, a := range sortedAddresses(h.destinations) {
			if _, ok := w.destinations[a]; !ok {
				removed = append(removed, Change{Kind: DeleteDestination, Key: k, Destination: h.destinations[a].uncounted()})
			}
		}
	}

	for _, k := range sortedKeys(have) {
		if _, ok := want[k]; !ok && owned != nil && owned(k) {
			deleted = append(deleted, Change{Kind: DeleteService, Key: k, Service: have[k].Service})
		}
	}
	return slices.Concat(added, updated, raised, lowered, removed, deleted)
}

// addition returns the changes that make a new service.
func addition(e *entry) []Change {
	changes := []Change{{Kind: AddService, Key: e.Key, Service: e.Service}}
	var idle []Change
	for _, a := range sortedAddresses(e.destinations) {
		d := e.destinations[a].uncounted()
		c := Change{Kind: AddDestination, Key: e.Key, Destination: d}
		if d.Weight > 0 {
			changes = append(changes, c)
		} else {
			idle = append(idle, c)
		}
	}
	return append(changes, idle...)
}

// takes reports whether the change takes a destination out of the rotation that
// was in it.
func (c Change) takes() bool {
	switch c.Kind {
	case UpdateDestination:
		return c.OldDestination.Weight > 0 && c.Destination.Weight == 0
	case DeleteDestination:
		return c.Destination.Weight > 0
	default:
		return false
	}
}

// uncounted returns the destination without the kernel's counters.
func (d Destination) uncounted() Destination {
	d.ActiveConnections, d.InactiveConnections = 0, 0
	return d
}

func sortedKeys[V any](x map[Key]V) []Key {
	keys := make([]Key, 0, len(x))
	for k := range x {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.compare)
	return keys
}

func sortedAddresses(m map[netip.AddrPort]Destination) []netip.AddrPort {
	addresses := make([]netip.AddrPort, 0, len(m))
	for a := range m {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	return addresses
}
