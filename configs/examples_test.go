package configs

import (
	"net/netip"
	"path/filepath"
	"testing"

	"lvsd/health"
	"lvsd/ipvs"
)

// examples returns the files beside this one.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5 {
		t.Fatalf("%d examples, want at least 5", len(files))
	}
	return files
}

func TestExamplesLoadOnBothDirectors(t *testing.T) {
	for _, file := range examples(t) {
		for _, director := range []string{"lvs-01", "lvs-02"} {
			config, err := Load(file, director)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, s := range config.Services {
				if s.Instance == "" {
					t.Errorf("%s: service %q is on no instance", file, s.Name)
				}
			}
		}
		if err := Check(file); err != nil {
			t.Error(err)
		}
	}
}

// What the lab builds around nat.toml.
func TestExampleNAT(t *testing.T) {
	config, err := Load("nat.toml", "lvs-02")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, Director{Name: "lvs-02", Address: netip.MustParseAddr("192.168.50.32"), Priority: 100}, config.Director)
	s := config.Services[0]
	vip := netip.MustParseAddr("192.168.50.100")
	compare(t, []ipvs.Key{{Address: vip, Port: 80, Protocol: ipvs.TCP}, {Address: vip, Port: 443, Protocol: ipvs.TCP}}, s.Listen)
	compare(t, health.HTTP{
		Address: netip.MustParseAddrPort("192.168.50.23:443"),
		TLS:     &health.Handshake{SkipVerify: true},
		Method:  "GET",
		Host:    "www.xuzhichao.com",
		Path:    "/",
		Status:  health.StatusRanges{{First: 200, Last: 399}},
	}, s.Real[1].Check.Checker)
	if s.Scheduler != "rr" || s.Forward != ipvs.NAT || s.Real[0].Weight != 1 || s.Real[1].Weight != 1 {
		t.Errorf("scheduler %s, forward %s, weights %d and %d", s.Scheduler, s.Forward, s.Real[0].Weight, s.Real[1].Weight)
	}
	if s.Sorry == nil || len(s.Sorry.Page) == 0 || s.Sorry.Certificate != nil {
		t.Errorf("sorry %+v", s.Sorry)
	}
}

// In each of the other examples one thing is different.
func TestExamplesDiffer(t *testing.T) {
	for file, want := range map[string]struct {
		scheduler string
		forward   ipvs.Forward
		weights   [2]int
		instances int
	}{
		"nat.toml":          {"rr", ipvs.NAT, [2]int{1, 1}, 1},
		"nat-weighted.toml": {"wrr", ipvs.NAT, [2]int{1, 2}, 2},
		"dr.toml":           {"rr", ipvs.DR, [2]int{1, 1}, 1},
		"tun.toml":          {"rr", ipvs.Tunnel, [2]int{1, 1}, 1},
	} {
		config, err := Load(file, "lvs-01")
		if err != nil {
			t.Error(err)
			continue
		}
		s := config.Services[0]
		if s.Scheduler != want.scheduler || s.Real[0].Forward != want.forward || s.Real[1].Forward != want.forward ||
			s.Real[0].Weight != want.weights[0] || s.Real[1].Weight != want.weights[1] || len(config.Instances) != want.instances {
			t.Errorf("%s: %+v", file, config)
		}
	}
}
