package configs

import (
	"fmt"
	"net/netip"
	"strings"

	"lvsd/vip"
	"lvsd/vrrp"
)

// maxAddresses bounds the addresses of one instance, those that are advertised
// and the others: all of them move at once.
const maxAddresses = 1000

// Address is a virtual address of an instance on one director.
type Address struct {
	Prefix    netip.Prefix // host bits kept: 192.168.50.100/24
	Interface string
	Label     string // of IPv4, "": none
	Scope     vip.Scope
}

// listed is an address of an instance with the key that it stands under.
type listed struct {
	*rawAddress // nil if it could not be read at all
	key         string
}

// good says whether there is an address to use.
func (l listed) good() bool { return l.rawAddress != nil && l.Address.good() }

// add notes a problem with an address: addresses "192.168.50.0/24": ...
func (l listed) add(b *builder, format string, args ...any) {
	b.add(l.Address.at, "%s %q: %s", l.key, l.Address.is, fmt.Sprintf(format, args...))
}

// listed returns the addresses that are advertised, then the others.
func (i *rawInstance) listed() []listed {
	all := make([]listed, 0, len(i.Addresses)+len(i.ExtraAddresses))
	for _, list := range []struct {
		key       string
		addresses []*rawAddress
	}{{"addresses", i.Addresses}, {"extra_addresses", i.ExtraAddresses}} {
		for _, a := range list.addresses {
			key := list.key
			if a != nil && a.at.table != i.at.table {
				key = "address" // of a table of its own
			}
			all = append(all, listed{a, key})
		}
	}
	return all
}

// advertises returns the first address that the instance advertises, or the zero
// Addr if none can be used.
func (i *rawInstance) advertises() netip.Addr {
	for _, a := range i.listed()[:len(i.Addresses)] {
		if a.good() {
			return a.Address.is.Addr()
		}
	}
	return netip.Addr{}
}

// checkAddresses notes what is wrong with the addresses of an instance on any
// director.
func (b *builder) checkAddresses(name string, raw *rawInstance) {
	all, advertised := raw.listed(), len(raw.Addresses)
	at := func(n int) place {
		if all[n].rawAddress == nil {
			return raw.at
		}
		return all[n].at
	}
	if advertised == 0 {
		b.add(raw.at, `addresses is missing: must be a list like ["192.168.50.100/24"]`)
	}
	if advertised > vrrp.MaxAddresses {
		b.add(at(vrrp.MaxAddresses), "%d addresses: must be 1 to %d: put the others into extra_addresses", advertised, vrrp.MaxAddresses)
	}
	if len(all) > maxAddresses {
		b.add(at(maxAddresses), "%d addresses and extra_addresses: must be at most %d: make it several instances", len(all), maxAddresses)
	}
	first := raw.advertises()
	for n, a := range all {
		if a.rawAddress != nil && !a.Address.set() {
			b.add(a.at, `address is missing: must be an address with its prefix length like "192.168.50.100/24"`)
		}
		if !a.good() {
			b.unsure = true
			continue
		}
		if n < advertised && a.Address.is.Addr().Is4() != first.Is4() {
			a.add(b, "must be %s like the others: put it into extra_addresses or into a second instance", family(first))
		}
		b.checkAddress(name, a)
		b.checkAttributes(a)
	}
}

// checkAddress notes what is wrong with one virtual address, and who holds it.
func (b *builder) checkAddress(instance string, l listed) {
	prefix := l.Address.is
	a := prefix.Addr()
	switch {
	case a.IsLoopback():
		l.add(b, "is a loopback address: must be one of the interface's network")
	case prefix.Bits() == 0:
		l.add(b, "the prefix length must be 1 to %d", a.BitLen())
	case a.Is4() && prefix.Bits() < 31 && (a == prefix.Masked().Addr() || a == broadcast(prefix)):
		l.add(b, "is the network or its broadcast address: must be the address of one machine")
	case a.Is6() && prefix.Bits() < 127 && a == prefix.Masked().Addr():
		// RFC 4291, section 2.6.1, but for links between two routers, RFC 6164.
		l.add(b, "is the network, an address of all its routers: must be the address of one machine")
	}
	other, ok := b.holders[a]
	switch {
	case ok && !a.IsLinkLocalUnicast():
		l.add(b, "vrrp %q has %s already (%s): must be there once", other.instance, a, other.at)
	case !ok:
		b.holders[a] = holder{instance, l.key, l.Address.at}
	}
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// checkAttributes notes what an address cannot have on any director.
func (b *builder) checkAttributes(l listed) {
	b.checkInterfaceName("dev", l.Dev)
	if l.Address.is.Addr().Is4() {
		return
	}
	if l.Label.set() {
		b.add(l.Label.at, "label: does nothing for IPv6: must be left out")
	}
	if l.Scope.set() {
		b.add(l.Scope.at, "scope: does nothing for IPv6, where the address says it: must be left out")
	}
}

// subnet is a network on an interface.
type subnet struct {
	iface  string
	prefix netip.Prefix
}

// checkPlaces notes addresses that do not go on their interface of one director,
// alone or together.
func (b *builder) checkPlaces(raw *rawDirector) {
	networks := make(map[subnet]listed)   // the first address of each
	linkLocals := make(map[subnet]listed) // by their own address
	for _, name := range sortedKeys(b.instances) {
		instance := b.instances[name]
		for _, a := range instance.listed() {
			if !a.good() {
				continue
			}
			iface := a.Dev
			if !iface.set() {
				iface = raw.interfaceOf(name, instance)
			}
			if !iface.good() {
				continue
			}
			prefix := a.Address.is
			b.checkLabel(a, iface)
			if prefix.Addr().IsLinkLocalUnicast() {
				host := subnet{iface.is, netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen())}
				if other, ok := linkLocals[host]; ok {
					a.add(b, "%s is on interface %q already (%s): must be there once", prefix.Addr(), iface.is, other.Address.at)
				}
				linkLocals[host] = a
			}
			network := subnet{iface.is, prefix.Masked()}
			first, ok := networks[network]
			if !ok {
				networks[network] = a
				continue
			}
			// net/ipv4/devinet.c, __inet_insert_ifa.
			if is, must := a.scope(), first.scope(); prefix.Addr().Is4() && !a.Scope.bad && !first.Scope.bad && is != must {
				a.add(b, "scope %q: must be %q, that of %s in the same network (%s), or the prefix length be 32",
					is, must, first.Address.is, first.Address.at)
			}
		}
	}
}

// checkLabel notes a label that does not go with an interface.
func (b *builder) checkLabel(l listed, iface value[string]) {
	label := l.Label
	if !label.good() || l.Address.is.Addr().Is6() {
		return
	}
	rest, ok := strings.CutPrefix(label.is, iface.is+":")
	if !ok || rest == "" || len(label.is) > maxInterface || strings.ContainsAny(rest, "/ \t\n\v\f\r") {
		b.add(label.at, "label %s: must be the interface (%s), a colon and more, at most %d characters in all, like %q",
			show(label.is), iface.at, maxInterface, iface.is+":web")
	}
}

// scope returns how far an address means something.
func (a *rawAddress) scope() vip.Scope {
	for _, scope := range []vip.Scope{vip.ScopeSite, vip.ScopeLink, vip.ScopeHost} {
		if a.Scope.is == scope.String() {
			return scope
		}
	}
	return vip.ScopeGlobal
}

// build returns the address as it is on a director, where the instance is on the
// given interface.
func (a *rawAddress) build(iface string) Address {
	if a.Dev.set() {
		iface = a.Dev.is
	}
	return Address{Prefix: a.Address.is, Interface: iface, Label: a.Label.is, Scope: a.scope()}
}
