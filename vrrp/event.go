package vrrp

import (
	"net/netip"
	"time"
)

// Event is what can happen to a Machine.
type Event interface{ event() }

// Startup begins the work, RFC 9568, section 6.4.1.
type Startup struct {
	// Holding says that the addresses were found on the interface: a daemon that was killed left them there.
	// They stay, so that nothing is lost if this router was Master and nobody has taken over; the wait is one
	// interval and the skew time instead of three intervals and the skew time.
	Holding bool
}

// Shutdown ends the work. A Master hands over first; the end is the action Done.
type Shutdown struct{}

// Expired says that a timer has run out.
type Expired struct {
	Timer Timer
	// Late is how long after its moment the runner noticed: large if the process was frozen.
	Late time.Duration
}

// Received is a valid advertisement of this VRID from another router.
type Received struct {
	Advertisement Advertisement
	Source        netip.Addr
}

// Configure replaces the configuration; the VRID stays the same.
type Configure struct{ Config Config }

// Failed says that this router cannot take part any more, and why. Reason is not empty.
type Failed struct{ Reason string }

// Recovered says that it can again.
type Recovered struct{}

// SourceChanged gives the address that this router's advertisements come from.
type SourceChanged struct{ Source netip.Addr }

func (Startup) event()       {}
func (Shutdown) event()      {}
func (Expired) event()       {}
func (Received) event()      {}
func (Configure) event()     {}
func (Failed) event()        {}
func (Recovered) event()     {}
func (SourceChanged) event() {}
