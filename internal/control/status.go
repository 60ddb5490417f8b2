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
	Version   string                   `json:"version"`
	PID       int                      `json:"pid"`
	StartedAt time.Time                `json:"started_at"`
	Instances []elector.InstanceStatus `json:"instances"`

	director.Status // director, directors, config, ipvs, services

	// Problems says in one line each what is not well, nothing if all is.
	Problems []string `json:"problems"`
}

// problems lists what an operator should look at.
func problems(s Status) []string {
	all := []string{}
	if s.Config.Error != "" {
		all = append(all, "the last reload was refused: "+s.Config.Error)
	}
	for _, i := range s.Instances {
		if i.State == vrrp.Fault.String() {
			all = append(all, fmt.Sprintf("instance %q is in fault: %s", i.Name, i.Reason))
		}
		if i.State != vrrp.Master.String() {
			continue
		}
		for _, a := range i.Addresses {
			if !a.Held {
				all = append(all, fmt.Sprintf("instance %q is master, but %s is not on %s", i.Name, a.Address, i.Interface))
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
