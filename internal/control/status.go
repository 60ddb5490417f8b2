package control

import (
	"fmt"
	"time"

	"lvsd/internal/director"
	"lvsd/internal/elector"
	"lvsd/vrrp"
)

// Status is the state of one lvsd. The JSON names are stable: names may be
// added, none is renamed or changes its meaning.
type Status struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"` // of the main process
	StartedAt time.Time `json:"started_at"`

	// Halves are the other processes, absent if there are none.
	Halves []HalfStatus `json:"halves,omitempty"`

	Instances []elector.InstanceStatus `json:"instances"`

	director.Status // director, directors, config, ipvs, services

	// Problems says in one line each what is not well, nothing if all is.
	Problems []string `json:"problems"`
}

// HalfStatus is about one half of the daemon, a process of its own.
type HalfStatus struct {
	Name  string    `json:"name"` // elector or director
	PID   int       `json:"pid"`
	Since time.Time `json:"since"` // when this process was started

	// Restarts counts how often the half was started again because it had died
	// or hung, since the daemon was started; RestartedAt is when it was the last
	// time, and RestartReason why.
	Restarts      int       `json:"restarts"`
	RestartedAt   time.Time `json:"restarted_at,omitzero"`
	RestartReason string    `json:"restart_reason,omitempty"`

	// AwaySince is since when the half has not been reached, absent if it is
	// there.
	AwaySince time.Time `json:"away_since,omitzero"`
}

// restartMatters is how long a restart of a half is something to look at.
const restartMatters = time.Hour

// problem says what an operator should look at, nothing if all is well.
func (h HalfStatus) problem(now time.Time) string {
	ago := func(t time.Time) string { return now.Sub(t).Truncate(time.Second).String() }
	switch {
	case !h.AwaySince.IsZero():
		return fmt.Sprintf("the %s half has not answered for %s: what is told of it is old", h.Name, ago(h.AwaySince))
	case h.Restarts == 1 && now.Sub(h.RestartedAt) < restartMatters:
		return fmt.Sprintf("the %s half was restarted %s ago: %s", h.Name, ago(h.RestartedAt), h.RestartReason)
	case h.Restarts > 1 && now.Sub(h.RestartedAt) < restartMatters:
		return fmt.Sprintf("the %s half was restarted %d times, last %s ago: %s", h.Name, h.Restarts, ago(h.RestartedAt), h.RestartReason)
	}
	return ""
}

// problems lists what an operator should look at.
func problems(s Status, now time.Time) []string {
	all := []string{}
	for _, h := range s.Halves {
		if p := h.problem(now); p != "" {
			all = append(all, p)
		}
	}
	if s.Config.Error != "" {
		all = append(all, "the last reload was refused: "+s.Config.Error)
	}
	for _, i := range s.Instances {
		if i.State == vrrp.Fault.String() {
			all = append(all, fmt.Sprintf("instance %q is in fault: %s", i.Name, i.Reason))
		}
		if i.Held {
			all = append(all, fmt.Sprintf("instance %q is held back by an operator: lvsd switchover %s ends that", i.Name, i.Name))
		}
		if i.Rival != "" {
			all = append(all, fmt.Sprintf("instance %q: %s is master too, for %s", i.Name, i.Rival, now.Sub(i.RivalSince).Truncate(time.Second)))
		}
		if i.State != vrrp.Master.String() {
			continue
		}
		for _, a := range i.Addresses {
			if !a.Held {
				all = append(all, fmt.Sprintf("instance %q is master, but %s is not on %s", i.Name, a.Address, a.Interface))
			}
		}
	}
	if s.IPVS != nil && s.IPVS.Error != "" {
		all = append(all, "the IPVS table cannot be brought in line: "+s.IPVS.Error)
	}
	for _, service := range s.Services {
		switch service.State {
		case director.ServiceSorry:
			all = append(all, fmt.Sprintf("service %q: no real server is up, the sorry server answers", service.Name))
		case director.ServiceDown:
			all = append(all, fmt.Sprintf("service %q: no real server is up, nobody answers", service.Name))
		}
		for _, real := range service.RealServers {
			if real.State == "down" {
				all = append(all, fmt.Sprintf("service %q: real server %s is down: %s", service.Name, real.Address, real.Reason))
			}
		}
	}
	return all
}
