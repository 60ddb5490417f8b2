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
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// An Address is a virtual address on an interface. It is what addresses are
// known by: two with the same interface and prefix are the same address, whatever
// their attributes.
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

// Attributes are what can be chosen of an address besides where it is. The zero
// value is what an address has for which nothing is chosen.
type Attributes struct {
	// Label is the name under which an IPv4 address is listed: that of the
	// interface, a colon and more, 15 characters at most. Empty: the interface's
	// name. IPv6 has none.
	Label string
	// Scope says how far an IPv4 address means something. The kernel knows the
	// scope of an IPv6 address by itself.
	Scope Scope
}

// String returns the attributes as "ip addr add" takes them: "label eth2:web
// scope link", empty for the zero value.
func (a Attributes) String() string {
	var words []string
	if a.Label != "" {
		words = append(words, "label "+a.Label)
	}
	if a.Scope != ScopeGlobal {
		words = append(words, "scope "+a.Scope.String())
	}
	return strings.Join(words, " ")
}

// Scope says how far an address means something, in the kernel's numbers
// (rtm_scope in linux/rtnetlink.h). The kernel chooses an address as the source
// of its own packets only for what is within its scope.
type Scope uint8

// The scopes of an address.
const (
	ScopeGlobal Scope = 0
	ScopeSite   Scope = 200
	ScopeLink   Scope = 253
	ScopeHost   Scope = 254
)

// String returns the word that "ip addr" has for the scope.
func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeSite:
		return "site"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	default:
		return fmt.Sprintf("%d", uint8(s))
	}
}

// An Entry is an address as the kernel lists it.
type Entry struct {
	Address
	Attributes
	Flaw Flaw
}

// A Flaw is why an address cannot stay as it is, whatever attributes it is to
// have. Only IPv6 addresses that lvsd did not put on have any.
type Flaw uint8

const (
	// Sound is to have no flaw.
	Sound Flaw = iota
	// Preferred is to be open to the kernel as a source of its own connections
	// (RFC 6724, section 5, rule 3), or to expire one day.
	Preferred
	// Duplicate is to be unusable because duplicate address detection has found
	// the address elsewhere, with the director that had it before for example.
	Duplicate
)

// String returns the flaw in words.
func (f Flaw) String() string {
	switch f {
	case Sound:
		return "is sound"
	case Preferred:
		return "could be a source of the machine's own connections, or expire"
	case Duplicate:
		return "had failed duplicate address detection"
	default:
		return fmt.Sprintf("Flaw(%d)", uint8(f))
	}
}

// Desired says which addresses the machine is to carry.
type Desired struct {
	// Held are the addresses that must be on the machine.
	Held []Address
	// Known are all addresses that lvsd is responsible for. Those of them that
	// are not in Held must not be on the machine. What is in Held is known
	// without being listed here.
	Known []Address
	// Attributes are those of the addresses in Held. An address that is not in
	// the map has none.
	Attributes map[Address]Attributes
}

func (d Desired) clone() Desired {
	return Desired{Held: slices.Clone(d.Held), Known: slices.Clone(d.Known), Attributes: maps.Clone(d.Attributes)}
}

// attributes returns those that a is to have, in the form in which the kernel
// lists them.
func (d Desired) attributes(a Address) Attributes {
	if a.Prefix.Addr().Is6() {
		return Attributes{}
	}
	return named(d.Attributes[a], a.Interface)
}

// named returns attributes without a label that is no more than the name of the
// interface.
func named(a Attributes, interfaceName string) Attributes {
	if a.Label == interfaceName {
		a.Label = ""
	}
	return a
}

// asWanted reports whether an address that is to be held can stay as it is.
func (d Desired) asWanted(e Entry) bool {
	return e.Flaw == Sound && e.Attributes == d.attributes(e.Address)
}

// differs says what is not as wanted.
func (d Desired) differs(e Entry) string {
	var words []string
	want := d.attributes(e.Address)
	if e.Label != want.Label {
		words = append(words, fmt.Sprintf("had label %s instead of %s",
			cmp.Or(e.Label, e.Interface), cmp.Or(want.Label, e.Interface)))
	}
	if e.Scope != want.Scope {
		words = append(words, fmt.Sprintf("had scope %s instead of %s", e.Scope, want.Scope))
	}
	if e.Flaw != Sound {
		words = append(words, e.Flaw.String())
	}
	return strings.Join(words, ", ")
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
