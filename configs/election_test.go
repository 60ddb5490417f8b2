package configs

import (
	"net/netip"
	"testing"
	"time"

	"lvsd/vrrp"
)

// How an instance is elected, on each of two directors.
func TestElection(t *testing.T) {
	const text = `
[director.lvs-01]
address = "192.168.50.31"
[director.lvs-02]
address = "192.168.50.32"

[vrrp.a]
interface = "eth0"
vrid = 51
addresses = ["192.168.50.100/24"]
unicast = true
checksum = "rfc9568"
preempt_delay = "5s"
group = "both"
track = [
    { interface = "eth3" },
    { file = "/run/priority" },
    { script = ["/bin/uplink", "-q"], weight = -20 },
    { service = "web", weight = -50 },
]

[vrrp.b]
interface = "eth1"
vrid = 51
version = 2
password = "0123456789"
addresses = ["192.168.51.100/24"]
group = "both"

[service.web]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22" }]
`
	one, two := netip.MustParseAddr("192.168.50.31"), netip.MustParseAddr("192.168.50.32")
	for name, addresses := range map[string][2]netip.Addr{"lvs-01": {one, two}, "lvs-02": {two, one}} {
		instances := load(t, text, name).Instances
		a, b := instances[0], instances[1]
		if a.Source != addresses[0] || len(a.Peers) != 1 || a.Peers[0] != addresses[1] {
			t.Errorf("%s: unicast from %s to %v, want from %s to %s", name, a.Source, a.Peers, addresses[0], addresses[1])
		}
		if a.Version != vrrp.Version3 || a.Checksum != vrrp.ChecksumAlwaysMessage || a.PreemptDelay != 5*time.Second || a.Group != "both" {
			t.Errorf("%s: %+v", name, a)
		}
		compare(t, []Track{
			{Interface: "eth3"},
			{File: "/run/priority", Weight: 1},
			{Script: []string{"/bin/uplink", "-q"}, Weight: -20, Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, User: "nobody"},
			{Service: "web", Weight: -50},
		}, a.Track)
		if b.Version != vrrp.Version2 || b.Password != "0123456789" || b.Group != "both" || b.Peers != nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
}
