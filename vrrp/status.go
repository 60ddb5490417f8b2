package vrrp

import (
	"net/netip"
	"time"
)

// Status is a snapshot of an Instance.
type Status struct {
	Name      string
	Interface string
	Config    Config
	State     State
	// Since is when State was entered.
	Since time.Time
	// Reason is why it was; in Fault, what is wrong at present.
	Reason string
	// Holding says whether the addresses are on the interface, or may be: also for a while after Master was left.
	Holding bool
	// Source is the address our advertisements come from; the zero Addr without a socket.
	Source netip.Addr
	// Master is who is Master as far as this router knows: itself, or the router last heard, or the zero Addr.
	Master netip.Addr
	// MasterPriority and MasterInterval are what that router advertised last, 0 if there is none.
	MasterPriority uint8
	MasterInterval time.Duration
	// Gate is why this router must not become Master at present, "" if it may.
	Gate string
	// Aside says that it has stepped down and leaves the lead to the others.
	Aside bool
	// Rival is another router that is Master too, as far as this Master knows, and RivalSince when it was first heard;
	// the zero Addr if there is none.
	Rival      netip.Addr
	RivalSince time.Time
	// Peers are the other routers that were heard, at most 32.
	Peers    []PeerStatus
	Counters Counters
}

// Counters count what happened to an Instance since its start.
type Counters struct {
	// Sent and Received count valid advertisements, those with priority 0 included.
	Sent, Received uint64
	// PriorityZeroSent and PriorityZeroReceived count resignations.
	PriorityZeroSent, PriorityZeroReceived uint64
	// MasterTransitions counts how often this router became Master.
	MasterTransitions uint64
	// SendErrors counts advertisements that could not be sent.
	SendErrors uint64
	// HolderErrors counts addresses that could not be taken or released in time.
	HolderErrors uint64
	// RivalsHeard counts advertisements of other routers that this Master heard and won against, but for those of
	// its first interval: then they may be the last words of the Master before it.
	RivalsHeard uint64
	// AddressMismatches and IntervalMismatches count advertisements that list other addresses, or another
	// interval, than are configured here. They are accepted, RFC 9568, section 7.1.
	AddressMismatches, IntervalMismatches uint64
	// Late counts advertisements and takeovers that were late by more than a tenth of the interval, and MaxLate is the
	// latest of all.
	Late    uint64
	MaxLate time.Duration
	// Dropped counts invalid packets by reason.
	Dropped map[DropReason]uint64
}
