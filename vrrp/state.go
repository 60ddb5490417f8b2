package vrrp

import "fmt"

// State is the state of a virtual router, RFC 9568, section 6.4.
type State uint8

const (
	// Initialize is the state before the start and after the end.
	Initialize State = iota
	// Backup watches the Master and takes over when it is gone.
	Backup
	// Master answers for the addresses and advertises. RFC 9568 calls it Active.
	Master
	// Fault is not in the RFC: the router cannot take part at present, for example because its interface is down.
	Fault
)

// String returns the name of the state as keepalived's operators write it, in lower case.
func (s State) String() string {
	switch s {
	case Initialize:
		return "initialize"
	case Backup:
		return "backup"
	case Master:
		return "master"
	case Fault:
		return "fault"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText implements encoding.TextMarshaler with the same words as String. It never fails.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
