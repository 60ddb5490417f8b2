package director

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"lvsd/configs"
	"lvsd/health"
	"lvsd/ipvs"
)

// Status is what the director tells operators. The JSON names are stable.
type Status struct {
	Director  string           `json:"director"`  // the name of this one
	Directors []DirectorStatus `json:"directors"` // all that the configuration names

	Config   ConfigStatus    `json:"config"`
	IPVS     *TableStatus    `json:"ipvs,omitempty"` // absent when there is no service
	Services []ServiceStatus `json:"services"`
}

// DirectorStatus is about one director of the configuration.
type DirectorStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"`
	Priority uint8  `json:"priority"`
}

// ConfigStatus is about the file.
type ConfigStatus struct {
	File     string    `json:"file"`
	LoadedAt time.Time `json:"loaded_at"` // when the configuration in force was read

	// Error is why the last reload was refused, empty if it was not.
	Error    string    `json:"error,omitempty"`
	FailedAt time.Time `json:"failed_at,omitzero"`
}

// TableStatus is about the kernel's IPVS table.
type TableStatus struct {
	AppliedAt time.Time `json:"applied_at,omitzero"` // when the table became what is wanted; absent while it is not
	Repairs   uint64    `json:"repairs"`             // changes made because somebody else had changed the table

	// Error is what keeps the kernel from holding what is wanted, empty if
	// nothing does, and Since when it was first seen.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// ServiceStatus is about one service.
type ServiceStatus struct {
	Name        string             `json:"name"`
	Protocol    string             `json:"protocol"`
	Listen      []string           `json:"listen"`
	Scheduler   string             `json:"scheduler"`
	Instance    string             `json:"instance,omitempty"` // the VRRP instance that holds its VIP
	State       ServiceState       `json:"state"`
	RealServers []RealServerStatus `json:"real_servers"`
	Sorry       []Destination      `json:"sorry,omitempty"` // the sorry server's entries, if it is in the table
}

// RealServerStatus is about one real server of a service.
type RealServerStatus struct {
	Address      string        `json:"address"`
	State        string        `json:"state"` // up, down, unknown, or unchecked
	Reason       string        `json:"reason,omitempty"`
	Since        time.Time     `json:"since,omitzero"`
	Weight       int           `json:"weight"` // as configured
	Destinations []Destination `json:"destinations"`
}

// Destination is the entry of a real server in one service of the kernel.
type Destination struct {
	Listen  string `json:"listen"`  // VIP and port
	Address string `json:"address"` // of the real server, with port
	Forward string `json:"forward"`

	// Weight is the weight that the plan wants, absent when the plan wants no
	// entry.
	Weight *int `json:"weight"`
	// KernelWeight is the weight in the kernel, absent when it has no entry.
	KernelWeight *int `json:"kernel_weight"`

	ActiveConnections   int `json:"active_connections"`
	InactiveConnections int `json:"inactive_connections"`
}

// ServiceState says who answers for a service.
type ServiceState string

const (
	ServiceStarting ServiceState = "starting" // nobody yet: first checks have not ended
	ServiceUp       ServiceState = "up"       // at least one real server
	ServiceSorry    ServiceState = "sorry"    // the sorry server
	ServiceDown     ServiceState = "down"     // nobody
	ServiceInactive ServiceState = "inactive" // only while master, and this director is not
)

func stateOf(m model, s configs.Service) ServiceState {
	served, awaited := served(m, s)
	switch {
	case s.OnlyWhileMaster && !m.master[s.Instance]:
		return ServiceInactive
	case served:
		return ServiceUp
	case awaited:
		return ServiceStarting
	case s.Sorry != nil:
		return ServiceSorry
	default:
		return ServiceDown
	}
}

// view is a copy of what the loop knows.
type view struct {
	config   *configs.Config
	verdicts map[string]health.Verdict
	master   map[string]bool
	adopted  map[ipvs.Key]map[netip.AddrPort]int
	pages    map[pageID]netip.AddrPort
	planned  ipvs.Table
	table    *ipvs.Reconciler
	reload   ConfigStatus
}

// Status asks the loop and the kernel how things are.
func (d *Director) Status(ctx context.Context) (Status, error) {
	reply := make(chan view, 1)
	d.mailbox.put(viewRequested{reply})
	var v view
	select {
	case v = <-reply:
	case <-ctx.Done():
		return Status{}, fmt.Errorf("asking the director for its state: %w", ctx.Err())
	}
	status := Status{Director: v.config.Director.Name, Directors: describeDirectors(v.config), Config: v.reload}
	var kernel ipvs.Table
	if v.table != nil {
		var err error
		if kernel, err = v.table.List(ctx); err != nil {
			return Status{}, fmt.Errorf("listing the kernel's IPVS table: %w", err)
		}
		s := v.table.Status()
		status.IPVS = &TableStatus{AppliedAt: s.Applied, Repairs: s.Repairs, Error: s.Error, Since: s.Since}
	}
	status.Services = describe(v, kernel)
	return status, nil
}

func describeDirectors(config *configs.Config) []DirectorStatus {
	all := make([]DirectorStatus, 0, len(config.Directors))
	for _, d := range config.Directors {
		status := DirectorStatus{Name: d.Name, Priority: d.Priority}
		if d.Address.IsValid() {
			status.Address = d.Address.String()
		}
		all = append(all, status)
	}
	return all
}

// describe lays what is wanted and what the kernel has side by side.
func describe(v view, kernel ipvs.Table) []ServiceStatus {
	wanted, held := index(v.planned), index(kernel)
	m := model{config: v.config, verdicts: v.verdicts, master: v.master, adopted: v.adopted, pages: v.pages}
	services := make([]ServiceStatus, 0, len(v.config.Services))
	for _, s := range v.config.Services {
		status := ServiceStatus{
			Name:        s.Name,
			Scheduler:   s.Scheduler,
			Instance:    s.Instance,
			State:       stateOf(m, s),
			RealServers: make([]RealServerStatus, 0, len(s.Real)),
		}
		configured := make(map[entry]bool)
		for _, real := range s.Real {
			server := describeServer(v, s, real)
			for _, key := range s.Listen {
				e := entry{key, destinationAddress(real, key)}
				configured[e] = true
				server.Destinations = append(server.Destinations, describeEntry(e, real.Forward, wanted, held))
			}
			status.RealServers = append(status.RealServers, server)
		}
		for _, key := range s.Listen {
			status.Protocol = key.Protocol.String()
			status.Listen = append(status.Listen, netip.AddrPortFrom(key.Address, key.Port).String())
		}
		for _, key := range s.Listen {
			if sorry, ok := planSorry(m, s, key); ok {
				e := entry{key, sorry.Address}
				if _, ok := wanted[e]; ok && !configured[e] {
					status.Sorry = append(status.Sorry, describeEntry(e, sorry.Forward, wanted, held))
				}
			}
		}
		services = append(services, status)
	}
	return services
}

func describeServer(v view, s configs.Service, real configs.RealServer) RealServerStatus {
	status := RealServerStatus{Address: realServerName(real), Weight: real.Weight, State: "unchecked"}
	if real.Check != nil {
		verdict := v.verdicts[checkName(s.Name, real)]
		status.State = verdict.State.String()
		status.Reason = verdict.Reason
		status.Since = verdict.Since
	}
	return status
}

// entry names one destination of one service.
type entry struct {
	service     ipvs.Key
	destination netip.AddrPort
}

func index(table ipvs.Table) map[entry]ipvs.Destination {
	all := make(map[entry]ipvs.Destination)
	for _, s := range table {
		for _, d := range s.Destinations {
			all[entry{s.Key, d.Address}] = d
		}
	}
	return all
}

func describeEntry(e entry, forward ipvs.Forward, wanted, held map[entry]ipvs.Destination) Destination {
	status := Destination{
		Listen:  netip.AddrPortFrom(e.service.Address, e.service.Port).String(),
		Address: e.destination.String(),
		Forward: forward.String(),
	}
	if d, ok := wanted[e]; ok {
		status.Weight = &d.Weight
	}
	if d, ok := held[e]; ok {
		status.KernelWeight = &d.Weight
		status.ActiveConnections = d.ActiveConnections
		status.InactiveConnections = d.InactiveConnections
	}
	return status
}
