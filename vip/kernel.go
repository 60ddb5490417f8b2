package vip

import (
	"errors"
	"net"
	"net/netip"
)

// ErrNoLink says that there is no interface of the given name.
var ErrNoLink = errors.New("no such interface")

// Kernel is what the Reconciler needs of the operating system.
type Kernel interface {
	// Addresses returns every address of every interface, lvsd's own and
	// foreign ones. It returns an error rather than a part of them.
	Addresses() ([]Entry, error)
	// Add puts an address on its interface. The error wraps ErrNoLink when
	// there is no such interface, and EEXIST when the address is there already.
	Add(Address, Attributes) error
	// Change gives an address that is on its interface other attributes, and
	// mends its flaw. The error wraps ErrNoLink when there is no such interface.
	// An address that is not there any more is added, or the error wraps
	// EADDRNOTAVAIL. After another error the address may be gone.
	Change(Entry, Attributes) error
	// Delete takes an address from its interface. The error wraps ErrNoLink when
	// there is no such interface, and EADDRNOTAVAIL when the address is not there.
	Delete(Address) error
	// RemovedBy says in words which process took an address from its interface,
	// if it has not come back since: "NetworkManager (pid 812)". It returns ""
	// if that is not known, or if no process did it.
	RemovedBy(Address) string
}

// A Link is an interface as the kernel describes it.
type Link struct {
	Name         string
	Index        int
	HardwareAddr net.HardwareAddr
	MTU          int            // in bytes
	Up           bool           // an operator set it up (IFF_UP)
	Carrier      bool           // it can carry packets (IFF_RUNNING)
	NoARP        bool           // no neighbour is resolved there (IFF_NOARP, loopback)
	Router       bool           // it forwards IPv6 packets
	Addresses    []netip.Prefix // that can be used, with their host bits
}
