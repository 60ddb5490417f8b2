package director

import (
	"sync"

	"lvsd/health"
)

// event is something that changes the model, or asks about it.
type event interface{ isEvent() }

type (
	// reported: a check has something new to say.
	reported struct{ report health.Report }

	// roleChanged: this director became master of an instance, or ceased to be.
	roleChanged struct {
		instance string
		master   bool
	}

	// settledDown: the time after a takeover in which connections may be unknown
	// is over.
	settledDown struct{ instance string }

	// left: a director that is no longer master has had its time to tell its
	// successor of the connections.
	left struct{ instance string }

	// tracked: something was found out about a script or file that is tracked.
	tracked struct{}

	// tableApplied: the first table with all verdicts is in the kernel.
	tableApplied struct{}

	// sorryLeft: a relieved sorry server has had its time to finish.
	sorryLeft struct{ service string }

	// reloadRequested: the configuration is to be read again. done takes the
	// result without blocking.
	reloadRequested struct{ done chan<- error }

	// viewRequested: somebody wants to see the model. reply takes the view
	// without blocking.
	viewRequested struct{ reply chan<- view }
)

func (reported) isEvent()        {}
func (roleChanged) isEvent()     {}
func (settledDown) isEvent()     {}
func (left) isEvent()            {}
func (tracked) isEvent()         {}
func (tableApplied) isEvent()    {}
func (sorryLeft) isEvent()       {}
func (reloadRequested) isEvent() {}
func (viewRequested) isEvent()   {}

// mailbox holds events for the loop, in order. Putting one in never blocks, so
// neither the elector nor a check waits for a director that is busy.
type mailbox struct {
	wake chan struct{} // has a token whenever events may be there

	mu     sync.Mutex
	events []event
}

func newMailbox() *mailbox {
	return &mailbox{wake: make(chan struct{}, 1)}
}

func (m *mailbox) put(ev event) {
	m.mu.Lock()
	m.events = append(m.events, ev)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default: // the loop will see this event with the others
	}
}

// take empties the mailbox.
func (m *mailbox) take() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := m.events
	m.events = nil
	return events
}
