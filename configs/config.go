// Package configs reads the one TOML file that drives lvsd: it parses it,
// fills in the defaults, refuses whatever cannot work, and hands out typed
// values. Every key, with its default, range and unit, is in reference.toml
// beside this file; the other files there are examples that run as they are.
//
// A file is taken as a whole or not at all. All its problems are reported at
// once, each with its file and line.
package configs

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"lvsd/health"
	"lvsd/ipvs"
	"lvsd/vrrp"
)

// Config is a configuration as one director sees it: complete, with all
// defaults filled in, and free of contradictions. Two loads of the same files
// are equal by reflect.DeepEqual, as are any two parts of them, so that a
// reload can tell what has changed.
type Config struct {
	Path      string     // of the file that was loaded, as it was given
	Files     []string   // Path and all files it includes, in the order they were read
	Director  Director   // the machine this is
	Directors []Director // all of them, sorted by name; only Director if the file names none
	Instances []Instance // sorted by name, with the values that hold on Director
	Services  []Service  // sorted by name
}

// Director is one machine that runs lvsd.
type Director struct {
	Name     string
	Address  netip.Addr // the DIP, where its peers reach it; the zero Addr if the file does not say
	Priority uint8      // of all its VRRP instances that set none of their own
}

// Instance is one VRRP instance: addresses that move together between the
// directors.
type Instance struct {
	Name           string
	Interface      string
	VRID           uint8
	Priority       uint8
	AdvertInterval time.Duration // a multiple of 10 ms, the unit on the wire (RFC 9568, section 5.2.7), or of 1 s in version 2
	Preempt        bool
	PreemptDelay   time.Duration
	Version        vrrp.Version
	Password       string // of version 2; "": no authentication
	Checksum       vrrp.ChecksumMode
	Source         netip.Addr   // where unicast advertisements come from; the zero Addr with multicast
	Peers          []netip.Addr // where unicast advertisements go; none with multicast
	Group          string       // the instances with this name move together; "" if it moves alone
	Track          []Track
	Addresses      []Address // advertised, of one address family; in the order of the file
	ExtraAddresses []Address // not advertised, but held and announced with the others
}

// Service is one virtual service: one set of real servers behind one or more
// addresses and ports.
type Service struct {
	Name            string
	Listen          []ipvs.Key // of one address family; in the order of the file
	Scheduler       string
	Forward         ipvs.Forward  // of the real servers that set none of their own
	Persistence     time.Duration // in whole seconds; zero: off
	PersistenceMask int           // prefix length; zero: each client address by itself
	OnDown          OnDown
	OnlyWhileMaster bool
	Instance        string // name of the Instance that holds the Listen addresses; "" if none does
	Real            []RealServer
	Sorry           *Sorry // nil: nothing answers when no real server is up
}

// RealServer is one real server of a service.
type RealServer struct {
	Address netip.Addr
	Port    uint16 // 0: the port of each Listen entry
	Weight  int
	Forward ipvs.Forward
	Check   *health.Check // nil: not checked and always up
}

// Sorry says what answers for a service while no real server is up: an
// external Server, or a Page that the director serves itself.
type Sorry struct {
	Server      netip.AddrPort   // the zero AddrPort if there is a Page
	Forward     ipvs.Forward     // the way to Server
	Page        []byte           // content of the page; nil if there is a Server
	Certificate *tls.Certificate // to serve Page over HTTPS as well; nil: HTTP only
	RetryAfter  time.Duration    // in whole seconds, sent along with Page
}

// OnDown says what becomes of a real server's entry in the table while it is
// down.
type OnDown uint8

// The entry of a real server that is down stays with weight 0, so that its
// connections end with the real server's own reset, or it is removed.
const (
	WeightZero OnDown = iota
	Remove
)

// String returns the word of the configuration file.
func (o OnDown) String() string {
	switch o {
	case WeightZero:
		return "weight-zero"
	case Remove:
		return "remove"
	default:
		return fmt.Sprintf("OnDown(%d)", uint8(o))
	}
}
