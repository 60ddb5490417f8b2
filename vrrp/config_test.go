package vrrp_test

import (
	"cmp"
	"net/netip"
	"testing"
	"time"

	"lvsd/vrrp"
)

func TestConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config vrrp.Config
		want   string // "" if it is valid
	}{
		{"version 3", config(100), ""},
		{"version 3 by number", changed(func(c *vrrp.Config) { c.Version = 3 }), ""},
		{"version 2", config2(100), ""},
		{"IPv6", config6(100), ""},
		{"unicast", unicast(config(100), host(1), host(2)), ""},
		{"unicast IPv6", unicast(config6(100), global6(1), global6(2)), ""},
		{"unicast version 2", unicast(config2(100), host(1), host(2)), ""},
		{"a source without peers", changed(func(c *vrrp.Config) { c.Source = host(1) }), ""},
		{"priority 1", config(1), ""},
		{"the owner", config(255), ""},
		{"a preempt delay", changed(func(c *vrrp.Config) { c.PreemptDelay = time.Hour }), ""},
		{"a password", target2Pass.virtual, ""},
		{"ENC-10 10 ms", changed(func(c *vrrp.Config) { c.Interval = 10 * ms }), ""},
		{"ENC-10 40.95 s", changed(func(c *vrrp.Config) { c.Interval = 40950 * ms }), ""},
		{"ENC-11 255 s in version 2", changed(func(c *vrrp.Config) { c.Version, c.Interval = 2, 255*time.Second }), ""},
		{"ENC-13 255 addresses", changed(func(c *vrrp.Config) { c.Addresses = many(255) }), ""},
		{"ENC-13 90 IPv6 addresses", changed(func(c *vrrp.Config) { c.Addresses = many6(90) }), ""},
		{"ENC-16 no link-local address first", changed(func(c *vrrp.Config) { c.Addresses = vips6[1:] }), ""},

		{"version 1", changed(func(c *vrrp.Config) { c.Version = 1 }), "version 1: must be 2 or 3"},
		{"version 4", changed(func(c *vrrp.Config) { c.Version = 4 }), "version 4: must be 2 or 3"},
		{"no VRID", changed(func(c *vrrp.Config) { c.VRID = 0 }), "vrid 0: must be 1 to 255"},
		{"priority 0", config(0), "priority 0: must be 1 to 254, or 255 for the owner of the addresses"},
		{"no interval", changed(func(c *vrrp.Config) { c.Interval = 0 }), "advertisement interval 0s: must be 10ms to 40.95s"},
		{"ENC-10 9.9 ms", changed(func(c *vrrp.Config) { c.Interval = 9900 * us }), "advertisement interval 9.9ms: must be 10ms to 40.95s"},
		{"ENC-10 5 ms", changed(func(c *vrrp.Config) { c.Interval = 5 * ms }), "advertisement interval 5ms: must be 10ms to 40.95s"},
		{"ENC-10 41 s", changed(func(c *vrrp.Config) { c.Interval = 41 * time.Second }), "advertisement interval 41s: must be 10ms to 40.95s"},
		{"ENC-10 15 ms", changed(func(c *vrrp.Config) { c.Interval = 15 * ms }), "advertisement interval 15ms: must be a whole number of centiseconds (10ms)"},
		{"ENC-11 1.5 s in version 2", changed(func(c *vrrp.Config) { c.Version, c.Interval = 2, 1500*ms }), "advertisement interval 1.5s: must be 1s to 255s in whole seconds in version 2"},
		{"ENC-11 256 s in version 2", changed(func(c *vrrp.Config) { c.Version, c.Interval = 2, 256*time.Second }), "advertisement interval 4m16s: must be 1s to 255s in whole seconds in version 2"},
		{"ENC-11 0.5 s in version 2", changed(func(c *vrrp.Config) { c.Version, c.Interval = 2, 500*ms }), "advertisement interval 500ms: must be 1s to 255s in whole seconds in version 2"},
		{"a negative preempt delay", changed(func(c *vrrp.Config) { c.PreemptDelay = -time.Second }), "preempt delay -1s: must be 0 or more"},
		{"no addresses", changed(func(c *vrrp.Config) { c.Addresses = nil }), "0 addresses: must be 1 to 255"},
		{"ENC-13 256 addresses", changed(func(c *vrrp.Config) { c.Addresses = many(256) }), "256 addresses: must be 1 to 255"},
		{"ENC-13 91 IPv6 addresses", changed(func(c *vrrp.Config) { c.Addresses = many6(91) }), "91 addresses: must be 1 to 90"},
		{"ENC-13 100 IPv6 addresses", changed(func(c *vrrp.Config) { c.Addresses = many6(100) }), "100 addresses: must be 1 to 90"},
		{"an address twice", changed(func(c *vrrp.Config) { c.Addresses = []netip.Addr{vips[0], vips[1], vips[0]} }), "address 10.99.0.100 is listed twice"},
		{"families mixed", changed(func(c *vrrp.Config) { c.Addresses = []netip.Addr{vips[0], vips6[0]} }), "address fe80::99:100: must be an IPv4 address like 10.99.0.100"},
		{"families mixed, IPv6 first", changed(func(c *vrrp.Config) { c.Addresses = []netip.Addr{vips6[0], vips[0]} }), "address 10.99.0.100: must be an IPv6 address like fe80::99:100"},
		{"IPv6 in version 2", changed(func(c *vrrp.Config) { c.Version, c.Addresses = 2, vips6 }), "version 2: is for IPv4 only"},
		{"a peer of another family", unicast(config(100), host(1), host(2), global6(2)), "peer 2001:db8:99::2: must be an IPv4 address"},
		{"peers without a source", unicast(config(100), netip.Addr{}, host(2)), "source invalid IP: must be an IPv4 address of this router"},
		{"a source of another family", unicast(config6(100), host(1), global6(2)), "source 10.99.0.1: must be an IPv6 address of this router"},
		{"a password in version 3", changed(func(c *vrrp.Config) { c.Password = "s3cr3t" }), "password: is of version 2 only"},
		{
			"everything wrong",
			vrrp.Config{Interval: 1500 * us, Addresses: []netip.Addr{vips[0], vips[0]}, PreemptDelay: -1, Password: "x"},
			"vrid 0: must be 1 to 255\n" +
				"priority 0: must be 1 to 254, or 255 for the owner of the addresses\n" +
				"advertisement interval 1.5ms: must be 10ms to 40.95s\n" +
				"preempt delay -1ns: must be 0 or more\n" +
				"address 10.99.0.100 is listed twice\n" +
				"password: is of version 2 only",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.config.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
		})
	}
}

// Size is the length of the packet that is sent, and never more than an Ethernet frame holds.
func TestConfigSize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config vrrp.Config
		want   int
	}{
		{"version 3", config(100), 36},
		{"version 2", config2(100), 44},
		{"version 2 with a password", target2Pass.virtual, 44},
		{"IPv6", config6(100), 80},
		{"one address", changed(func(c *vrrp.Config) { c.Addresses = vips[:1] }), 32},
		{"ENC-13 255 addresses", changed(func(c *vrrp.Config) { c.Addresses = many(255) }), 1048},
		{"ENC-13 255 addresses in version 2", changed(func(c *vrrp.Config) { c.Version, c.Addresses = 2, many(255) }), 1056},
		{"ENC-13 90 IPv6 addresses", changed(func(c *vrrp.Config) { c.Addresses = many6(90) }), 1488},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.config.Size(); got != tt.want || got > 1500 {
				t.Errorf("%d bytes, want %d", got, tt.want)
			}
			source, header := host(1), 20
			if tt.config.Family() == vrrp.IPv6 {
				source, header = host6(1), 40
			}
			a := vrrp.Advertisement{
				Version: cmp.Or(tt.config.Version, vrrp.Version3), VRID: 51, Priority: 100, Interval: time.Second, Addresses: tt.config.Addresses,
			}
			to := group
			if source.Is6() {
				to = group6
			}
			if b, err := a.Marshal(source, to); err != nil || len(b)+header != tt.want {
				t.Errorf("a packet has %d bytes, %v, want %d", len(b)+header, err, tt.want)
			}
		})
	}
}

func TestFamily(t *testing.T) {
	for _, tt := range []struct {
		addresses []netip.Addr
		want      string
	}{{vips, "IPv4"}, {vips6, "IPv6"}, {nil, "IPv4"}} {
		if got := (vrrp.Config{Addresses: tt.addresses}).Family().String(); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.addresses, got, tt.want)
		}
	}
}
