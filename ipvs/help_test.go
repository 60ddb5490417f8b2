package ipvs_test

import (
	"net/netip"
	"time"

	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

var (
	web  = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 80, Protocol: ipvs.TCP}
	dns  = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 53, Protocol: ipvs.UDP}
	web6 = ipvs.Key{Address: netip.MustParseAddr("2001:db8::100"), Port: 80, Protocol: ipvs.TCP}
)

const (
	real1 = "192.168.50.22:80"
	real2 = "192.168.50.23:80"
)

// service returns a service with scheduler rr.
func service(k ipvs.Key, destinations ...ipvs.Destination) ipvs.Service {
	return ipvs.Service{Key: k, Scheduler: "rr", Destinations: destinations}
}

// nat returns a destination that is forwarded to by NAT.
func nat(address string, weight int) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddrPort(address), Weight: weight}
}

// words returns changes as text.
func words(changes []ipvs.Change) []string {
	var text []string
	for _, c := range changes {
		text = append(text, c.String())
	}
	return text
}

// calls returns a journal as text.
func calls(k *ipvstest.Kernel) []string {
	var text []string
	for _, c := range k.Calls() {
		text = append(text, c.String())
	}
	return text
}

func persistent(s ipvs.Service, seconds, mask int) ipvs.Service {
	s.Persistence = time.Duration(seconds) * time.Second
	s.PersistenceMask = mask
	return s
}
