package configs

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"lvsd/vrrp"
)

// defaultAdvertInterval is that of RFC 9568, section 6.1.
const defaultAdvertInterval = time.Second

// maxInterface is the length of a name of a network interface, IFNAMSIZ in
// linux/if.h without the zero byte.
const maxInterface = 15

// router is what tells VRRP instances apart on the wire.
type router struct {
	iface string
	vrid  int
	ipv6  bool // the families have a number space each (RFC 9568, section 5.2.3)
}

// checkInstances notes what cannot work with the instances on any director.
func (b *builder) checkInstances() {
	b.holders = make(map[netip.Addr]holder)
	for _, name := range sortedKeys(b.instances) {
		raw := b.instances[name]
		b.checkInterface(raw.Interface)
		if !raw.VRID.set() {
			b.add(raw.at, "vrid is missing: must be 1 to 255, the same on all directors and on no other router of the network")
		}
		b.checkAddresses(name, raw)
		b.checkElection(name, raw)
	}
	for _, director := range sortedKeys(b.directors) {
		for _, override := range b.directors[director].VRRP {
			b.checkInterface(override.Interface)
		}
		b.checkRouters(director, b.directors[director])
		b.checkPlaces(b.directors[director])
		b.checkOwner(director)
	}
	if len(b.directors) == 0 {
		b.checkRouters("", new(rawDirector))
		b.checkPlaces(new(rawDirector))
	}
	for _, name := range sortedKeys(b.instances) {
		b.checkOwners(name)
	}
}

// checkInterface notes a name that no interface can have.
func (b *builder) checkInterface(name value[string]) { b.checkInterfaceName("interface", name) }

// checkInterfaceName does so for the value of any key.
func (b *builder) checkInterfaceName(key string, name value[string]) {
	if !name.good() {
		return
	}
	// The rules of the kernel: dev_valid_name in net/core/dev.c.
	if n := name.is; n == "" || len(n) > maxInterface || n == "." || n == ".." || strings.ContainsAny(n, "/: \t\n\v\f\r") {
		b.add(name.at, "%s %s: must be the name of a network interface, 1 to %d characters", key, show(n), maxInterface)
	}
}

// checkRouters notes instances that a director could not tell apart or has no
// interface for.
func (b *builder) checkRouters(director string, raw *rawDirector) {
	routers := make(map[router]value[int])
	for _, name := range sortedKeys(b.instances) {
		instance := b.instances[name]
		iface := raw.interfaceOf(name, instance)
		if !iface.set() {
			where := ""
			if director != "" {
				where = " or in [director." + director + ".vrrp." + name + "]"
			}
			b.add(instance.at, "interface is missing: must be set here%s", where)
		}
		if !iface.good() || !instance.VRID.good() {
			continue
		}
		r := router{iface.is, instance.VRID.is, instance.ipv6()}
		if other, ok := routers[r]; ok {
			b.add(instance.VRID.at, "vrid %d: %s has it on interface %s already (%s): must be another",
				r.vrid, other.at.table, strconv.Quote(r.iface), other.at)
			continue
		}
		routers[r] = instance.VRID
	}
}

// checkOwner notes a virtual address that is a director's own one. Whoever is
// not Master must not have the address, and so the director would lose its own.
// Only the address owner of the RFC may do so, with priority 255.
func (b *builder) checkOwner(director string) {
	raw := b.directors[director]
	h, ok := b.holders[raw.Address.is]
	if !ok {
		return
	}
	if raw.priorityOf(h.instance, b.instances[h.instance]) == vrrp.PriorityOwner {
		return
	}
	b.add(h.at, "%s: %s is the address of director %q (%s): must be another address, or that director's priority must be %d",
		h.key, raw.Address.is, director, raw.Address.at, vrrp.PriorityOwner)
}

// checkOwners notes an instance that several directors own: they would all be
// Master (RFC 9568, section 6.1: priority 255 is for the address owner).
func (b *builder) checkOwners(instance string) {
	var owners []string
	for _, name := range sortedKeys(b.directors) {
		if b.directors[name].priorityOf(instance, b.instances[instance]) == vrrp.PriorityOwner {
			owners = append(owners, strconv.Quote(name))
		}
	}
	if len(owners) > 1 {
		b.add(b.instances[instance].at, "priority %d: directors %s have it: must be one of them only",
			vrrp.PriorityOwner, strings.Join(owners, " and "))
	}
}

// interfaceOf returns the interface of an instance on a director.
func (d *rawDirector) interfaceOf(name string, instance *rawInstance) value[string] {
	if o := d.VRRP[name]; o != nil && o.Interface.set() {
		return o.Interface
	}
	return instance.Interface
}

// priorityOf returns the priority of an instance on a director.
func (d *rawDirector) priorityOf(name string, instance *rawInstance) int {
	if o := d.VRRP[name]; o != nil && o.Priority.set() {
		return o.Priority.or(defaultPriority)
	}
	return instance.Priority.or(d.Priority.or(defaultPriority))
}

// build returns the instance as it is on one director.
func (i *rawInstance) build(name string, d *rawDirector, directors map[string]*rawDirector) Instance {
	instance := Instance{
		Name:           name,
		Interface:      d.interfaceOf(name, i).is,
		VRID:           uint8(i.VRID.is),
		Priority:       uint8(d.priorityOf(name, i)),
		AdvertInterval: i.AdvertInterval.or(defaultAdvertInterval),
		Preempt:        i.Preempt.or(true),
	}
	for n, a := range i.listed() {
		switch {
		case a.rawAddress == nil:
		case n < len(i.Addresses):
			instance.Addresses = append(instance.Addresses, a.build(instance.Interface))
		default:
			instance.ExtraAddresses = append(instance.ExtraAddresses, a.build(instance.Interface))
		}
	}
	i.elect(&instance, d, directors)
	return instance
}
