package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
)

// Forward is the way in which a packet reaches a real server. Its values are the
// kernel's own (IP_VS_CONN_F_* in linux/ip_vs.h).
type Forward uint8

// The forwarding methods.
const (
	NAT    Forward = 0 // the destination address is rewritten; ipvsadm says Masq
	Tunnel Forward = 2 // the packet is wrapped in another IP header
	DR     Forward = 3 // the frame is sent on unchanged to the real server's MAC address; ipvsadm says Route

	local  Forward = 1 // the kernel reported it for an own address once
	bypass Forward = 4
)

// String returns the word of the configuration: "nat", "dr" or "tun".
func (f Forward) String() string {
	switch f {
	case NAT:
		return "nat"
	case Tunnel:
		return "tun"
	case DR:
		return "dr"
	default:
		return fmt.Sprintf("forward %d", uint8(f))
	}
}

// MarshalText returns the word of the configuration, like String.
func (f Forward) MarshalText() ([]byte, error) {
	return []byte(f.String()), nil
}

// UnmarshalText takes the words "nat", "dr" and "tun".
func (f *Forward) UnmarshalText(text []byte) error {
	switch string(text) {
	case "nat":
		*f = NAT
	case "dr":
		*f = DR
	case "tun":
		*f = Tunnel
	default:
		return fmt.Errorf("forward %q: must be nat, dr or tun", text)
	}
	return nil
}

// ipvsadm returns the word that ipvsadm prints in the column Forward.
func (f Forward) ipvsadm() string {
	switch f {
	case NAT:
		return "Masq"
	case local:
		return "Local"
	case Tunnel:
		return "Tunnel"
	case DR:
		return "Route"
	case bypass:
		return "Bypass"
	default:
		return "Unknown"
	}
}

// MaxWeight is the largest weight of a destination.
const MaxWeight = 65535

// A Destination is a real server of one service.
type Destination struct {
	Address netip.AddrPort
	Forward Forward

	// Weight is the destination's share of new connections, 0 to MaxWeight.
	// 0 means that it gets none; the connections it has go on.
	Weight int

	// ActiveConnections and InactiveConnections are counted by the kernel:
	// established ones, and all others it remembers. Diff does not look at them.
	ActiveConnections   int
	InactiveConnections int
}

// validate returns the reasons for which the destination cannot be one of the
// service k.
func (d Destination) validate(k Key) error {
	var problems []error
	problem := func(format string, a ...any) {
		problems = append(problems, fmt.Errorf("real server %s: "+format, append([]any{d.Address}, a...)...))
	}

	address := d.Address.Addr()
	if why := badAddress(address); why != "" {
		problem("the address %s", why)
	} else if k.Address.IsValid() && address.BitLen() != k.Address.BitLen() {
		// moby/ipvs does not tell the kernel the family of a destination,
		// which would then read the address as one of the service's.
		problem("must be of the same address family as the service")
	}
	if address.Is6() && address.IsLinkLocalUnicast() {
		problem("the address must not be link-local: the kernel is not told the interface")
	}
	if d.Weight < 0 || d.Weight > MaxWeight {
		problem("weight %d: must be 0 to %d", d.Weight, MaxWeight)
	}
	switch d.Forward {
	case NAT:
		// Where the service has all ports, the client's port is kept.
		if (k.Port == 0) != (d.Address.Port() == 0) {
			problem("port %d: must be 0 where the service's is, and nowhere else", d.Address.Port())
		}
	case DR, Tunnel:
		// The packet is not rewritten, so it arrives at the service's port.
		if d.Address.Port() != k.Port {
			problem("port %d: must be the service's port %d with forward %q", d.Address.Port(), k.Port, d.Forward)
		}
	default:
		problem("%s: must be nat, dr or tun", d.Forward)
	}
	return errors.Join(problems...)
}

// same reports whether two destinations with the same address are served alike.
func (d Destination) same(o Destination) bool {
	return d.Weight == o.Weight && d.Forward == o.Forward
}
