package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Protocol is the transport protocol of a service: its number in the IP header.
type Protocol uint8

// The protocols that a service can have. The kernel knows SCTP too; such a
// service is listed, but lvsd makes none.
const (
	TCP Protocol = 6
	UDP Protocol = 17

	sctp Protocol = 132
)

// String returns the protocol in capitals, as ipvsadm prints it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case sctp:
		return "SCTP"
	default:
		return fmt.Sprintf("protocol %d", uint8(p))
	}
}

// MarshalText returns the word of the configuration: "tcp" or "udp".
func (p Protocol) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(p.String())), nil
}

// UnmarshalText takes the words "tcp" and "udp".
func (p *Protocol) UnmarshalText(text []byte) error {
	switch string(text) {
	case "tcp":
		*p = TCP
	case "udp":
		*p = UDP
	default:
		return fmt.Errorf("protocol %q: must be tcp or udp", text)
	}
	return nil
}

// A Key says which service is meant: no two services of a table share one.
type Key struct {
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port"`
	Protocol Protocol   `json:"protocol"`
}

// String returns, for example, "TCP 192.168.50.100:80" or "UDP [2001:db8::1]:53".
func (k Key) String() string {
	return k.Protocol.String() + " " + netip.AddrPortFrom(k.Address, k.Port).String()
}

// compare orders keys as ipvsadm prints them: IPv4 before IPv6, then by
// protocol, address and port.
func (k Key) compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Address.BitLen(), o.Address.BitLen()),
		cmp.Compare(k.Protocol, o.Protocol),
		k.Address.Compare(o.Address),
		cmp.Compare(k.Port, o.Port),
	)
}

// A Service is a virtual service: what clients connect to, and the real servers
// that their connections are spread over.
type Service struct {
	Key

	// Scheduler is the kernel's name of the scheduler, one of Schedulers.
	Scheduler string

	// Persistence is for how long a client is sent to the same real server
	// again, in whole seconds; 0 means that the service is not persistent.
	Persistence time.Duration

	// PersistenceMask is the prefix length by which clients are taken as one:
	// 24 sends a whole IPv4 /24 to the same real server. 0 means that every
	// address is a client of its own; -1, only ever read from the kernel, that
	// somebody has set a mask that is no prefix.
	PersistenceMask int

	Destinations []Destination
}

// maxPersistence is the limit of ipvsadm: 31 days.
const maxPersistence = 31 * 24 * time.Hour

// Schedulers returns the names of the schedulers of Linux, sorted. Each is a
// module of its own, ip_vs_NAME, which a kernel may lack.
func Schedulers() []string {
	return []string{
		"dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf",
		"rr", "sed", "sh", "twos", "wlc", "wrr",
	}
}

// Validate returns every reason for which the kernel would refuse the service,
// or take it and then not serve it, joined into one error; nil if there is none.
func (s Service) Validate() error {
	var problems []error
	problem := func(format string, a ...any) {
		problems = append(problems, fmt.Errorf(format, a...))
	}

	if s.Protocol != TCP && s.Protocol != UDP {
		problem("%s: must be TCP or UDP", s.Protocol)
	}
	if why := badAddress(s.Address); why != "" {
		problem("address %s: %s", s.Address, why)
	}
	if !slices.Contains(Schedulers(), s.Scheduler) {
		problem("scheduler %q: must be one of %s", s.Scheduler, strings.Join(Schedulers(), " "))
	}
	if s.Persistence < 0 || s.Persistence > maxPersistence || s.Persistence%time.Second != 0 {
		problem("persistence %s: must be whole seconds, at most 31 days", s.Persistence)
	}
	if bits := s.Address.BitLen(); s.PersistenceMask < 0 || s.PersistenceMask > bits {
		problem("persistence mask %d: must be a prefix length of 1 to %d", s.PersistenceMask, bits)
	}
	if s.PersistenceMask != 0 && s.Persistence == 0 {
		problem("persistence mask %d without persistence", s.PersistenceMask)
	}
	// The kernel schedules a service of all ports only if it is persistent
	// (ip_vs_schedule in net/netfilter/ipvs/ip_vs_core.c).
	if s.Port == 0 && s.Persistence == 0 {
		problem("port 0 (all ports): needs persistence")
	}

	seen := make(map[netip.AddrPort]bool, len(s.Destinations))
	for _, d := range s.Destinations {
		if err := d.validate(s.Key); err != nil {
			problems = append(problems, err)
		}
		if seen[d.Address] {
			problem("real server %s: is there twice", d.Address)
		}
		seen[d.Address] = true
	}
	return errors.Join(problems...)
}

// badAddress says in words why an address is none that the kernel can serve, or
// returns "".
func badAddress(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is missing"
	case a.Zone() != "":
		return "must have no zone"
	case a.Is4In6():
		return "must be written as IPv4"
	case a.IsUnspecified(), a.IsMulticast():
		return "must be the address of one machine"
	default:
		return ""
	}
}

// normal returns the service as the kernel reports it: a mask of a whole address
// is no mask, and without persistence there is none either.
func (s Service) normal() Service {
	if s.Persistence == 0 || s.PersistenceMask == s.Address.BitLen() {
		s.PersistenceMask = 0
	}
	return s
}

// sameSettings reports whether two services with the same key, both normal, are
// scheduled alike. Their destinations are not looked at.
func (s Service) sameSettings(o Service) bool {
	return s.Scheduler == o.Scheduler && s.Persistence == o.Persistence && s.PersistenceMask == o.PersistenceMask
}
