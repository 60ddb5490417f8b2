package vrrp

import "time"

// Action is what a Machine wants done. The runner does the actions of one Step in their order, which is part of
// what the Machine promises.
type Action interface{ action() }

// Take puts the addresses on the interface and announces them. It may find them there already.
type Take struct{}

// Announce announces the addresses again, because another router has used them.
type Announce struct{}

// Release takes the addresses off the interface.
type Release struct{}

// Send sends an advertisement of the current configuration with this priority; 0 says that the Master leaves.
type Send struct {
	Priority uint8
	// Interval is the one to advertise; 0 stands for that of the configuration.
	Interval time.Duration
}

// Arm starts a timer, or starts it again. After counts from the moment of the event; the moment of an Expired is
// when the timer ran out and not when that was noticed, so a cadence does not drift.
type Arm struct {
	Timer Timer
	After time.Duration
}

// Shift moves the end of a running timer, to an earlier moment if By is negative.
type Shift struct {
	Timer Timer
	By    time.Duration
}

// Cancel stops a timer.
type Cancel struct{ Timer Timer }

// Transition reports a change of state. The Machine leaves Time empty, its runner fills it in.
type Transition struct {
	Time     time.Time
	From, To State
	Reason   string
}

// Done says that a shutdown is complete: there is nothing more to do.
type Done struct{}

func (Take) action()       {}
func (Announce) action()   {}
func (Release) action()    {}
func (Send) action()       {}
func (Arm) action()        {}
func (Shift) action()      {}
func (Cancel) action()     {}
func (Transition) action() {}
func (Done) action()       {}
