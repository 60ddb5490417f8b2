// Package viptest fakes what package vip stands on: a kernel with interfaces and
// addresses, and the wires that frames are sent on. Both are strict, keep their
// state, and work in synctest bubbles.
package viptest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"

	"lvsd/vip"
)

// An Op is a call of the kernel.
type Op string

// The calls of vip.Kernel.
const (
	OpAddresses Op = "addresses"
	OpAdd       Op = "add"
	OpChange    Op = "change"
	OpDelete    Op = "delete"
)

// A Kernel is a vip.Kernel in memory. As the real one, it refuses to add an
// address twice (EEXIST), to change or delete one that is not there
// (EADDRNOTAVAIL), and to do any of it on an interface that does not exist
// (vip.ErrNoLink).
type Kernel struct {
	mu      sync.Mutex
	links   []*vip.Link               // in the order of their making
	entries map[vip.Address]vip.Entry // what is on them
	removed map[vip.Address]string    // who took it
	index   int                       // of the newest
	fault   func(Op, vip.Address) error
	calls   []string
	wake    chan struct{}
}

var _ vip.Kernel = (*Kernel)(nil)

// NewKernel returns a Kernel with the named interfaces, which are up.
func NewKernel(interfaces ...string) *Kernel {
	k := &Kernel{
		entries: make(map[vip.Address]vip.Entry),
		removed: make(map[vip.Address]string),
		wake:    make(chan struct{}, 1),
	}
	for _, name := range interfaces {
		k.AddLink(name)
	}
	return k
}

// AddLink makes an interface, up and with carrier. Its index is new, and its
// hardware address is 02:00:00:00:00:xx with the index as xx.
func (k *Kernel) AddLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.find(name) != nil {
		panic("viptest: interface " + name + " is there already")
	}
	k.index++
	k.links = append(k.links, &vip.Link{
		Name:         name,
		Index:        k.index,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, byte(k.index >> 8), byte(k.index)},
		MTU:          1500,
		Up:           true,
		Carrier:      true,
	})
	k.notify()
}

// RemoveLink removes an interface and the addresses on it.
func (k *Kernel) RemoveLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.must(name).Addresses {
		delete(k.entries, vip.Address{Interface: name, Prefix: p})
	}
	k.links = slices.DeleteFunc(k.links, func(l *vip.Link) bool { return l.Name == name })
	k.notify()
}

// SetLink changes an interface: up or down, its carrier, its hardware address.
func (k *Kernel) SetLink(name string, change func(*vip.Link)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.must(name))
	k.notify()
}

// Link returns the named interface, as vip.Linux does.
func (k *Kernel) Link(name string) (vip.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.find(name)
	if l == nil {
		return vip.Link{}, fmt.Errorf("%w: %s", vip.ErrNoLink, name)
	}
	out := *l
	out.HardwareAddr = slices.Clone(out.HardwareAddr)
	out.Addresses = slices.Clone(out.Addresses)
	return out, nil
}

// Fail makes each call ask fault first; an error of it is what the call returns,
// and nothing else happens. With OpAddresses the address is the zero one. Nil
// ends it. fault may change the Kernel, as somebody who is quicker would.
func (k *Kernel) Fail(fault func(Op, vip.Address) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = fault
}

// Wake receives when addresses or interfaces have changed, by whomever. It has
// one slot.
func (k *Kernel) Wake() <-chan struct{} { return k.wake }

// Put adds an address as somebody else would, with "ip addr add", and without
// anything that lvsd would change.
func (k *Kernel) Put(a vip.Address) { k.PutEntry(vip.Entry{Address: a}) }

// PutEntry adds an address with attributes and a flaw, as somebody else would.
func (k *Kernel) PutEntry(e vip.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.add(e); err != nil {
		panic(fmt.Sprintf("viptest: putting %s: %v", e.Address, err))
	}
}

// Take deletes an address as somebody else would, with "ip addr del".
func (k *Kernel) Take(a vip.Address) { k.TakeAs(a, "") }

// TakeAs deletes an address as the process would that RemovedBy then names.
func (k *Kernel) TakeAs(a vip.Address, who string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.delete(a); err != nil {
		panic(fmt.Sprintf("viptest: taking %s: %v", a, err))
	}
	k.removed[a] = who
}

// Turn changes an address that is there as somebody else would.
func (k *Kernel) Turn(e vip.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.entries[e.Address]; !ok {
		panic(fmt.Sprintf("viptest: %s is not there", e.Address))
	}
	k.entries[e.Address] = e
	k.notify()
}

// Entry returns an address that is there as Addresses lists it.
func (k *Kernel) Entry(a vip.Address) vip.Entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.entries[a]
	if !ok {
		panic(fmt.Sprintf("viptest: %s is not there", a))
	}
	return e
}

// Has reports whether an address is there.
func (k *Kernel) Has(a vip.Address) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.find(a.Interface)
	return l != nil && slices.Contains(l.Addresses, a.Prefix)
}

// Calls returns the calls that meant to change something, and succeeded, since
// Calls was called last: "add 10.0.0.1/24 on eth0 label eth0:web".
func (k *Kernel) Calls() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	calls := k.calls
	k.calls = nil
	return calls
}

// String prints the interfaces and addresses as "ip -brief addr" does.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, l := range k.links {
		state := "DOWN"
		if l.Up && l.Carrier {
			state = "UP"
		}
		fmt.Fprintf(&b, "%-16s %-14s", l.Name, state)
		for _, p := range l.Addresses {
			fmt.Fprintf(&b, " %s", p)
		}
		b.WriteString(" \n")
	}
	return b.String()
}

// Addresses implements vip.Kernel.
func (k *Kernel) Addresses() ([]vip.Entry, error) {
	if err := k.injected(OpAddresses, vip.Address{}); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var have []vip.Entry
	for _, l := range k.links {
		for _, p := range l.Addresses {
			have = append(have, k.entries[vip.Address{Interface: l.Name, Prefix: p}])
		}
	}
	return have, nil
}

// Add implements vip.Kernel.
func (k *Kernel) Add(a vip.Address, attributes vip.Attributes) error {
	if err := k.injected(OpAdd, a); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.add(vip.Entry{Address: a, Attributes: attributes}); err != nil {
		return err
	}
	k.called(OpAdd, a, attributes)
	return nil
}

// Change implements vip.Kernel.
func (k *Kernel) Change(from vip.Entry, to vip.Attributes) error {
	if err := k.injected(OpChange, from.Address); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.find(from.Interface) == nil {
		return fmt.Errorf("%w: %s", vip.ErrNoLink, from.Interface)
	}
	if _, ok := k.entries[from.Address]; !ok {
		return syscall.EADDRNOTAVAIL
	}
	k.entries[from.Address] = vip.Entry{Address: from.Address, Attributes: to}
	k.notify()
	k.called(OpChange, from.Address, to)
	return nil
}

// Delete implements vip.Kernel.
func (k *Kernel) Delete(a vip.Address) error {
	if err := k.injected(OpDelete, a); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.delete(a); err != nil {
		return err
	}
	k.called(OpDelete, a, vip.Attributes{})
	return nil
}

// RemovedBy implements vip.Kernel.
func (k *Kernel) RemovedBy(a vip.Address) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.removed[a]
}

// called notes a call that has changed something.
func (k *Kernel) called(op Op, a vip.Address, attributes vip.Attributes) {
	k.calls = append(k.calls, strings.TrimSpace(fmt.Sprintf("%s %s %s", op, a, attributes)))
}

// injected asks the fault, without holding the mutex.
func (k *Kernel) injected(op Op, a vip.Address) error {
	k.mu.Lock()
	fault := k.fault
	k.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op, a)
}

func (k *Kernel) add(e vip.Entry) error {
	a := e.Address
	l := k.find(a.Interface)
	if l == nil {
		return fmt.Errorf("%w: %s", vip.ErrNoLink, a.Interface)
	}
	if !a.Prefix.IsValid() {
		return syscall.EINVAL
	}
	for _, p := range l.Addresses {
		// The real kernel tells IPv6 addresses apart without their prefix length.
		if p == a.Prefix || p.Addr().Is6() && p.Addr() == a.Prefix.Addr() {
			return syscall.EEXIST
		}
	}
	l.Addresses = append(l.Addresses, a.Prefix)
	k.entries[a] = e
	delete(k.removed, a)
	k.notify()
	return nil
}

func (k *Kernel) delete(a vip.Address) error {
	l := k.find(a.Interface)
	if l == nil {
		return fmt.Errorf("%w: %s", vip.ErrNoLink, a.Interface)
	}
	i := slices.Index(l.Addresses, a.Prefix)
	if i < 0 {
		return syscall.EADDRNOTAVAIL
	}
	l.Addresses = slices.Delete(l.Addresses, i, i+1)
	delete(k.entries, a)
	delete(k.removed, a)
	k.notify()
	return nil
}

func (k *Kernel) find(name string) *vip.Link {
	for _, l := range k.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

func (k *Kernel) must(name string) *vip.Link {
	l := k.find(name)
	if l == nil {
		panic("viptest: no interface " + name)
	}
	return l
}

func (k *Kernel) notify() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Addresses parses words like "10.0.0.1/24" into addresses on an interface.
func Addresses(interfaceName string, prefixes ...string) []vip.Address {
	var out []vip.Address
	for _, p := range prefixes {
		out = append(out, vip.Address{Interface: interfaceName, Prefix: netip.MustParsePrefix(p)})
	}
	return out
}
