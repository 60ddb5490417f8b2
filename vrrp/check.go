package vrrp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// check returns the advertisement in p if it is one for a virtual router of this configuration, in the order of RFC
// 9568, section 7.1; the error wraps a DropReason. own is the address that the link sends from.
func (c Config) check(p Packet, own netip.Addr) (Advertisement, error) {
	if c.Source.IsValid() {
		own = c.Source
	}
	if err := c.checkPath(p, own); err != nil {
		return Advertisement{}, err
	}
	// Another version has other lengths, too: say what is really wrong.
	if len(p.Payload) >= headerBytes && Version(p.Payload[0]>>4) != c.version() {
		return Advertisement{}, fmt.Errorf("version %d, want %d: %w", p.Payload[0]>>4, c.version(), DropVersion)
	}
	a, err := Parse(p.Payload, p.Source, p.Destination)
	if errors.Is(err, DropChecksum) && c.meantForAnother(p) {
		err = fmt.Errorf("%w; keepalived with v3_checksum_as_v2 sends such sums to all peers but its first one", err)
	}
	if err != nil {
		return Advertisement{}, err
	}
	return a, c.checkAdvertisement(a, p.Source)
}

// meantForAnother says whether the checksum is that of the message alone, as it was sent to another peer, and changed by
// what the addresses of that one and ours differ, although it does not cover them. So does keepalived 2.2.8 to 2.4.3.
func (c Config) meantForAnother(p Packet) bool {
	for _, first := range c.Peers {
		differ := uint32(checksum(0, p.Destination.AsSlice())) + uint32(^checksum(0, first.AsSlice()))
		if first != p.Source && checksum(differ, p.Payload) == 0xffff {
			return true
		}
	}
	return false
}

// checkPath checks where the packet comes from and where it was sent to.
func (c Config) checkPath(p Packet, own netip.Addr) error {
	if len(c.Peers) > 0 {
		if p.Destination != own {
			return fmt.Errorf("sent to %s, want %s: %w", p.Destination, own, DropDestination)
		}
	} else {
		if p.Destination != groupOf(p.Destination) {
			return fmt.Errorf("sent to %s: %w", p.Destination, DropDestination)
		}
		// Unicast may cross routers, multicast never does.
		if p.TTL != ttl {
			return fmt.Errorf("TTL %d, want %d: %w", p.TTL, ttl, DropTTL)
		}
		if p.Source.Is6() && !p.Source.IsLinkLocalUnicast() {
			return fmt.Errorf("sent from %s, want a link-local address: %w", p.Source, DropSource)
		}
	}
	if !validSource(p.Source) {
		return DropSource
	}
	if p.Source == own {
		return DropOwn
	}
	if len(c.Peers) > 0 && !slices.Contains(c.Peers, p.Source) {
		return DropPeer
	}
	return nil
}

// validSource says whether a host can send from this address.
func validSource(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// checkAdvertisement checks what depends on the configuration of the virtual router.
func (c Config) checkAdvertisement(a Advertisement, source netip.Addr) error {
	if want, fixed := c.Checksum.rule(); fixed && c.Family() == IPv4 && c.version() == Version3 && a.Checksum != want {
		return fmt.Errorf("the checksum is by the rule %q, want %q: %w", a.Checksum, want, DropChecksum)
	}
	// The owner's own address is one of the virtual ones; 0 is the owner that leaves. Nobody else sends from them.
	if slices.Contains(c.Addresses, source) && a.Priority != PriorityOwner && a.Priority != priorityResign {
		return DropVirtualSource
	}
	if a.Version != Version2 {
		return nil
	}
	want := authentication(c.Password)
	if a.Authentication.Type != want.Type {
		return fmt.Errorf("type %d, want %d: %w", a.Authentication.Type, want.Type, DropAuthentication)
	}
	if want.Type != authenticationNone && subtle.ConstantTimeCompare(a.Authentication.Data[:], want.Data[:]) != 1 {
		return fmt.Errorf("another password: %w", DropAuthentication)
	}
	if a.Interval != c.Interval {
		return fmt.Errorf("interval %s, want %s: %w", a.Interval, c.Interval, DropIntervalMismatch)
	}
	if a.Priority != PriorityOwner && !sameAddresses(a.Addresses, c.Addresses) {
		return fmt.Errorf("lists %v, want %v: %w", a.Addresses, c.Addresses, DropAddresses)
	}
	return nil
}

// rule returns the rule that the mode prescribes, if it does.
func (m ChecksumMode) rule() (rule Checksum, fixed bool) {
	switch m {
	case ChecksumAlwaysPseudoHeader:
		return ChecksumPseudoHeader, true
	case ChecksumAlwaysMessage:
		return ChecksumMessage, true
	default:
		return ChecksumPseudoHeader, false
	}
}
