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

	// EffectivePriority is what is advertised: the priority with the weights of
	// what is tracked.
	EffectivePriority uint8  `json:"effective_priority"`
	Version           uint8  `json:"version"`         // of VRRP, 2 or 3
	Unicast           bool   `json:"unicast"`         // whether it speaks to known peers only
	Group             string `json:"group,omitempty"` // the instances with this name move together

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

	// Waiting is why the instance must not become master at present; absent if it
	// may. Held says that an operator holds it back, SteppedDown that it has handed
	// over and leaves the lead to the other director.
	Waiting     string `json:"waiting,omitempty"`
	Held        bool   `json:"held"`
	SteppedDown bool   `json:"stepped_down"`

	// Rival is another router that is master too, and RivalSince when it was first
	// heard. Both are absent if there is none.
	Rival      string    `json:"rival,omitempty"`
	RivalSince time.Time `json:"rival_since,omitzero"`

	Peers     []PeerStatus    `json:"peers"`
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
	TimersLate           uint64            `json:"timers_late"`            // by more than a tenth of the interval
	TimerMaxLate         float64           `json:"timer_max_late_seconds"` // the latest of all
	Dropped              map[string]uint64 `json:"dropped"`                // invalid packets by reason
}

// PeerStatus is about another router of an instance.
type PeerStatus struct {
	Address              string    `json:"address"`
	Priority             uint8     `json:"priority"` // that it advertised last; 0: it has resigned
	AdvertInterval       float64   `json:"advert_interval_seconds"`
	HeardAt              time.Time `json:"heard_at"`
	Received             uint64    `json:"received"` // valid advertisements
	PriorityZeroReceived uint64    `json:"priority_zero_received"`
	Checksum             string    `json:"checksum"` // the rule of its checksums
}

func describePeers(peers []vrrp.PeerStatus) []PeerStatus {
	all := make([]PeerStatus, 0, len(peers))
	for _, p := range peers {
		all = append(all, PeerStatus{
			Address: p.Source.String(), Priority: p.Priority, AdvertInterval: p.Interval.Seconds(), HeardAt: p.Heard,
			Received: p.Received, PriorityZeroReceived: p.PriorityZeroReceived, Checksum: p.Checksum.String(),
		})
	}
	return all
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
		TimersLate:           c.Late,
		TimerMaxLate:         c.MaxLate.Seconds(),
		Dropped:              dropped,
	}
}

// AddressStatus is about one virtual address.
type AddressStatus struct {
	Address   string `json:"address"` // with its prefix length
	Interface string `json:"interface"`
	Held      bool   `json:"held"` // whether it is on the interface of this director

	// RepairedAt is when it was put back last, after somebody had taken it away or
	// changed it, and Differed what was wrong and who did it as far as that is known.
	// Both are absent if that never happened.
	RepairedAt time.Time `json:"repaired_at,omitzero"`
	Differed   string    `json:"differed,omitempty"`
}

// Status tells how the instances are, sorted by name.
func (e *Elector) Status() []InstanceStatus {
	addresses := e.addresses.Status()
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

			EffectivePriority: s.Config.Priority,
			Version:           uint8(m.config.Version),
			Unicast:           len(m.config.Peers) > 0,
			Group:             m.config.Group,
			Waiting:           s.Gate,
			Held:              e.held[m.config.Name],
			SteppedDown:       s.Aside,
			Peers:             describePeers(s.Peers),
			Counters:          describeCounters(s.Counters),
		}
		if s.Master.IsValid() {
			status.Master = s.Master.String()
		}
		if s.Rival.IsValid() {
			status.Rival, status.RivalSince = s.Rival.String(), s.RivalSince
		}
		for _, a := range addressesOf(m.config) {
			address := AddressStatus{Address: a.Prefix.String(), Interface: a.Interface, Held: slices.Contains(addresses.Held, a)}
			if r, ok := addresses.Repaired[a]; ok {
				address.RepairedAt, address.Differed = r.Time, r.Differed
			}
			status.Addresses = append(status.Addresses, address)
		}
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b InstanceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
