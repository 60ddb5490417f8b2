package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Limits of the protocol. An interval travels as 12 bits of centiseconds, RFC 9568, section 5.2.7.
const (
	MinInterval  = 10 * time.Millisecond
	MaxInterval  = 4095 * 10 * time.Millisecond
	MaxAddresses = 255

	// PriorityOwner is the priority of the router that really owns the addresses.
	PriorityOwner = 255
	// priorityResign in an advertisement says that the Master leaves.
	priorityResign = 0
)

// Config is what an operator sets for one virtual router.
type Config struct {
	// VRID names the virtual router on its link, 1 to 255.
	VRID uint8
	// Priority decides who becomes Master, 1 to 254, or 255 for the owner of the addresses.
	Priority uint8
	// Interval lies between two advertisements, a whole number of centiseconds from 10 ms to 40.95 s.
	Interval time.Duration
	// Preempt lets a Backup with a higher priority take over from a living Master. The owner always does.
	Preempt bool
	// Addresses are the virtual addresses, 1 to 255 of IPv4, as they are listed in the advertisements.
	Addresses []netip.Addr
}

// Validate returns an error that lists everything in the configuration that the protocol cannot express.
func (c Config) Validate() error {
	var errs []error
	if c.VRID == 0 {
		errs = append(errs, errors.New("vrid 0: must be 1 to 255"))
	}
	if c.Priority == priorityResign {
		errs = append(errs, errors.New("priority 0: must be 1 to 254, or 255 for the owner of the addresses"))
	}
	if err := checkInterval(c.Interval); err != nil {
		errs = append(errs, err)
	}
	if err := checkAddresses(c.Addresses); err != nil {
		errs = append(errs, err)
	}
	for i, a := range c.Addresses {
		if slices.Contains(c.Addresses[:i], a) {
			errs = append(errs, fmt.Errorf("address %s is listed twice", a))
		}
	}
	return errors.Join(errs...)
}

// preempts says whether a living Master of lower priority is to be replaced. RFC 9568, section 6.1: the owner
// always preempts, whatever Preempt_Mode says.
func (c Config) preempts() bool { return c.Preempt || c.Priority == PriorityOwner }

func checkInterval(d time.Duration) error {
	if d < MinInterval || d > MaxInterval {
		return fmt.Errorf("advertisement interval %s: must be 10ms to 40.95s", d)
	}
	if d%centisecond != 0 {
		return fmt.Errorf("advertisement interval %s: must be a whole number of centiseconds (10ms)", d)
	}
	return nil
}

func checkAddresses(addresses []netip.Addr) error {
	if len(addresses) == 0 || len(addresses) > MaxAddresses {
		return fmt.Errorf("%d addresses: must be 1 to 255", len(addresses))
	}
	for _, a := range addresses {
		if !a.Is4() {
			return fmt.Errorf("address %s: must be an IPv4 address", a)
		}
	}
	return nil
}
