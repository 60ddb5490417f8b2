package configs

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsd/health"
	"lvsd/ipvs"
	"lvsd/vip"
	"lvsd/vrrp"
)

func load(t *testing.T, text, director string) *Config {
	t.Helper()
	config, err := Load(write(t, text), director)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// compare compares two configurations or parts of them.
func compare(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, netips, regexps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var (
	netips  = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})
	regexps = cmp.Comparer(func(a, b *regexp.Regexp) bool { return reflect.DeepEqual(a, b) })
)

// What an operator gets who sets nothing.
func TestDefaults(t *testing.T) {
	config := load(t, `
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.168.50.100"]

[service.web]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22" }]
`, "lvs-01")
	director := Director{Name: "lvs-01", Priority: 100}
	compare(t, &Config{
		Path:      config.Path,
		Files:     []string{config.Path},
		Director:  director,
		Directors: []Director{director},
		Instances: []Instance{{
			Name:           "web",
			Interface:      "eth0",
			VRID:           51,
			Priority:       100,
			AdvertInterval: time.Second,
			Preempt:        true,
			Version:        vrrp.Version3,
			Addresses:      []Address{{Prefix: netip.MustParsePrefix("192.168.50.100/32"), Interface: "eth0"}},
		}},
		Services: []Service{{
			Name:      "web",
			Listen:    []ipvs.Key{{Address: netip.MustParseAddr("192.168.50.100"), Port: 80, Protocol: ipvs.TCP}},
			Scheduler: "wlc",
			Forward:   ipvs.NAT,
			OnDown:    WeightZero,
			Instance:  "web",
			Real: []RealServer{{
				Address: netip.MustParseAddr("192.168.50.22"),
				Weight:  1,
				Forward: ipvs.NAT,
				Check: &health.Check{
					Checker:      health.TCP{Address: netip.MustParseAddrPort("192.168.50.22:80")},
					Interval:     2 * time.Second,
					FastInterval: 200 * time.Millisecond,
					Timeout:      time.Second,
					Rise:         2,
					Fall:         3,
				},
			}},
		}},
	}, config)
}

func TestNoFileContent(t *testing.T) {
	config := load(t, "", "lvs-01")
	director := Director{Name: "lvs-01", Priority: 100}
	compare(t, &Config{
		Path: config.Path, Files: []string{config.Path}, Director: director, Directors: []Director{director},
	}, config)
}

func TestDirectorByHostName(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	config := load(t, `
[director."`+host+`"]
priority = 7
[director.other]
`, "")
	compare(t, Director{Name: host, Priority: 7}, config.Director)
	compare(t, []string{host}, []string{load(t, "", "").Director.Name})
}

func TestDirectorByFirstPartOfHostName(t *testing.T) {
	b := &builder{directors: map[string]*rawDirector{"lvs-01": new(rawDirector), "lvs-02.a.example": new(rawDirector)}}
	for host, want := range map[string]string{
		"lvs-01":           "lvs-01",
		"lvs-01.a.example": "lvs-01",
		"lvs-02.a.example": "lvs-02.a.example",
		"lvs-02":           "lvs-02",
		"lvs-03.a.example": "lvs-03.a.example",
	} {
		if got := b.byHost(host); got != want {
			t.Errorf("host %q is director %q, want %q", host, got, want)
		}
	}
}

// What differs between the directors sits under the director.
func TestInstanceOfEachDirector(t *testing.T) {
	const text = `
[director.lvs-01]
address = "192.168.50.31"
priority = 150
[director.lvs-02]
[director.lvs-02.vrrp.a]
interface = "bond0"
priority = 10
[director.lvs-02.vrrp.b]
priority = 20
[director.lvs-03]
priority = 30

[vrrp.a]
interface = "eth0"
vrid = 1
addresses = ["192.168.50.100/24", "192.168.50.101/24"]
[vrrp.b]
interface = "eth1"
vrid = 1
priority = 200
preempt = false
advert_interval = "40.95s"
addresses = ["192.168.51.100/24"]
`
	a := Instance{
		Name: "a", VRID: 1, AdvertInterval: time.Second, Preempt: true, Version: vrrp.Version3,
		Addresses: []Address{{Prefix: netip.MustParsePrefix("192.168.50.100/24")}, {Prefix: netip.MustParsePrefix("192.168.50.101/24")}},
	}
	b := Instance{
		Name: "b", VRID: 1, AdvertInterval: 40950 * time.Millisecond, Preempt: false, Version: vrrp.Version3,
		Addresses: []Address{{Prefix: netip.MustParsePrefix("192.168.51.100/24")}},
	}
	with := func(i Instance, iface string, priority uint8) Instance {
		i.Interface, i.Priority = iface, priority
		i.Addresses = slices.Clone(i.Addresses)
		for n := range i.Addresses {
			i.Addresses[n].Interface = iface
		}
		return i
	}
	directors := []Director{
		{Name: "lvs-01", Address: netip.MustParseAddr("192.168.50.31"), Priority: 150},
		{Name: "lvs-02", Priority: 100},
		{Name: "lvs-03", Priority: 30},
	}
	for i, want := range [][]Instance{
		{with(a, "eth0", 150), with(b, "eth1", 200)},
		{with(a, "bond0", 10), with(b, "eth1", 20)},
		{with(a, "eth0", 30), with(b, "eth1", 200)},
	} {
		config := load(t, text, directors[i].Name)
		compare(t, directors, config.Directors)
		compare(t, directors[i], config.Director)
		compare(t, want, config.Instances)
	}
}

// An address is a string or a table, on the interface that the instance has on the
// director unless it has one of its own.
func TestAddressesOfAnInstance(t *testing.T) {
	const text = `
[director.lvs-01]
[director.lvs-02]
[director.lvs-02.vrrp.web]
interface = "bond0"

[vrrp.web]
interface = "eth2"
vrid = 51
addresses = [
  "192.168.50.100/24",
  { address = "192.168.50.101", dev = "eth3", label = "eth3:web", scope = "link" },
  { address = "192.168.50.102/24", scope = "global" },
]
extra_addresses = [
  "2001:db8::100",
  { address = "fe80::100/64", dev = "eth3" },
  { address = "192.168.51.100/24", scope = "site" },
  { address = "192.168.52.100/24", scope = "host" },
]

[vrrp.six]
interface = "eth2"
vrid = 51
[[vrrp.six.addresses]]
address = "fe80::100/64"
[[vrrp.six.addresses]]
address = "2001:db8::101/64"
`
	prefix := netip.MustParsePrefix
	for director, iface := range map[string]string{"lvs-01": "eth2", "lvs-02": "bond0"} {
		config := load(t, text, director)
		web, six := config.Instances[1], config.Instances[0]
		compare(t, []Address{
			{Prefix: prefix("192.168.50.100/24"), Interface: iface},
			{Prefix: prefix("192.168.50.101/32"), Interface: "eth3", Label: "eth3:web", Scope: vip.ScopeLink},
			{Prefix: prefix("192.168.50.102/24"), Interface: iface},
		}, web.Addresses)
		compare(t, []Address{
			{Prefix: prefix("2001:db8::100/128"), Interface: iface},
			{Prefix: prefix("fe80::100/64"), Interface: "eth3"},
			{Prefix: prefix("192.168.51.100/24"), Interface: iface, Scope: vip.ScopeSite},
			{Prefix: prefix("192.168.52.100/24"), Interface: iface, Scope: vip.ScopeHost},
		}, web.ExtraAddresses)
		compare(t, []Address{
			{Prefix: prefix("fe80::100/64"), Interface: "eth2"},
			{Prefix: prefix("2001:db8::101/64"), Interface: "eth2"},
		}, six.Addresses)
	}
}

// The addresses of a service may be advertised by its instance or not.
func TestInstanceOfAService(t *testing.T) {
	const services = `
[service.four]
listen = ["192.168.50.100:80", "192.168.50.101:80"]
real = [{ address = "192.168.50.22" }]
[service.six]
listen = ["[2001:db8::100]:80", "[2001:db8::101]:80"]
real = [{ address = "2001:db8::22" }]
`
	for _, tt := range []struct{ addresses, extra, six string }{
		{`"192.168.50.100/24"`, `"192.168.50.101/24", "2001:db8::100/64", "2001:db8::101/64"`, "web"},
		{`"2001:db8::100/64"`, `"192.168.50.100/24", "192.168.50.101/24", "2001:db8::101/64"`, "web"},
		{`"192.168.50.100/24", "192.168.50.101/24"`, ``, ""}, // somebody else has those of IPv6
	} {
		config := load(t, `
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = [`+tt.addresses+`]
extra_addresses = [`+tt.extra+`]
`+services, "lvs-01")
		compare(t, []string{"web", tt.six}, []string{config.Services[0].Instance, config.Services[1].Instance})
	}
}

// The owner of an address, and nobody else, may have a virtual address for its own.
func TestOwnerOfAnAddress(t *testing.T) {
	const text = `
[director.lvs-01]
address = "192.168.50.31"
priority = 255
[director.lvs-02]
address = "192.168.50.32"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.168.50.31/24"]
`
	if got := load(t, text, "lvs-01").Instances[0].Priority; got != 255 {
		t.Errorf("priority %d, want 255", got)
	}
}

func TestAddressesAtTheEndOfSmallNetworks(t *testing.T) {
	load(t, `
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.168.50.0/31", "192.168.50.3/31", "192.168.51.0", "192.168.52.1/30"]
extra_addresses = ["2001:db8::/127", "2001:db8::3/127", "2001:db8:1::", "2001:db8:2::ffff:ffff:ffff:ffff/64"]
`, "lvs-01")
}

func TestService(t *testing.T) {
	config := load(t, `
[service.web]
listen = ["[2001:db8::100]:80", "[2001:db8::101]:443"]
scheduler = "mh"
forward = "tun"
persistence = "1h"
persistence_mask = 64
on_down = "remove"
real = [
  { address = "2001:db8::22" },
  { address = "2001:db8::23", port = 8080, weight = 0, forward = "nat" },
]
sorry = { server = "[2001:db8::9]:8080", forward = "nat" }
check = { type = "none" }

[service.dns]
protocol = "udp"
listen = ["192.168.50.100:53"]
persistence = "0s"
real = [{ address = "192.168.60.22", forward = "dr", check = { type = "tcp", port = 5353 } }]
check = { type = "none", }
sorry = { server = "192.168.60.9:53" }
forward = "dr"
`, "lvs-01")
	addr := netip.MustParseAddr
	compare(t, []Service{
		{
			Name:      "dns",
			Listen:    []ipvs.Key{{Address: addr("192.168.50.100"), Port: 53, Protocol: ipvs.UDP}},
			Scheduler: "wlc",
			Forward:   ipvs.DR,
			Real: []RealServer{{
				Address: addr("192.168.60.22"), Weight: 1, Forward: ipvs.DR,
				Check: &health.Check{
					Checker:  health.TCP{Address: netip.MustParseAddrPort("192.168.60.22:5353")},
					Interval: 2 * time.Second, FastInterval: 200 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 3,
				},
			}},
			Sorry: &Sorry{Server: netip.MustParseAddrPort("192.168.60.9:53"), Forward: ipvs.DR},
		},
		{
			Name: "web",
			Listen: []ipvs.Key{
				{Address: addr("2001:db8::100"), Port: 80, Protocol: ipvs.TCP},
				{Address: addr("2001:db8::101"), Port: 443, Protocol: ipvs.TCP},
			},
			Scheduler:       "mh",
			Forward:         ipvs.Tunnel,
			Persistence:     time.Hour,
			PersistenceMask: 64,
			OnDown:          Remove,
			Real: []RealServer{
				{Address: addr("2001:db8::22"), Weight: 1, Forward: ipvs.Tunnel},
				{Address: addr("2001:db8::23"), Port: 8080, Weight: 0, Forward: ipvs.NAT},
			},
			Sorry: &Sorry{Server: netip.MustParseAddrPort("[2001:db8::9]:8080"), Forward: ipvs.NAT},
		},
	}, config.Services)
}

// A mask of a whole address is none.
func TestPersistenceMaskOfAnAddress(t *testing.T) {
	s := load(t, `
[service.web]
listen = ["192.168.50.100:80"]
persistence = "1s"
persistence_mask = 32
real = [{ address = "192.168.50.22" }]
`, "lvs-01").Services[0]
	if s.PersistenceMask != 0 || s.Persistence != time.Second {
		t.Errorf("persistence %s, mask %d, want 1s, 0", s.Persistence, s.PersistenceMask)
	}
}

func TestCheckers(t *testing.T) {
	address := netip.MustParseAddrPort("192.168.50.22:80")
	tests := []struct {
		name  string
		check string
		want  health.Checker
	}{
		{"tcp", `type = "tcp"`, health.TCP{Address: address}},
		{
			"tcp with an answer", `send = "PING\r\n", expect = "PONG"`,
			health.TCP{Address: address, Send: []byte("PING\r\n"), Expect: health.Match{Substring: "PONG"}},
		},
		{"another port", `port = 81`, health.TCP{Address: netip.MustParseAddrPort("192.168.50.22:81")}},
		{"tls", `type = "tls"`, health.TLS{Address: address}},
		{
			"tls with everything", `type = "tls", server_name = "www.example.com", verify = false, min_validity = "168h"`,
			health.TLS{Address: address, Handshake: health.Handshake{
				ServerName: "www.example.com", SkipVerify: true, MinValidity: 168 * time.Hour,
			}},
		},
		{
			"http", `type = "http"`,
			health.HTTP{Address: address, Method: "GET", Path: "/", Status: health.StatusRanges{{First: 200, Last: 399}}},
		},
		{
			"https with everything", `type = "https", method = "HEAD", host = "www.example.com", path = "/x?y", status = "200,301-302",
			headers = { x-check = "lvsd", Accept = "*/*" }, body = "OK", body_regex = "(up|fine)"`,
			health.HTTP{
				Address: address,
				TLS:     &health.Handshake{},
				Method:  "HEAD",
				Host:    "www.example.com",
				Path:    "/x?y",
				Headers: http.Header{"X-Check": {"lvsd"}, "Accept": {"*/*"}},
				Status:  health.StatusRanges{{First: 200, Last: 200}, {First: 301, Last: 302}},
				Body:    health.Match{Substring: "OK", Pattern: regexp.MustCompile("(up|fine)")},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := load(t, `
[service.web]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22" }]
check = { `+tt.check+` }
`, "lvs-01")
			compare(t, tt.want, config.Services[0].Real[0].Check.Checker)
		})
	}
}

// Defaults cascade: built in, [defaults.check], the service, the real server.
func TestCascade(t *testing.T) {
	config := load(t, `
[defaults.check]
type = "http"
interval = "5s"
path = "/default"
host = "default.example"
rise = 7

[defaults.service]
scheduler = "rr"
forward = "dr"
persistence = "60s"
persistence_mask = 24
on_down = "remove"
sorry = { server = "192.168.50.9:80" }

[service.a]
listen = ["192.168.50.100:80"]
real = [
  { address = "192.168.50.22" },
  { address = "192.168.50.23", check = { interval = "100ms", fall = 9, path = "/real" } },
  { address = "192.168.50.24", check = { type = "tcp" } },
  { address = "192.168.50.25", check = { type = "none" } },
]
check = { path = "/service", fall = 8 }

[service.b]
listen = ["192.168.50.100:81"]
scheduler = "lc"
forward = "nat"
persistence = "0s"
sorry = { server = "192.168.50.9:81" }
real = [{ address = "192.168.50.22", forward = "tun" }]
check = { type = "tcp" }
`, "lvs-01")
	status := health.StatusRanges{{First: 200, Last: 399}}
	a, b := config.Services[0], config.Services[1]
	compare(t, []*health.Check{
		{
			Checker: health.HTTP{
				Address: netip.MustParseAddrPort("192.168.50.22:80"), Method: "GET", Host: "default.example", Path: "/service", Status: status,
			},
			Interval: 5 * time.Second, FastInterval: 200 * time.Millisecond, Timeout: time.Second, Rise: 7, Fall: 8,
		},
		{
			Checker: health.HTTP{
				Address: netip.MustParseAddrPort("192.168.50.23:80"), Method: "GET", Host: "default.example", Path: "/real", Status: status,
			},
			Interval: 100 * time.Millisecond, FastInterval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond, Rise: 7, Fall: 9,
		},
		{
			Checker:  health.TCP{Address: netip.MustParseAddrPort("192.168.50.24:80")},
			Interval: 5 * time.Second, FastInterval: 200 * time.Millisecond, Timeout: time.Second, Rise: 7, Fall: 8,
		},
		nil,
	}, []*health.Check{a.Real[0].Check, a.Real[1].Check, a.Real[2].Check, a.Real[3].Check})
	a.Real, b.Real = a.Real[:1], b.Real[:1]
	a.Real[0].Check, b.Real[0].Check = nil, nil
	vip, rip := netip.MustParseAddr("192.168.50.100"), netip.MustParseAddr("192.168.50.22")
	compare(t, Service{
		Name: "a", Listen: []ipvs.Key{{Address: vip, Port: 80, Protocol: ipvs.TCP}},
		Scheduler: "rr", Forward: ipvs.DR, Persistence: time.Minute, PersistenceMask: 24, OnDown: Remove,
		Real:  []RealServer{{Address: rip, Weight: 1, Forward: ipvs.DR}},
		Sorry: &Sorry{Server: netip.MustParseAddrPort("192.168.50.9:80"), Forward: ipvs.DR},
	}, a)
	compare(t, Service{
		Name: "b", Listen: []ipvs.Key{{Address: vip, Port: 81, Protocol: ipvs.TCP}},
		Scheduler: "lc", Forward: ipvs.NAT, OnDown: Remove,
		Real:  []RealServer{{Address: rip, Weight: 1, Forward: ipvs.Tunnel}},
		Sorry: &Sorry{Server: netip.MustParseAddrPort("192.168.50.9:81"), Forward: ipvs.NAT},
	}, b)
}

// One service inherits from the defaults what it is without; nothing of one
// service goes over to another.
func TestServicesShareNoTables(t *testing.T) {
	config := load(t, `
[defaults.check]
type = "http"
[service.a]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22", check = { path = "/a" } }, { address = "192.168.50.23" }]
[service.b]
listen = ["192.168.50.100:81"]
real = [{ address = "192.168.50.22" }]
`, "lvs-01")
	for _, real := range []RealServer{config.Services[0].Real[1], config.Services[1].Real[0]} {
		if path := real.Check.Checker.(health.HTTP).Path; path != "/" {
			t.Errorf("path of %s: %q, want /", real.Address, path)
		}
	}
}

// On several ports a real server is checked where the check says, or on its own
// port; on one port there is nothing to say.
func TestPortOfTheCheck(t *testing.T) {
	config := load(t, `
[service.a]
listen = ["192.168.50.100:80", "192.168.50.100:443"]
real = [{ address = "192.168.50.22", port = 8080 }, { address = "192.168.50.23", check = { port = 443 } }]
[service.b]
listen = ["192.168.50.100:90", "192.168.50.101:90"]
real = [{ address = "192.168.50.24" }]
`, "lvs-01")
	var got []string
	for _, s := range config.Services {
		for _, real := range s.Real {
			got = append(got, real.Check.Checker.(health.TCP).Address.String())
		}
	}
	compare(t, []string{"192.168.50.22:8080", "192.168.50.23:443", "192.168.50.24:90"}, got)
}

// The words of the schedulers stand in a tag, so nothing else keeps them true.
func TestSchedulersAreThoseOfTheKernel(t *testing.T) {
	f, ok := reflect.TypeFor[serviceKeys]().FieldByName("Scheduler")
	if !ok {
		t.Fatal("no field Scheduler")
	}
	compare(t, ipvs.Schedulers(), strings.Fields(f.Tag.Get("oneof")))
}

// Whatever is loaded passes what the packages that use it ask for.
func TestExamplesPassTheKernelsRules(t *testing.T) {
	for _, file := range examples(t) {
		config, err := Load(file, "lvs-01")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range config.Services {
			for _, key := range s.Listen {
				service := ipvs.Service{Key: key, Scheduler: s.Scheduler, Persistence: s.Persistence, PersistenceMask: s.PersistenceMask}
				for _, real := range s.Real {
					service.Destinations = append(service.Destinations, ipvs.Destination{
						Address: real.at(key), Forward: real.Forward, Weight: real.Weight,
					})
				}
				if err := service.Validate(); err != nil {
					t.Errorf("%s: service %q: %v", file, s.Name, err)
				}
			}
		}
	}
}

func TestInclude(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"lvsd.toml":            "include = [\"conf.d/*.toml\", \"nothing/*.toml\", \"one.toml\"]\n[service.a]\nlisten = [\"192.168.50.100:80\"]\nreal = [{ address = \"192.168.50.22\" }]",
		"conf.d/10-b.toml":     "include = [\"more/c.toml\"]\n[service.b]\nlisten = [\"192.168.50.100:81\"]\nreal = [{ address = \"192.168.50.22\" }]\nsorry = { page = \"b.html\" }",
		"conf.d/20-b.toml":     "[defaults.check]\nrise = 5",
		"conf.d/README":        "not TOML",
		"conf.d/b.html":        "page of b",
		"conf.d/more/c.toml":   "include = [\"../../one.toml\"]",
		"conf.d/more/d.toml":   "[nonsense]",
		"one.toml":             "[director.lvs-01]\npriority = 9",
		"elsewhere/one-2.toml": "",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := Load(filepath.Join(folder, "lvsd.toml"), "lvs-01")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"lvsd.toml", "conf.d/10-b.toml", "conf.d/more/c.toml", "one.toml", "conf.d/20-b.toml"} {
		want = append(want, filepath.Join(folder, name))
	}
	compare(t, want, config.Files)
	compare(t, uint8(9), config.Director.Priority)
	if len(config.Services) != 2 || string(config.Services[1].Sorry.Page) != "page of b" {
		t.Errorf("services %+v", config.Services)
	}
	for _, s := range config.Services {
		if s.Real[0].Check.Rise != 5 {
			t.Errorf("service %q: rise %d, want 5", s.Name, s.Real[0].Check.Rise)
		}
	}
}

// The folder of the configuration may be full of links, as some systems of
// deployment make them.
func TestIncludeThroughLinks(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("lvsd.toml", `include = ["link.toml", "one.toml", "loop.toml"]`)
	write("one.toml", "[service.a]\nlisten = [\"192.168.50.100:80\"]\nreal = [{ address = \"192.168.50.22\" }]")
	for link, to := range map[string]string{"link.toml": "one.toml", "loop.toml": "lvsd.toml"} {
		if err := os.Symlink(to, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, filepath.Join(folder, "lvsd.toml"), "lvs-01",
		`lvsd.toml:1: include "loop.toml": loop.toml includes itself: a file can be included only by others`)
}

func TestProblemsAreSortedAndEachOnce(t *testing.T) {
	p := Problems{
		{File: "b", Line: 1, Text: "x"},
		{File: "a", Line: 10, Text: "x"},
		{File: "a", Line: 9, Text: "y"},
		{File: "a", Line: 9, Text: "x"},
		{File: "a", Line: 9, Text: "x"},
		{File: "a", Line: 9, Table: "t", Text: "x"},
	}
	want := "a:9: x\na:9: y\na:9: t: x\na:10: x\nb:1: x"
	if got := p.sorted().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
