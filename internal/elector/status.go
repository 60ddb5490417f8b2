package elector

import (
	"cmp"
	"slices"
	"time"

	"lvsd/vrrp"
)

// InstanceStatus is what the elector tells operators about one instance. The
// JSON names are stable.
type InstanceStatus struct {
	Name      string `json:"name"`
	Interface string `json:"interface"`
	VRID      uint8  `json:"vrid"`
	Priority  uint8  `json:"priority"`

	// AdvertInterval is the configured advertisement interval, in seconds.
	AdvertInterval float64 `json:"advert_interval_seconds"`
	Preempt        bool    `json:"preempt"`

	State string    `json:"state"` // initialize, backup, master or fault
	Since time.Time `json:"since"`
	// Reason is why the instance came to its state.
	Reason string `json:"reason"`

	// Master is the address of the router that was last heard as master, and
	// MasterPriority its priority. Both are absent if none was.
	Master         string `json:"master,omitempty"`
	MasterPriority uint8  `json:"master_priority,omitempty"`

	Addresses []AddressStatus `json:"addresses"`
	Counters  CountersStatus  `json:"counters"`
}

// CountersStatus counts what happened to an instance since the daemon started.
type CountersStatus struct {
	Sent                 uint64            `json:"sent"`     // advertisements
	Received             uint64            `json:"received"` // valid advertisements
	PriorityZeroSent     uint64            `json:"priority_zero_sent"`
	PriorityZeroReceived uint64            `json:"priority_zero_received"`
	MasterTransitions    uint64            `json:"master_transitions"`
	SendErrors           uint64            `json:"send_errors"`
	HolderErrors         uint64            `json:"holder_errors"` // addresses not taken or released in time
	RivalsHeard          uint64            `json:"rivals_heard"`  // advertisements of others while master
	AddressMismatches    uint64            `json:"address_mismatches"`
	IntervalMismatches   uint64            `json:"interval_mismatches"`
	Dropped              map[string]uint64 `json:"dropped"` // invalid packets by reason
}

func describeCounters(c vrrp.Counters) CountersStatus {
	dropped := make(map[string]uint64)
	for reason, n := range c.Dropped {
		dropped[reason.String()] = n
	}
	return CountersStatus{
		Sent:                 c.Sent,
		Received:             c.Received,
		PriorityZeroSent:     c.PriorityZeroSent,
		PriorityZeroReceived: c.PriorityZeroReceived,
		MasterTransitions:    c.MasterTransitions,
		SendErrors:           c.SendErrors,
		HolderErrors:         c.HolderErrors,
		RivalsHeard:          c.RivalsHeard,
		AddressMismatches:    c.AddressMismatches,
		IntervalMismatches:   c.IntervalMismatches,
		Dropped:              dropped,
	}
}

// AddressStatus is about one virtual address.
type AddressStatus struct {
	Address string `json:"address"` // with its prefix length
	Held    bool   `json:"held"`    // whether it is on the interface of this director
}

// Status tells how the instances are, sorted by name.
func (e *Elector) Status() []InstanceStatus {
	held := e.addresses.Status().Held
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]InstanceStatus, 0, len(e.members))
	for _, m := range e.members {
		s := m.instance.Status()
		status := InstanceStatus{
			Name:           m.config.Name,
			Interface:      m.config.Interface,
			VRID:           m.config.VRID,
			Priority:       m.config.Priority,
			AdvertInterval: m.config.AdvertInterval.Seconds(),
			Preempt:        m.config.Preempt,
			State:          s.State.String(),
			Since:          s.Since,
			Reason:         s.Reason,
			MasterPriority: s.MasterPriority,
			Counters:       describeCounters(s.Counters),
		}
		if s.Master.IsValid() {
			status.Master = s.Master.String()
		}
		for _, a := range addressesOf(m.config) {
			status.Addresses = append(status.Addresses, AddressStatus{a.Prefix.String(), slices.Contains(held, a)})
		}
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b InstanceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
