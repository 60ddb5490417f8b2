package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Limits of the protocol. In version 3 an interval travels as 12 bits of centiseconds, RFC 9568, section 5.2.7, in
// version 2 as 8 bits of seconds, RFC 3768, section 5.3.7.
const (
	MinInterval  = 10 * time.Millisecond
	MaxInterval  = 4095 * 10 * time.Millisecond
	MinInterval2 = time.Second
	MaxInterval2 = 255 * time.Second

	MaxAddresses = 255
	// MaxAddresses6 is how many IPv6 addresses fit into an Ethernet frame of 1,500 bytes with the headers of IPv6
	// and VRRP.
	MaxAddresses6 = (1500 - ipv6HeaderBytes - headerBytes) / 16

	// MaxPassword is how many bytes of a password the protocol carries.
	MaxPassword = authenticationBytes

	// PriorityOwner is the priority of the router that really owns the addresses.
	PriorityOwner = 255
	// priorityResign in an advertisement says that the Master leaves.
	priorityResign = 0
)

// Family is the IP version that a virtual router speaks and has addresses of.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// ChecksumMode says which rule the checksums of version 3 over IPv4 follow.
type ChecksumMode uint8

const (
	// ChecksumAuto accepts every rule, and sends with the pseudo-header until the others are found to send
	// otherwise.
	ChecksumAuto ChecksumMode = iota
	// ChecksumAlwaysPseudoHeader accepts and sends [ChecksumPseudoHeader] only.
	ChecksumAlwaysPseudoHeader
	// ChecksumAlwaysMessage accepts and sends [ChecksumMessage] only.
	ChecksumAlwaysMessage
)

// Config is what an operator sets for one virtual router.
type Config struct {
	// Version is that of the protocol; 0 means [Version3].
	Version Version
	// VRID names the virtual router on its link, 1 to 255. IPv4 and IPv6 have a number space each.
	VRID uint8
	// Priority decides who becomes Master, 1 to 254, or 255 for the owner of the addresses.
	Priority uint8
	// Interval lies between two advertisements: in version 3 a whole number of centiseconds from 10 ms to 40.95 s,
	// in version 2 a whole number of seconds from 1 to 255.
	Interval time.Duration
	// Preempt lets a Backup with a higher priority take over from a living Master. The owner always does.
	Preempt bool
	// PreemptDelay is how long such a Backup bears with the Master after it has first heard it, 0 or more.
	PreemptDelay time.Duration
	// Addresses are the virtual addresses, 1 to 255 of IPv4 or 1 to 90 of IPv6, as they are listed in the
	// advertisements.
	Addresses []netip.Addr
	// Peers makes the virtual router unicast: advertisements go to these addresses, and are accepted from them
	// alone. Without peers they go to the multicast group.
	Peers []netip.Addr
	// Source is the address that unicast advertisements come from, as the peers know this router. Multicast ones
	// come from the address of the link.
	Source netip.Addr
	// Password is that of version 2, at most 8 bytes; "" means no authentication. It protects against mistakes, not
	// against people: it travels in clear.
	Password string
	// Checksum is the rule for version 3 over IPv4.
	Checksum ChecksumMode
}

// Family is the family of the addresses.
func (c Config) Family() Family {
	if len(c.Addresses) > 0 && c.Addresses[0].Is6() {
		return IPv6
	}
	return IPv4
}

// Size returns the length of the advertisement in bytes, with the header of IP.
func (c Config) Size() int {
	ipv4 := c.Family() == IPv4
	n := headerBytes + addressBytes(ipv4)*len(c.Addresses) + trailing(c.version(), ipv4)
	if ipv4 {
		return ipv4HeaderBytes + n
	}
	return ipv6HeaderBytes + n
}

// Validate returns an error that lists everything in the configuration that the protocol cannot express.
func (c Config) Validate() error {
	var errs []error
	if v := c.version(); v != Version2 && v != Version3 {
		errs = append(errs, fmt.Errorf("version %d: must be 2 or 3", v))
	}
	if c.VRID == 0 {
		errs = append(errs, errors.New("vrid 0: must be 1 to 255"))
	}
	if c.Priority == priorityResign {
		errs = append(errs, errors.New("priority 0: must be 1 to 254, or 255 for the owner of the addresses"))
	}
	if err := checkInterval(c.version(), c.Interval); err != nil {
		errs = append(errs, err)
	}
	if c.PreemptDelay < 0 {
		errs = append(errs, fmt.Errorf("preempt delay %s: must be 0 or more", c.PreemptDelay))
	}
	errs = append(errs, c.checkAddresses()...)
	for _, p := range c.Peers {
		if familyOf(p) != c.Family() {
			errs = append(errs, fmt.Errorf("peer %s: must be an %s address", p, c.Family()))
		}
	}
	if len(c.Peers) > 0 && (!c.Source.IsValid() || familyOf(c.Source) != c.Family()) {
		errs = append(errs, fmt.Errorf("source %s: must be an %s address of this router", c.Source, c.Family()))
	}
	if c.Password != "" && c.version() != Version2 {
		errs = append(errs, errors.New("password: is of version 2 only"))
	}
	return errors.Join(errs...)
}

func (c Config) checkAddresses() []error {
	var errs []error
	limit := MaxAddresses
	if c.Family() == IPv6 {
		limit = MaxAddresses6
		if c.version() == Version2 {
			errs = append(errs, errors.New("version 2: is for IPv4 only"))
		}
	}
	if len(c.Addresses) == 0 || len(c.Addresses) > limit {
		errs = append(errs, fmt.Errorf("%d addresses: must be 1 to %d", len(c.Addresses), limit))
	}
	for i, a := range c.Addresses {
		if familyOf(a) != c.Family() {
			errs = append(errs, fmt.Errorf("address %s: must be an %s address like %s", a, c.Family(), c.Addresses[0]))
		}
		if slices.Contains(c.Addresses[:i], a) {
			errs = append(errs, fmt.Errorf("address %s is listed twice", a))
		}
	}
	return errs
}

// clone returns a copy that shares nothing.
func (c Config) clone() Config {
	c.Addresses, c.Peers = slices.Clone(c.Addresses), slices.Clone(c.Peers)
	return c
}

func (c Config) version() Version {
	if c.Version == 0 {
		return Version3
	}
	return c.Version
}

// preempts says whether a living Master of lower priority is to be replaced. RFC 9568, section 6.1: the owner
// always preempts, whatever Preempt_Mode says.
func (c Config) preempts() bool { return c.Preempt || c.Priority == PriorityOwner }

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

func checkInterval(v Version, d time.Duration) error {
	if v == Version2 {
		if d < MinInterval2 || d > MaxInterval2 || d%time.Second != 0 {
			return fmt.Errorf("advertisement interval %s: must be 1s to 255s in whole seconds in version 2", d)
		}
		return nil
	}
	if d < MinInterval || d > MaxInterval {
		return fmt.Errorf("advertisement interval %s: must be 10ms to 40.95s", d)
	}
	if d%centisecond != 0 {
		return fmt.Errorf("advertisement interval %s: must be a whole number of centiseconds (10ms)", d)
	}
	return nil
}
