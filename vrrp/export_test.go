package vrrp

import (
	"net/netip"
	"time"
)

// ParseIPv4 lets the captured packets go through the same door as received ones.
var ParseIPv4 = parseIPv4

// Validate is what a Link asks of every packet, for a virtual router of version 3 with multicast.
func Validate(p Packet, own netip.Addr) (Advertisement, error) { return Config{}.check(p, own) }

// State of a Machine that its invariants are about.
func (m *Machine) Holding() bool  { return m.holding }
func (m *Machine) Adopting() bool { return m.adopting }
func (m *Machine) Waiting() bool  { return m.turn != "" }
func (m *Machine) Gated() bool    { return m.gate != "" }
func (m *Machine) Aside() bool    { return m.aside }

// DropReasons lists all reasons.
func DropReasons() []DropReason {
	var all []DropReason
	for r := range dropReasons {
		all = append(all, r)
	}
	return all
}

// Timers lists all timers.
func Timers() []Timer {
	var all []Timer
	for t := range timers {
		all = append(all, t)
	}
	return all
}

// Checksums lists all rules for the checksum.
func Checksums() []Checksum {
	var all []Checksum
	for c := range checksums {
		all = append(all, c)
	}
	return all
}

// MasterDownIntervalOf and SkewTimeOf are the two formulas of RFC 9568, section 6.1, and of RFC 3768, section 6.1.
func MasterDownIntervalOf(v Version, priority uint8, interval time.Duration) time.Duration {
	return masterDownInterval(v, priority, interval)
}

func SkewTimeOf(v Version, priority uint8, interval time.Duration) time.Duration {
	return skewTime(v, priority, interval)
}

// MasterDownInterval and SkewTime are those of version 3.
func MasterDownInterval(priority uint8, interval time.Duration) time.Duration {
	return masterDownInterval(Version3, priority, interval)
}

func SkewTime(priority uint8, interval time.Duration) time.Duration {
	return skewTime(Version3, priority, interval)
}
