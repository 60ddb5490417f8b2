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

// Gate keeps this router from becoming Master while Reason is not empty. A Backup whose turn it is waits at the gate and
// becomes Master when it opens; a Master stays.
type Gate struct{ Reason string }

// StepDown makes a Master a Backup that leaves the lead to the others. It answers for the addresses until its successor
// was heard, and becomes Master again if nobody succeeds. After that it does not preempt until Reclaim, or until it has
// become Master because the others were gone.
type StepDown struct {
	Reason string
	// Resign tells the others at once. Without it they are assumed to know.
	Resign bool
}

// Reclaim ends what StepDown began: this router preempts again as configured.
type Reclaim struct {
	// Now makes a Backup that outranks the Master take over without waiting.
	Now bool
}

func (Startup) event()       {}
func (Shutdown) event()      {}
func (Expired) event()       {}
func (Received) event()      {}
func (Configure) event()     {}
func (Failed) event()        {}
func (Recovered) event()     {}
func (SourceChanged) event() {}
func (Gate) event()          {}
func (StepDown) event()      {}
func (Reclaim) event()       {}
