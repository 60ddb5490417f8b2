package director

import (
	"net/netip"

	"lvsd/configs"
	"lvsd/health"
	"lvsd/ipvs"
)

// model is everything that decides what the IPVS table should be.
// It is owned by the director's loop.
type model struct {
	config *configs.Config

	// master tells for each VRRP instance whether this director is its master.
	master map[string]bool

	// verdicts holds the last word of the checks, by check name.
	verdicts map[string]health.Verdict

	// adopted is the weight that the kernel gave to each destination when the
	// daemon started. A real server that was in service then stays in service
	// until its first check ends.
	adopted map[ipvs.Key]map[netip.AddrPort]int

	// pages is where the built-in sorry page of a service is served, by the
	// service's name and the VIP.
	pages map[pageID]netip.AddrPort

	// sorryLeaving names the services whose sorry server has just been relieved by
	// a real server. It stays in the table with weight 0 for a short time, so
	// that the answers which are under way reach their clients.
	sorryLeaving map[string]bool

	// settled tells for each VRRP instance whether this director has been its
	// master for so long that it knows all connections, and leaving
	// whether it is giving its addresses to another one.
	settled map[string]bool
	leaving map[string]bool
}

// checkName names the check of one real server of one service. It is also how
// the real server is called in the log and in the status.
func checkName(service string, real configs.RealServer) string {
	return service + " " + realServerName(real)
}

// realServerName is the address of a real server, with its port if it has one
// of its own.
func realServerName(real configs.RealServer) string {
	if real.Port == 0 {
		return real.Address.String()
	}
	return netip.AddrPortFrom(real.Address, real.Port).String()
}

// plan derives the IPVS table from the model. It is pure: no clock, no I/O.
func plan(m model) ipvs.Table {
	var table ipvs.Table
	for _, s := range m.config.Services {
		if s.OnlyWhileMaster && !m.master[s.Instance] {
			continue
		}
		for _, key := range s.Listen {
			table = append(table, ipvs.Service{
				Key:             key,
				Scheduler:       s.Scheduler,
				Persistence:     s.Persistence,
				PersistenceMask: s.PersistenceMask,
				Destinations:    planDestinations(m, s, key),
			})
		}
	}
	return table
}

func planDestinations(m model, s configs.Service, key ipvs.Key) []ipvs.Destination {
	var destinations []ipvs.Destination
	for _, real := range s.Real {
		d := ipvs.Destination{
			Address: destinationAddress(real, key),
			Forward: real.Forward,
			Weight:  real.Weight,
		}
		if !inService(m, s, key, real) {
			if s.OnDown == configs.Remove {
				continue
			}
			d.Weight = 0
		}
		destinations = append(destinations, d)
	}
	if sorry, ok := planSorry(m, s, key); ok {
		switch {
		case stateOf(m, s) == ServiceSorry:
			destinations = append(destinations, sorry)
		case m.sorryLeaving[s.Name]:
			sorry.Weight = 0
			destinations = append(destinations, sorry)
		}
	}
	return destinations
}

// destinationAddress is where the kernel sends the packets of the service key
// for a real server.
func destinationAddress(real configs.RealServer, key ipvs.Key) netip.AddrPort {
	if real.Port != 0 {
		return netip.AddrPortFrom(real.Address, real.Port)
	}
	return netip.AddrPortFrom(real.Address, key.Port)
}

// inService tells whether a real server may get new connections: its checks
// say up, or they have not spoken yet and the kernel had it in service.
func inService(m model, s configs.Service, key ipvs.Key, real configs.RealServer) bool {
	if real.Check == nil {
		return true
	}
	switch m.verdicts[checkName(s.Name, real)].State {
	case health.Up:
		return true
	case health.Down:
		return false
	case health.Unknown:
		return m.adopted[key][destinationAddress(real, key)] > 0
	}
	return false
}

// served tells whether any real server of the service may get new connections,
// and awaited whether one may yet turn out to, because its first check has not
// ended.
func served(m model, s configs.Service) (served, awaited bool) {
	for _, real := range s.Real {
		if real.Weight == 0 {
			continue
		}
		for _, key := range s.Listen {
			served = served || inService(m, s, key, real)
		}
		if real.Check != nil && m.verdicts[checkName(s.Name, real)].State == health.Unknown {
			awaited = true
		}
	}
	return served, awaited
}

// planSorry is the destination that answers for the service when no real
// server does, if the configuration names one.
//
// The built-in page is a destination that is local to the director. The kernel
// serves it by NAT, whatever the forwarding method of the destinations beside
// it.
func planSorry(m model, s configs.Service, key ipvs.Key) (ipvs.Destination, bool) {
	switch {
	case s.Sorry == nil:
		return ipvs.Destination{}, false
	case s.Sorry.Page == nil:
		return ipvs.Destination{Address: s.Sorry.Server, Forward: s.Sorry.Forward, Weight: 1}, true
	default:
		address, ok := m.pages[pageID{s.Name, key.Address}]
		return ipvs.Destination{Address: address, Forward: ipvs.NAT, Weight: 1}, ok
	}
}
