package ipvs_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsd/ipvs"
)

func TestValidateAcceptsWhatTheKernelServes(t *testing.T) {
	allPorts := web
	allPorts.Port = 0
	tests := []struct {
		name string
		s    ipvs.Service
	}{
		{"nat to another port", service(web, nat("192.168.50.22:8080", 1))},
		{"no real server", service(web)},
		{"weights at their limits", service(web, nat(real1, 0), nat(real2, 65535))},
		{"udp", service(dns, nat("192.168.50.22:53", 1))},
		{"ipv6", service(web6, nat("[2001:db8::22]:80", 1))},
		{"dr", service(web, ipvs.Destination{Address: netip.MustParseAddrPort(real1), Forward: ipvs.DR, Weight: 1})},
		{"tun", service(web, ipvs.Destination{Address: netip.MustParseAddrPort(real1), Forward: ipvs.Tunnel, Weight: 1})},
		{"persistent", persistent(service(web), 300, 24)},
		{"persistent for 31 days", persistent(service(web6), 31*24*3600, 128)},
		{"all ports", persistent(service(allPorts, nat("192.168.50.22:0", 1)), 300, 0)},
	}
	for _, name := range ipvs.Schedulers() {
		s := service(web)
		s.Scheduler = name
		tests = append(tests, struct {
			name string
			s    ipvs.Service
		}{"scheduler " + name, s})
	}
	for _, tt := range tests {
		if err := tt.s.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestValidateRefusesWhatTheKernelWouldNotServe(t *testing.T) {
	tests := []struct {
		name string
		edit func(*ipvs.Service)
		want string
	}{
		{"scheduler", func(s *ipvs.Service) { s.Scheduler = "fair" }, `scheduler "fair": must be one of dh fo`},
		{"protocol", func(s *ipvs.Service) { s.Protocol = 0 }, `protocol 0: must be TCP or UDP`},
		{"no address", func(s *ipvs.Service) { s.Address = netip.Addr{} }, `address invalid IP: is missing`},
		{"multicast", func(s *ipvs.Service) { s.Address = netip.MustParseAddr("224.0.0.18") }, `must be the address of one machine`},
		{"any address", func(s *ipvs.Service) { s.Address = netip.IPv4Unspecified() }, `must be the address of one machine`},
		{"zone", func(s *ipvs.Service) { s.Address = netip.MustParseAddr("fe80::1%eth0") }, `must have no zone`},
		{"IPv4 as IPv6", func(s *ipvs.Service) { s.Address = netip.MustParseAddr("::ffff:192.168.50.100") }, `must be written as IPv4`},
		{"part of a second", func(s *ipvs.Service) { s.Persistence = 1500 * time.Millisecond }, `persistence 1.5s: must be whole seconds`},
		{"negative persistence", func(s *ipvs.Service) { s.Persistence = -time.Second }, `must be whole seconds`},
		{"endless persistence", func(s *ipvs.Service) { s.Persistence = 32 * 24 * time.Hour }, `at most 31 days`},
		{"mask too long", func(s *ipvs.Service) { *s = persistent(*s, 300, 33) }, `persistence mask 33: must be a prefix length of 1 to 32`},
		{"negative mask", func(s *ipvs.Service) { *s = persistent(*s, 300, -1) }, `persistence mask -1`},
		{"mask alone", func(s *ipvs.Service) { s.PersistenceMask = 24 }, `persistence mask 24 without persistence`},
		{"all ports", func(s *ipvs.Service) { s.Port = 0 }, `port 0 (all ports): needs persistence`},
		{"weight", func(s *ipvs.Service) { s.Destinations[0].Weight = 70000 }, `real server 192.168.50.22:80: weight 70000: must be 0 to 65535`},
		{"negative weight", func(s *ipvs.Service) { s.Destinations[0].Weight = -1 }, `weight -1: must be 0 to 65535`},
		{"twice", func(s *ipvs.Service) { s.Destinations = append(s.Destinations, s.Destinations[0]) }, `real server 192.168.50.22:80: is there twice`},
		{"other family", func(s *ipvs.Service) { s.Destinations[0] = nat("[2001:db8::22]:80", 1) }, `must be of the same address family as the service`},
		{"real server IPv4 as IPv6", func(s *ipvs.Service) { s.Destinations[0] = nat("[::ffff:192.168.50.22]:80", 1) }, `the address must be written as IPv4`},
		{"link-local real server", func(s *ipvs.Service) { *s = service(web6, nat("[fe80::22]:80", 1)) }, `real server [fe80::22]:80: the address must not be link-local`},
		{"dr to another port", func(s *ipvs.Service) {
			s.Destinations[0] = nat("192.168.50.22:8080", 1)
			s.Destinations[0].Forward = ipvs.DR
		}, `port 8080: must be the service's port 80 with forward "dr"`},
		{"tun to another port", func(s *ipvs.Service) {
			s.Destinations[0] = nat("192.168.50.22:8080", 1)
			s.Destinations[0].Forward = ipvs.Tunnel
		}, `port 8080: must be the service's port 80 with forward "tun"`},
		{"nat to port 0", func(s *ipvs.Service) { s.Destinations[0] = nat("192.168.50.22:0", 1) }, `port 0: must be 0 where the service's is`},
		{"forward", func(s *ipvs.Service) { s.Destinations[0].Forward = 1 }, `forward 1: must be nat, dr or tun`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := service(web, nat(real1, 1))
			tt.edit(&s)
			err := s.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestValidateReportsAllProblems(t *testing.T) {
	s := service(web, nat(real1, -1), nat(real2, 65536))
	s.Scheduler = ""
	err := s.Validate()
	for _, want := range []string{"scheduler", "weight -1", "weight 65536"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want an error with %q", err, want)
		}
	}
}

func TestWords(t *testing.T) {
	var p ipvs.Protocol
	for word, want := range map[string]ipvs.Protocol{"tcp": ipvs.TCP, "udp": ipvs.UDP} {
		if err := p.UnmarshalText([]byte(word)); err != nil || p != want {
			t.Errorf("protocol %q = %v, %v", word, p, err)
		}
		if b, err := p.MarshalText(); err != nil || string(b) != word {
			t.Errorf("protocol %v is written %q, %v", p, b, err)
		}
	}
	var f ipvs.Forward
	for word, want := range map[string]ipvs.Forward{"nat": ipvs.NAT, "dr": ipvs.DR, "tun": ipvs.Tunnel} {
		if err := f.UnmarshalText([]byte(word)); err != nil || f != want {
			t.Errorf("forward %q = %v, %v", word, f, err)
		}
		if b, err := f.MarshalText(); err != nil || string(b) != word {
			t.Errorf("forward %v is written %q, %v", f, b, err)
		}
	}
	for _, word := range []string{"", "TCP", "sctp"} {
		if err := p.UnmarshalText([]byte(word)); err == nil {
			t.Errorf("protocol %q is taken", word)
		}
	}
	for _, word := range []string{"", "masq", "forward 1"} {
		if err := f.UnmarshalText([]byte(word)); err == nil {
			t.Errorf("forward %q is taken", word)
		}
	}
}
