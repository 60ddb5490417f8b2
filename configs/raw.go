package configs

import (
	"net/netip"
	"time"

	"lvsd/health"
)

// The types of this file are the language of the configuration, key by key.
// What the tags say is checked for each key where it stands; what one key means
// for another is checked when the Config is built. The defaults are not here:
// a key that is missing takes them from a table of defaults first.

// table is embedded in the type of each table. It says where the table stands.
type table struct{ at place }

func (t *table) locate(at place) { t.at = at }

// rawFile is one file.
type rawFile struct {
	table
	Include  []value[string]         `toml:"include"`
	Director map[string]*rawDirector `toml:"director"`
	Defaults *rawDefaults            `toml:"defaults"`
	VRRP     map[string]*rawInstance `toml:"vrrp"`
	Service  map[string]*rawService  `toml:"service"`
}

// rawDirector is [director.NAME].
type rawDirector struct {
	table
	Address  value[netip.Addr]       `toml:"address"`
	Priority value[int]              `toml:"priority" min:"1" max:"255"`
	VRRP     map[string]*rawOverride `toml:"vrrp"`
}

// rawOverride is [director.NAME.vrrp.INSTANCE]: what differs between the
// directors of one instance.
type rawOverride struct {
	table
	Interface value[string] `toml:"interface"`
	Priority  value[int]    `toml:"priority" min:"1" max:"255"`
}

// rawDefaults is [defaults].
type rawDefaults struct {
	table
	Check   *rawCheck           `toml:"check"`
	Service *rawServiceDefaults `toml:"service"`
}

// rawInstance is [vrrp.NAME].
type rawInstance struct {
	table
	Interface      value[string]        `toml:"interface"`
	VRID           value[int]           `toml:"vrid" min:"1" max:"255"`
	Priority       value[int]           `toml:"priority" min:"1" max:"255"`
	AdvertInterval value[time.Duration] `toml:"advert_interval" min:"10ms" max:"255s" step:"10ms" like:"1s"`
	Preempt        value[bool]          `toml:"preempt"`
	PreemptDelay   value[time.Duration] `toml:"preempt_delay" min:"0s" max:"24h" like:"60s"`
	Version        value[int]           `toml:"version" min:"2" max:"3"`
	Password       value[string]        `toml:"password"`
	Checksum       value[string]        `toml:"checksum" oneof:"auto pseudo-header rfc9568"`
	Unicast        value[bool]          `toml:"unicast"`
	Group          value[string]        `toml:"group"`
	Track          []*rawTrack          `toml:"track"`
	Addresses      []*rawAddress        `toml:"addresses" short:"address"`
	ExtraAddresses []*rawAddress        `toml:"extra_addresses" short:"address"`
}

// rawAddress is one element of addresses or extra_addresses.
type rawAddress struct {
	table
	Address value[netip.Prefix] `toml:"address"`
	Dev     value[string]       `toml:"dev"`
	Label   value[string]       `toml:"label"`
	Scope   value[string]       `toml:"scope" oneof:"global site link host"`
}

// rawTrack is one element of track.
type rawTrack struct {
	table
	Interface value[string]        `toml:"interface"`
	Script    []value[string]      `toml:"script"`
	File      value[string]        `toml:"file"`
	Service   value[string]        `toml:"service"`
	Weight    value[int]           `toml:"weight" min:"-253" max:"253"`
	Interval  value[time.Duration] `toml:"interval" min:"100ms" max:"24h" like:"2s"`
	Timeout   value[time.Duration] `toml:"timeout" min:"10ms" max:"24h" like:"1s"`
	Rise      value[int]           `toml:"rise" min:"1" max:"1000"`
	Fall      value[int]           `toml:"fall" min:"1" max:"1000"`
	User      value[string]        `toml:"user"`
}

// rawServiceDefaults is [defaults.service].
type rawServiceDefaults struct {
	table
	serviceKeys
}

// serviceKeys are the keys of a service that [defaults.service] can have too.
type serviceKeys struct {
	Scheduler       value[string]        `toml:"scheduler" oneof:"dh fo lblc lblcr lc mh nq ovf rr sed sh twos wlc wrr"`
	Forward         value[string]        `toml:"forward" oneof:"nat dr tun"`
	Persistence     value[time.Duration] `toml:"persistence" min:"0s" max:"744h" step:"1s" like:"300s"`
	PersistenceMask value[int]           `toml:"persistence_mask" min:"1" max:"128"`
	OnDown          value[string]        `toml:"on_down" oneof:"weight-zero remove"`
	OnlyWhileMaster value[bool]          `toml:"only_while_master"`
	Sorry           *rawSorry            `toml:"sorry"`
}

// rawService is [service.NAME].
type rawService struct {
	table
	serviceKeys
	Listen   []value[netip.AddrPort] `toml:"listen"`
	Protocol value[string]           `toml:"protocol" oneof:"tcp udp"`
	Real     []*rawReal              `toml:"real"`
	Check    *rawCheck               `toml:"check"`
}

// rawReal is one element of real.
type rawReal struct {
	table
	Address value[netip.Addr] `toml:"address"`
	Port    value[int]        `toml:"port" min:"1" max:"65535"`
	Weight  value[int]        `toml:"weight" min:"0" max:"65535"`
	Forward value[string]     `toml:"forward" oneof:"nat dr tun"`
	Check   *rawCheck         `toml:"check"`
}

// rawSorry is sorry.
type rawSorry struct {
	table
	Page        value[string]         `toml:"page"`
	Certificate value[string]         `toml:"certificate"`
	Key         value[string]         `toml:"key"`
	RetryAfter  value[time.Duration]  `toml:"retry_after" min:"1s" max:"24h" step:"1s" like:"10s"`
	Server      value[netip.AddrPort] `toml:"server"`
	Forward     value[string]         `toml:"forward" oneof:"nat dr tun"`
}

// rawCheck is check, of the defaults, a service or a real server. The tag types
// lists the types of check for which a key does something; without it, it does
// for all but none.
type rawCheck struct {
	table
	Type         value[string]              `toml:"type" oneof:"tcp tls http https none" types:"tcp tls http https none"`
	Port         value[int]                 `toml:"port" min:"1" max:"65535"`
	Interval     value[time.Duration]       `toml:"interval" min:"10ms" max:"24h" like:"2s"`
	FastInterval value[time.Duration]       `toml:"fast_interval" min:"10ms" max:"24h" like:"200ms"`
	Timeout      value[time.Duration]       `toml:"timeout" min:"1ms" max:"24h" like:"1s"`
	Rise         value[int]                 `toml:"rise" min:"1" max:"1000"`
	Fall         value[int]                 `toml:"fall" min:"1" max:"1000"`
	Send         value[string]              `toml:"send" types:"tcp"`
	Expect       value[string]              `toml:"expect" types:"tcp"`
	Method       value[string]              `toml:"method" types:"http https"`
	Host         value[string]              `toml:"host" types:"http https"`
	Path         value[string]              `toml:"path" types:"http https"`
	Headers      map[string]value[string]   `toml:"headers" types:"http https"`
	Status       value[health.StatusRanges] `toml:"status" types:"http https"`
	Body         value[string]              `toml:"body" types:"http https"`
	BodyRegex    value[string]              `toml:"body_regex" types:"http https"`
	ServerName   value[string]              `toml:"server_name" types:"tls https"`
	Verify       value[bool]                `toml:"verify" types:"tls https"`
	CA           value[string]              `toml:"ca" types:"tls https"`
	MinValidity  value[time.Duration]       `toml:"min_validity" min:"0s" max:"87600h" like:"168h" types:"tls https"`
}
