// Package vip keeps virtual addresses on network interfaces and tells the
// neighbours about them.
//
// A Reconciler makes the kernel carry exactly the addresses that it was told to
// hold, keeps them there, and leaves every address that is not lvsd's alone. An
// Announcer sends gratuitous ARP and unsolicited neighbour advertisements, so
// that hosts on the segment send their packets to this machine. Linux is the
// kernel behind both.
package vip

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An Address is a virtual address on an interface.
type Address struct {
	// Interface is the name of the interface, as the kernel lists it.
	Interface string `json:"interface"`
	// Prefix is the address with the length of its subnet. Its host bits are
	// kept: 192.168.50.100/24.
	Prefix netip.Prefix `json:"prefix"`
}

// String returns the address in words: "192.168.50.100/24 on eth2".
func (a Address) String() string {
	return fmt.Sprintf("%s on %s", a.Prefix, a.Interface)
}

// Compare orders addresses by interface, then address, then prefix length.
func (a Address) Compare(b Address) int {
	return cmp.Or(
		strings.Compare(a.Interface, b.Interface),
		a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
	)
}

// Desired says which addresses the machine is to carry.
type Desired struct {
	// Held are the addresses that must be on the machine.
	Held []Address
	// Known are all addresses that lvsd is responsible for. Those of them that
	// are not in Held must not be on the machine. What is in Held is known
	// without being listed here.
	Known []Address
}

func (d Desired) clone() Desired {
	return Desired{Held: slices.Clone(d.Held), Known: slices.Clone(d.Known)}
}

// list names up to three addresses in words and counts the others.
func list(addresses []Address) string {
	const most = 3
	var words []string
	for _, a := range addresses[:min(most, len(addresses))] {
		words = append(words, a.String())
	}
	text := strings.Join(words, ", ")
	if more := len(addresses) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
