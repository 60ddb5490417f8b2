package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lvsd/ipvs"
)

// What a service gets that sets nothing.
const (
	defaultScheduler = "wlc" // that of ipvsadm
	defaultForward   = "nat"
	defaultWeight    = 1 // that of ipvsadm
)

// buildService builds a service and notes what cannot work with it. What it
// returns can be used only if nothing was noted.
func (b *builder) buildService(name string, raw *rawService) Service {
	keys := raw.serviceKeys
	if b.defaults.Service != nil {
		inherit(&keys, &b.defaults.Service.serviceKeys)
	}
	s := Service{
		Name:            name,
		Scheduler:       keys.Scheduler.or(defaultScheduler),
		Forward:         forward(keys.Forward.or(defaultForward)),
		Persistence:     keys.Persistence.or(0),
		PersistenceMask: keys.PersistenceMask.or(0),
		OnlyWhileMaster: keys.OnlyWhileMaster.or(false),
	}
	if keys.OnDown.is == Remove.String() {
		s.OnDown = Remove
	}
	b.listen(&s, raw)
	b.persistenceMask(&s, raw, keys)
	b.onlyWhileMaster(&s, raw, keys)
	b.realServers(&s, raw)
	s.Sorry = b.buildSorry(&s, raw, keys.Sorry)
	return s
}

// forward returns the forwarding method for a word that the decoder let pass.
func forward(word string) ipvs.Forward {
	var f ipvs.Forward
	_ = f.UnmarshalText([]byte(word))
	return f
}

// listen fills in what the service listens on and the instance that holds it.
func (b *builder) listen(s *Service, raw *rawService) {
	if len(raw.Listen) == 0 {
		b.add(raw.at, `listen is missing: must be a list like ["192.168.50.100:80"]`)
	}
	protocol := ipvs.TCP
	if raw.Protocol.is == "udp" {
		protocol = ipvs.UDP
	}
	for _, listen := range raw.Listen {
		if !listen.good() {
			continue
		}
		a := listen.is.Addr()
		key := ipvs.Key{Address: a, Port: listen.is.Port(), Protocol: protocol}
		if other, ok := b.listened[key]; ok {
			b.add(listen.at, "listen %q: %s has it already (%s): must be there once", listen.is, other.table, other)
			continue
		}
		b.listened[key] = listen.at
		if len(s.Listen) > 0 && s.Listen[0].Address.BitLen() != a.BitLen() {
			b.add(listen.at, "listen %q: must be %s like the others: make it two services", listen.is, family(s.Listen[0].Address))
			continue
		}
		b.held(s, listen)
		s.Listen = append(s.Listen, key)
	}
}

// held notes the instance that holds an address of the service.
func (b *builder) held(s *Service, listen value[netip.AddrPort]) {
	a := listen.is.Addr()
	h, ok := b.holders[a]
	switch {
	case !ok && b.mustBeHeld(a):
		if b.unsure {
			return
		}
		b.add(listen.at, "listen %q: no [vrrp.*] has the address: must be %s", listen.is, b.heldAddresses(a.Is4()))
	case len(s.Listen) == 0:
		s.Instance = h.instance
	case s.Instance != h.instance:
		b.add(listen.at, "listen %q: must be an address of vrrp %q like the others: make it two services", listen.is, s.Instance)
	}
}

// mustBeHeld says whether an address is to be one of an instance, if there is any.
// Where no instance has one of IPv6, these are put on by somebody else.
func (b *builder) mustBeHeld(a netip.Addr) bool {
	if a.Is4() {
		return len(b.instances) > 0
	}
	for held := range b.holders {
		if held.Is6() {
			return true
		}
	}
	return false
}

// heldAddresses lists the virtual addresses of a family, if they are not too many.
func (b *builder) heldAddresses(ipv4 bool) string {
	var list []string
	for a := range b.holders {
		if a.Is4() == ipv4 {
			list = append(list, a.String())
		}
	}
	if len(list) == 0 || len(list) > 8 {
		return "an address of one of them"
	}
	slices.Sort(list)
	return strings.Join(list, " or ")
}

// onlyWhileMaster notes a service that would wait for ever to be Master's.
func (b *builder) onlyWhileMaster(s *Service, raw *rawService, keys serviceKeys) {
	if !s.OnlyWhileMaster || s.Instance != "" || len(s.Listen) == 0 {
		return
	}
	if b.mustBeHeld(s.Listen[0].Address) {
		return // that no instance has the address is noted already
	}
	b.add(keys.OnlyWhileMaster.at, "only_while_master true: no [vrrp.*] has the address of %s: must be false, or the address in one",
		raw.at.table)
}

// persistenceMask notes a mask that does nothing or fits no address.
func (b *builder) persistenceMask(s *Service, raw *rawService, keys serviceKeys) {
	if s.PersistenceMask == 0 {
		return
	}
	if s.Persistence == 0 {
		if raw.PersistenceMask.set() && !keys.Persistence.bad {
			b.add(raw.PersistenceMask.at, "persistence_mask %d: does nothing without persistence: must come with it", s.PersistenceMask)
		}
		s.PersistenceMask = 0
	}
	if len(s.Listen) == 0 {
		return
	}
	bits := s.Listen[0].Address.BitLen()
	if s.PersistenceMask > bits {
		b.add(keys.PersistenceMask.at, "persistence_mask %d: must be 1 to %d for the IPv4 addresses of %s", s.PersistenceMask, bits, raw.at.table)
	}
	if s.PersistenceMask == bits {
		s.PersistenceMask = 0 // each address by itself
	}
}

// family returns the family of an address in words.
func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// realServers fills in the real servers.
func (b *builder) realServers(s *Service, raw *rawService) {
	if len(raw.Real) == 0 {
		b.add(raw.at, `real is missing: must be a list like [{ address = "192.168.50.22" }]`)
	}
	base := b.checkOfService(raw)
	seen := make(map[netip.AddrPort]int)
	for i, real := range raw.Real {
		if real == nil {
			continue
		}
		server := RealServer{
			Address: real.Address.is,
			Port:    uint16(real.Port.or(0)),
			Weight:  real.Weight.or(defaultWeight),
			Forward: s.Forward,
		}
		if real.Forward.good() {
			server.Forward = forward(real.Forward.is)
		}
		if !real.Address.set() {
			b.add(real.at, `address is missing: must be an IP address like "192.168.50.22"`)
		}
		if real.Address.good() {
			b.checkReal(s, real, server, seen, i+1)
		}
		server.Check = b.buildCheck(s, raw, real, server, base)
		s.Real = append(s.Real, server)
	}
}

// checkReal notes what cannot work with one real server.
func (b *builder) checkReal(s *Service, raw *rawReal, server RealServer, seen map[netip.AddrPort]int, number int) {
	for _, listen := range s.Listen {
		if server.Address.BitLen() != listen.Address.BitLen() {
			b.add(raw.Address.at, "address %q: must be %s like the address of the service", server.Address, family(listen.Address))
			return
		}
		at := server.at(listen)
		own := at.Addr() == listen.Address && (at.Port() == listen.Port || server.Forward != ipvs.NAT)
		if own {
			b.add(raw.Address.at, "address %q: is the service itself: must be the address of a real server", server.Address)
			return
		}
		if server.Forward != ipvs.NAT && at.Port() != listen.Port {
			b.add(raw.Port.at, "port %d: must be %d, the port of the service, or not be set: forward %q leaves the port as it is",
				server.Port, listen.Port, server.Forward)
			return
		}
		if other, ok := seen[at]; ok && other != number {
			b.add(raw.Address.at, "address %q: is real %d already, at port %d: must be there once", server.Address, other, at.Port())
			return
		}
		seen[at] = number
	}
}

// at returns where the real server serves a listen entry.
func (r RealServer) at(listen ipvs.Key) netip.AddrPort {
	if r.Port != 0 {
		return netip.AddrPortFrom(r.Address, r.Port)
	}
	return netip.AddrPortFrom(r.Address, listen.Port)
}

// ports returns the ports that the service listens on, sorted, each once.
func (s *Service) ports() []int {
	var ports []int
	for _, listen := range s.Listen {
		ports = append(ports, int(listen.Port))
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// enumerate returns two or more numbers in words: 80, 443 and 8080.
func enumerate(numbers []int) string {
	words := strings.Fields(strings.Trim(fmt.Sprint(numbers), "[]"))
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
