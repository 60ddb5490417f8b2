package vrrp

import (
	"errors"
	"fmt"
)

// DropReason says why a packet was dropped. It is an error, so that Parse can wrap it with the detail; a dropped
// packet never touches a timer, a state or what was learned from valid ones.
type DropReason uint8

const (
	// DropDestination: not sent to the VRRP multicast group, RFC 9568, section 5.1.1.2, or with unicast not to us.
	DropDestination DropReason = iota
	// DropTTL: the TTL or hop limit is not 255, so the packet may come from another network, section 5.1.1.3.
	DropTTL
	// DropSource: no host can have this source address.
	DropSource
	// DropOwn: the source is our own address: a loop on the link, or an address given twice.
	DropOwn
	// DropTruncated: shorter than its own header says.
	DropTruncated
	// DropVersion: not the version of the virtual router.
	DropVersion
	// DropType: not an advertisement, section 5.2.2.
	DropType
	// DropTrailing: longer than its own header says.
	DropTrailing
	// DropChecksum: the checksum fits under no rule, or not under the one that is configured.
	DropChecksum
	// DropCount: no address listed, section 5.2.5 and erratum 8299.
	DropCount
	// DropInterval: an interval of zero, erratum 8301.
	DropInterval
	// DropVRID: no instance for this VRID on this link.
	DropVRID
	// DropVirtualSource: sent from one of the virtual addresses by a router that does not own them.
	DropVirtualSource
	// DropPeer: unicast from a router that is none of the peers.
	DropPeer
	// DropAuthentication: not the authentication of the virtual router, RFC 3768, section 7.1.
	DropAuthentication
	// DropIntervalMismatch: in version 2 all routers must have one interval, RFC 3768, section 7.1.
	DropIntervalMismatch
	// DropAddresses: in version 2 only the owner may list other addresses, RFC 3768, section 7.1.
	DropAddresses
	// DropOverrun: the instance had too many packets waiting.
	DropOverrun

	dropReasons // how many there are
)

// String returns the reason in lower-case words that are stable, so that they can be label values.
func (r DropReason) String() string {
	switch r {
	case DropDestination:
		return "destination"
	case DropTTL:
		return "ttl"
	case DropSource:
		return "source"
	case DropOwn:
		return "own address"
	case DropTruncated:
		return "truncated"
	case DropVersion:
		return "version"
	case DropType:
		return "type"
	case DropTrailing:
		return "trailing bytes"
	case DropChecksum:
		return "checksum"
	case DropCount:
		return "no addresses"
	case DropInterval:
		return "interval zero"
	case DropVRID:
		return "unknown vrid"
	case DropVirtualSource:
		return "virtual source"
	case DropPeer:
		return "unknown peer"
	case DropAuthentication:
		return "authentication"
	case DropIntervalMismatch:
		return "interval mismatch"
	case DropAddresses:
		return "address mismatch"
	case DropOverrun:
		return "overrun"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error implements error with the same words as String.
func (r DropReason) Error() string { return r.String() }

// MarshalText implements encoding.TextMarshaler with the same words as String. It never fails.
func (r DropReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// reasonOf returns the DropReason that err wraps. Every error of Parse has one.
func reasonOf(err error) DropReason {
	var r DropReason
	if !errors.As(err, &r) {
		panic("vrrp: a packet was dropped without a reason: " + err.Error())
	}
	return r
}

// drops counts dropped packets by reason.
type drops [dropReasons]uint64

// counts returns the reasons that occurred.
func (d *drops) counts() map[DropReason]uint64 {
	m := make(map[DropReason]uint64)
	for r, n := range d {
		if n > 0 {
			m[DropReason(r)] = n
		}
	}
	return m
}
