package director

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/health"
	"lvsd/ipvs"
)

var (
	vip80  = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 80, Protocol: ipvs.TCP}
	vip443 = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 443, Protocol: ipvs.TCP}
	page   = netip.MustParseAddrPort("192.168.50.100:40001")
)

func server(address string, weight int) configs.RealServer {
	return configs.RealServer{Address: netip.MustParseAddr(address), Weight: weight, Forward: ipvs.NAT, Check: &health.Check{}}
}

// web is the service of the how-tos: two real servers behind two ports, with a
// sorry page.
func web() configs.Service {
	return configs.Service{
		Name:      "web",
		Listen:    []ipvs.Key{vip80, vip443},
		Scheduler: "wrr",
		Forward:   ipvs.NAT,
		Real:      []configs.RealServer{server("192.168.50.22", 1), server("192.168.50.23", 2)},
		Sorry:     &configs.Sorry{Page: []byte("sorry")},
	}
}

// modelOf is a model of one service; verdicts are given by the real server's
// address.
func modelOf(s configs.Service, verdicts map[string]health.State) model {
	m := model{
		config:       &configs.Config{Services: []configs.Service{s}},
		master:       map[string]bool{},
		verdicts:     map[string]health.Verdict{},
		pages:        map[pageID]netip.AddrPort{{s.Name, vip80.Address}: page},
		sorryLeaving: map[string]bool{},
	}
	for address, state := range verdicts {
		m.verdicts[s.Name+" "+address] = health.Verdict{State: state}
	}
	return m
}

const (
	up   = health.Up
	down = health.Down
)

func TestPlan(t *testing.T) {
	external := web()
	external.Sorry = &configs.Sorry{Server: netip.MustParseAddrPort("192.168.50.99:8080"), Forward: ipvs.NAT}
	remove := web()
	remove.OnDown = configs.Remove
	without := web()
	without.Sorry = nil
	unchecked := web()
	unchecked.Real[0].Check = nil
	drained := web()
	drained.Real[0].Weight, drained.Real[1].Weight = 0, 0
	ownPort := web()
	ownPort.Real[0].Port = 8080
	masterOnly := web()
	masterOnly.OnlyWhileMaster, masterOnly.Instance = true, "outer"

	tests := []struct {
		name  string
		model model
		edit  func(*model)
		want  string // destinations of the service on port 80, then 443 if they differ
	}{
		{
			name:  "all up",
			model: modelOf(web(), map[string]health.State{"192.168.50.22": up, "192.168.50.23": up}),
			want:  "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 2 | 192.168.50.22:443 nat 1, 192.168.50.23:443 nat 2",
		},
		{
			name:  "a down server keeps its entry with weight 0",
			model: modelOf(web(), map[string]health.State{"192.168.50.22": up, "192.168.50.23": down}),
			want:  "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 1, 192.168.50.23:443 nat 0",
		},
		{
			name:  "a down server is removed where the configuration says so",
			model: modelOf(remove, map[string]health.State{"192.168.50.22": up, "192.168.50.23": down}),
			want:  "192.168.50.22:80 nat 1 | 192.168.50.22:443 nat 1",
		},
		{
			name:  "the page comes in with the last real server down",
			model: modelOf(web(), map[string]health.State{"192.168.50.22": down, "192.168.50.23": down}),
			want: "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0, 192.168.50.100:40001 nat 1 | " +
				"192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0, 192.168.50.100:40001 nat 1",
		},
		{
			name:  "an external sorry server comes in with the last real server down",
			model: modelOf(external, map[string]health.State{"192.168.50.22": down, "192.168.50.23": down}),
			want: "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0, 192.168.50.99:8080 nat 1 | " +
				"192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0, 192.168.50.99:8080 nat 1",
		},
		{
			name:  "no sorry server, nobody answers",
			model: modelOf(without, map[string]health.State{"192.168.50.22": down, "192.168.50.23": down}),
			want:  "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0",
		},
		{
			name:  "a relieved sorry server stays with weight 0 for a while",
			model: modelOf(web(), map[string]health.State{"192.168.50.22": up, "192.168.50.23": down}),
			edit:  func(m *model) { m.sorryLeaving["web"] = true },
			want: "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0, 192.168.50.100:40001 nat 0 | " +
				"192.168.50.22:443 nat 1, 192.168.50.23:443 nat 0, 192.168.50.100:40001 nat 0",
		},
		{
			name:  "a page that could not be served is no destination",
			model: modelOf(web(), map[string]health.State{"192.168.50.22": down, "192.168.50.23": down}),
			edit:  func(m *model) { m.pages = nil },
			want:  "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0",
		},
		{
			name:  "no traffic before the first passed check",
			model: modelOf(without, nil),
			want:  "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0",
		},
		{
			name:  "what the kernel had in service stays in service until the first check",
			model: modelOf(without, nil),
			edit: func(m *model) {
				m.adopted = map[ipvs.Key]map[netip.AddrPort]int{vip80: {
					netip.MustParseAddrPort("192.168.50.22:80"): 3,
					netip.MustParseAddrPort("192.168.50.23:80"): 0,
				}}
			},
			want: "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0",
		},
		{
			name:  "a failed check ends what the kernel had",
			model: modelOf(without, map[string]health.State{"192.168.50.22": down}),
			edit: func(m *model) {
				m.adopted = map[ipvs.Key]map[netip.AddrPort]int{vip80: {netip.MustParseAddrPort("192.168.50.22:80"): 3}}
			},
			want: "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0",
		},
		{
			name:  "a server without a check is always up",
			model: modelOf(unchecked, map[string]health.State{"192.168.50.23": down}),
			want:  "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0 | 192.168.50.22:443 nat 1, 192.168.50.23:443 nat 0",
		},
		{
			name:  "servers that the operator gave weight 0 serve nobody",
			model: modelOf(drained, map[string]health.State{"192.168.50.22": up, "192.168.50.23": up}),
			want: "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0, 192.168.50.100:40001 nat 1 | " +
				"192.168.50.22:443 nat 0, 192.168.50.23:443 nat 0, 192.168.50.100:40001 nat 1",
		},
		{
			name:  "a real server with a port of its own",
			model: modelOf(ownPort, map[string]health.State{"192.168.50.22:8080": up, "192.168.50.23": up}),
			want:  "192.168.50.22:8080 nat 1, 192.168.50.23:80 nat 2 | 192.168.50.22:8080 nat 1, 192.168.50.23:443 nat 2",
		},
		{
			name:  "only while master, on a backup",
			model: modelOf(masterOnly, map[string]health.State{"192.168.50.22": up, "192.168.50.23": up}),
			want:  "",
		},
		{
			name:  "only while master, on the master",
			model: modelOf(masterOnly, map[string]health.State{"192.168.50.22": up, "192.168.50.23": up}),
			edit:  func(m *model) { m.master["outer"] = true },
			want:  "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 2 | 192.168.50.22:443 nat 1, 192.168.50.23:443 nat 2",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.edit != nil {
				tt.edit(&tt.model)
			}
			table := plan(tt.model)
			for _, s := range table {
				if err := s.Validate(); err != nil {
					t.Errorf("the kernel would refuse %s: %v", s.Key, err)
				}
			}
			if diff := cmp.Diff(tt.want, sketch(table)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// sketch writes the destinations of a table on one line, services apart by "|".
func sketch(table ipvs.Table) string {
	var services []string
	for _, s := range table {
		var destinations []string
		for _, d := range s.Destinations {
			destinations = append(destinations, fmt.Sprintf("%s %s %d", d.Address, d.Forward, d.Weight))
		}
		services = append(services, strings.Join(destinations, ", "))
	}
	return strings.Join(services, " | ")
}

func TestPlanKeepsTheSettingsOfTheService(t *testing.T) {
	s := web()
	s.Persistence, s.PersistenceMask = 300e9, 24
	got := plan(modelOf(s, nil))
	for i, key := range s.Listen {
		want := ipvs.Service{Key: key, Scheduler: "wrr", Persistence: s.Persistence, PersistenceMask: 24, Destinations: got[i].Destinations}
		if diff := cmp.Diff(want, got[i], cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}
