package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxPeers is how many routers are remembered for each virtual router; further ones replace the one that was
	// heard the longest ago.
	maxPeers = 32
	// convinced is how many advertisements in a row must follow one rule for the checksum before we send by it: one
	// forged packet is not enough.
	convinced = 3
)

// PeerStatus is what is known of another router of the virtual router.
type PeerStatus struct {
	// Source is the address of its advertisements.
	Source netip.Addr
	// Heard is when the last one came.
	Heard time.Time
	// Priority and Interval are from the last one; a priority of 0 says that the router has resigned.
	Priority uint8
	Interval time.Duration
	// Checksum is the rule of the last ones, and Run how many followed it in a row.
	Checksum Checksum
	Run      uint64
	// Received counts its valid advertisements, those with priority 0 included.
	Received, PriorityZeroReceived uint64
}

// peer is a router that was heard.
type peer struct {
	PeerStatus
	settled bool
	rule    Checksum // if settled: the last one that it followed for long enough
}

// peers are the routers that were heard.
type peers []peer

// hear notes a valid advertisement.
func (p *peers) hear(a Advertisement, source netip.Addr) {
	i := slices.IndexFunc(*p, func(s peer) bool { return s.Source == source })
	if i < 0 && len(*p) < maxPeers {
		*p = append(*p, peer{})
		i = len(*p) - 1
	} else if i < 0 {
		oldest := slices.MinFunc(*p, func(a, b peer) int { return a.Heard.Compare(b.Heard) })
		i = slices.Index(*p, oldest)
		(*p)[i] = peer{}
	}
	s := &(*p)[i]
	s.Source, s.Heard, s.Priority, s.Interval = source, time.Now(), a.Priority, a.Interval
	if s.Checksum != a.Checksum {
		s.Checksum, s.Run = a.Checksum, 0
	}
	s.Run++
	if s.Run >= convinced {
		s.settled, s.rule = true, s.Checksum
	}
	s.Received++
	if a.Priority == priorityResign {
		s.PriorityZeroReceived++
	}
}

// rule returns the rule for the checksum of what is sent to an address: that of the peer there, or, for multicast, that
// of all peers if it is the same. Who has not yet convinced us of any rule has no say.
func (p peers) rule(to netip.Addr) Checksum {
	rule, found := ChecksumPseudoHeader, false
	for _, s := range p {
		switch {
		case !s.settled || !to.IsMulticast() && s.Source != to:
		case found && s.rule != rule:
			return ChecksumPseudoHeader
		default:
			rule, found = s.rule, true
		}
	}
	return rule
}

// status returns what is known of them.
func (p peers) status() []PeerStatus {
	var all []PeerStatus
	for _, s := range p {
		all = append(all, s.PeerStatus)
	}
	return all
}
