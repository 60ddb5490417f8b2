// Package ipvstest has an IPVS table in memory, as strict as the kernel's, for
// tests of what is built upon package ipvs.
package ipvstest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"lvsd/ipvs"
)

// A Call is one call of a method of ipvs.Kernel. What the method does not take is
// zero.
type Call struct {
	Method      string // "List", "AddService", ...
	Key         ipvs.Key
	Service     ipvs.Service // without destinations
	Destination ipvs.Destination
}

// String returns, for example, "AddDestination TCP 192.168.50.100:80 192.168.50.22:80 nat 1".
func (c Call) String() string {
	switch c.Method {
	case "List", "Close":
		return c.Method
	case "AddService", "UpdateService":
		return fmt.Sprintf("%s %s %s", c.Method, c.Key, c.Service.Scheduler)
	case "DeleteService":
		return fmt.Sprintf("%s %s", c.Method, c.Key)
	case "DeleteDestination":
		return fmt.Sprintf("%s %s %s", c.Method, c.Key, c.Destination.Address)
	default:
		return fmt.Sprintf("%s %s %s %s %d", c.Method, c.Key, c.Destination.Address, c.Destination.Forward, c.Destination.Weight)
	}
}

// A Kernel is an IPVS table in memory. It implements ipvs.Kernel and refuses what
// the kernel refuses, with the same error numbers: the addition of what is there,
// the change or removal of what is not. It panics where the real one would hang or
// write garbage: two calls at once, a call after Close, a service or destination
// that is not valid.
//
// The methods that are not of ipvs.Kernel may be called at any time by any
// goroutine.
type Kernel struct {
	busy atomic.Bool

	mu     sync.Mutex // guards everything below
	table  map[ipvs.Key]ipvs.Service
	calls  []Call
	lists  int
	fault  func(Call) error
	closed bool
}

var _ ipvs.Kernel = (*Kernel)(nil)

// New returns a kernel that holds the services given.
func New(services ...ipvs.Service) *Kernel {
	k := &Kernel{table: make(map[ipvs.Key]ipvs.Service)}
	for _, s := range services {
		k.table[s.Key] = clone(s)
	}
	return k
}

// SetFault makes f decide over every call from now on: an error it returns is
// returned by the call, which then does nothing. nil ends that. f runs in the
// goroutine of the caller and may block it; it may call Edit, as somebody who is
// quicker than the caller, but no method of ipvs.Kernel.
func (k *Kernel) SetFault(f func(Call) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = f
}

// Calls returns the journal: every call so far but those of List, those that
// failed included.
func (k *Kernel) Calls() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls)
}

// ForgetCalls empties the journal.
func (k *Kernel) ForgetCalls() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = nil
}

// Lists returns how often List was called.
func (k *Kernel) Lists() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lists
}

// Table returns what the kernel holds. Unlike List it is no call.
func (k *Kernel) Table() ipvs.Table {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sorted()
}

// Edit changes the table as somebody else would with ipvsadm: edit gets what the
// kernel holds and returns what it shall hold. It leaves no trace in the journal.
func (k *Kernel) Edit(edit func(ipvs.Table) ipvs.Table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	table := edit(k.sorted())
	clear(k.table)
	for _, s := range table {
		k.table[s.Key] = clone(s)
	}
}

// List implements ipvs.Kernel.
func (k *Kernel) List() (ipvs.Table, error) {
	var t ipvs.Table
	err := k.call(Call{Method: "List"}, func() error {
		t = k.sorted()
		return nil
	})
	return t, err
}

// AddService implements ipvs.Kernel.
func (k *Kernel) AddService(s ipvs.Service) error {
	s = settings(s)
	return k.call(Call{Method: "AddService", Key: s.Key, Service: s}, func() error {
		if _, ok := k.table[s.Key]; ok {
			return syscall.EEXIST
		}
		k.table[s.Key] = s
		return nil
	})
}

// UpdateService implements ipvs.Kernel.
func (k *Kernel) UpdateService(s ipvs.Service) error {
	s = settings(s)
	return k.call(Call{Method: "UpdateService", Key: s.Key, Service: s}, func() error {
		old, ok := k.table[s.Key]
		if !ok {
			return syscall.ESRCH
		}
		s.Destinations = old.Destinations
		k.table[s.Key] = s
		return nil
	})
}

// DeleteService implements ipvs.Kernel.
func (k *Kernel) DeleteService(key ipvs.Key) error {
	return k.call(Call{Method: "DeleteService", Key: key}, func() error {
		if _, ok := k.table[key]; !ok {
			return syscall.ESRCH
		}
		delete(k.table, key)
		return nil
	})
}

// AddDestination implements ipvs.Kernel.
func (k *Kernel) AddDestination(key ipvs.Key, d ipvs.Destination) error {
	return k.destination("AddDestination", key, d, func(s *ipvs.Service, i int) error {
		mustBeValid(*s, d)
		if i >= 0 {
			return syscall.EEXIST
		}
		s.Destinations = append(s.Destinations, d)
		return nil
	})
}

// UpdateDestination implements ipvs.Kernel.
func (k *Kernel) UpdateDestination(key ipvs.Key, d ipvs.Destination) error {
	return k.destination("UpdateDestination", key, d, func(s *ipvs.Service, i int) error {
		mustBeValid(*s, d)
		if i < 0 {
			return syscall.ENOENT
		}
		old := &s.Destinations[i]
		old.Weight, old.Forward = d.Weight, d.Forward
		return nil
	})
}

// DeleteDestination implements ipvs.Kernel.
func (k *Kernel) DeleteDestination(key ipvs.Key, d ipvs.Destination) error {
	return k.destination("DeleteDestination", key, d, func(s *ipvs.Service, i int) error {
		if i < 0 {
			return syscall.ENOENT
		}
		s.Destinations = slices.Delete(s.Destinations, i, i+1)
		return nil
	})
}

// Close implements ipvs.Kernel.
func (k *Kernel) Close() error {
	return k.call(Call{Method: "Close"}, func() error {
		k.closed = true
		return nil
	})
}

// call runs do, unless there is a fault.
func (k *Kernel) call(c Call, do func() error) error {
	if !k.busy.CompareAndSwap(false, true) {
		panic("ipvstest: two calls at once: " + c.String())
	}
	defer k.busy.Store(false)

	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		panic("ipvstest: call after Close: " + c.String())
	}
	if c.Method == "List" {
		k.lists++
	} else {
		k.calls = append(k.calls, c)
	}
	fault := k.fault
	k.mu.Unlock()

	if fault != nil {
		if err := fault(c); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return do()
}

// destination runs do with a service and the place of the destination in it, -1 if
// it is not there, and keeps what do made of the service.
func (k *Kernel) destination(method string, key ipvs.Key, d ipvs.Destination, do func(s *ipvs.Service, i int) error) error {
	return k.call(Call{Method: method, Key: key, Destination: d}, func() error {
		s, ok := k.table[key]
		if !ok {
			return syscall.ESRCH
		}
		i := slices.IndexFunc(s.Destinations, func(o ipvs.Destination) bool { return o.Address == d.Address })
		if err := do(&s, i); err != nil {
			return err
		}
		k.table[key] = s
		return nil
	})
}

// sorted returns a copy of the table; k.mu is held.
func (k *Kernel) sorted() ipvs.Table {
	return ipvs.Table(slices.Collect(maps.Values(k.table))).Sorted()
}

// settings returns a service without its destinations, if the kernel would take it.
func settings(s ipvs.Service) ipvs.Service {
	s.Destinations = nil
	if err := s.Validate(); err != nil {
		panic(fmt.Sprintf("ipvstest: %s: %v", s.Key, err))
	}
	return s
}

func mustBeValid(s ipvs.Service, d ipvs.Destination) {
	s.Destinations = []ipvs.Destination{d}
	if err := s.Validate(); err != nil {
		panic(fmt.Sprintf("ipvstest: %s: %v", s.Key, err))
	}
}

func clone(s ipvs.Service) ipvs.Service {
	s.Destinations = slices.Clone(s.Destinations)
	return s
}
