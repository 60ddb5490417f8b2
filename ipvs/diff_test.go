package ipvs_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

func ours(ipvs.Key) bool { return true }

func TestDiff(t *testing.T) {
	wlc := service(web, nat(real1, 1))
	wlc.Scheduler = "wlc"
	counted := nat(real1, 1)
	counted.ActiveConnections, counted.InactiveConnections = 5, 6
	routed := nat(real1, 1)
	routed.Forward = ipvs.DR
	routed2 := nat(real1, 2)
	routed2.Forward = ipvs.DR

	tests := []struct {
		name       string
		want, have ipvs.Table
		owned      func(ipvs.Key) bool
		changes    []string
	}{
		{
			name: "nothing",
		},
		{
			name:  "equal but for order and counters",
			want:  ipvs.Table{service(dns), service(web, nat(real2, 1), nat(real1, 1))},
			have:  ipvs.Table{service(web, counted, nat(real2, 1)), service(dns)},
			owned: ours,
		},
		{
			name:  "a mask of the whole address is none",
			want:  ipvs.Table{persistent(service(web), 300, 32), persistent(service(web6), 300, 128)},
			have:  ipvs.Table{persistent(service(web), 300, 0), persistent(service(web6), 300, 0)},
			owned: ours,
		},
		{
			name: "a new service has its real servers at once, those in service first",
			want: ipvs.Table{service(web, nat(real1, 0), nat(real2, 2)), persistent(service(dns, nat("192.168.50.22:53", 1)), 300, 24)},
			changes: []string{
				"add TCP 192.168.50.100:80 with scheduler rr",
				"add 192.168.50.23:80 to TCP 192.168.50.100:80 with weight 2, forward nat",
				"add 192.168.50.22:80 to TCP 192.168.50.100:80 with weight 0, forward nat",
				"add UDP 192.168.50.100:53 with scheduler rr, persistence 300 s mask 255.255.255.0",
				"add 192.168.50.22:53 to UDP 192.168.50.100:53 with weight 1, forward nat",
			},
		},
		{
			name:    "a changed weight is one change",
			want:    ipvs.Table{service(web, nat(real1, 2), nat(real2, 1)), service(dns)},
			have:    ipvs.Table{service(web, counted, nat(real2, 1)), service(dns)},
			owned:   ours,
			changes: []string{"set weight of 192.168.50.22:80 in TCP 192.168.50.100:80 from 1 to 2"},
		},
		{
			name:    "a changed scheduler is one change",
			want:    ipvs.Table{wlc},
			have:    ipvs.Table{service(web, nat(real1, 1))},
			changes: []string{"set scheduler of TCP 192.168.50.100:80 from rr to wlc"},
		},
		{
			name:    "changed scheduler and persistence are one change",
			want:    ipvs.Table{persistent(wlc, 300, 24)},
			have:    ipvs.Table{service(web, nat(real1, 1))},
			changes: []string{"set scheduler of TCP 192.168.50.100:80 from rr to wlc and persistence of TCP 192.168.50.100:80 from none to 300 s mask 255.255.255.0"},
		},
		{
			name:    "a changed mask",
			want:    ipvs.Table{persistent(service(web6), 300, 0)},
			have:    ipvs.Table{persistent(service(web6), 300, 64)},
			changes: []string{"set persistence of TCP [2001:db8::100]:80 from 300 s mask 64 to 300 s"},
		},
		{
			name:    "a changed forwarding method is an edit",
			want:    ipvs.Table{service(web, routed)},
			have:    ipvs.Table{service(web, nat(real1, 1))},
			changes: []string{"set forward of 192.168.50.22:80 in TCP 192.168.50.100:80 from nat to dr"},
		},
		{
			name:    "forwarding method and weight are one edit",
			want:    ipvs.Table{service(web, routed2)},
			have:    ipvs.Table{service(web, nat(real1, 1))},
			changes: []string{"set weight of 192.168.50.22:80 in TCP 192.168.50.100:80 from 1 to 2 and forward of 192.168.50.22:80 in TCP 192.168.50.100:80 from nat to dr"},
		},
		{
			name: "all at once, in order",
			want: ipvs.Table{
				service(web6, nat("[2001:db8::22]:80", 1)),
				wlc,
				service(dns, nat("192.168.50.21:53", 0), nat("192.168.50.22:53", 2), nat("192.168.50.23:53", 1)),
			},
			have: ipvs.Table{
				service(ipvs.Key{Address: web.Address, Port: 25, Protocol: ipvs.TCP}),
				service(ipvs.Key{Address: web.Address, Port: 443, Protocol: ipvs.TCP}, nat("192.168.50.22:443", 1)),
				service(web, nat(real2, 1)),
				service(dns, nat("192.168.50.20:53", 1), nat("192.168.50.21:53", 1), nat("192.168.50.22:53", 1)),
			},
			owned: func(k ipvs.Key) bool { return k.Port != 25 },
			changes: []string{
				"add TCP [2001:db8::100]:80 with scheduler rr",
				"add [2001:db8::22]:80 to TCP [2001:db8::100]:80 with weight 1, forward nat",
				"set scheduler of TCP 192.168.50.100:80 from rr to wlc",
				"add 192.168.50.22:80 to TCP 192.168.50.100:80 with weight 1, forward nat",
				"set weight of 192.168.50.22:53 in UDP 192.168.50.100:53 from 1 to 2",
				"add 192.168.50.23:53 to UDP 192.168.50.100:53 with weight 1, forward nat",
				"set weight of 192.168.50.21:53 in UDP 192.168.50.100:53 from 1 to 0",
				"remove 192.168.50.23:80 from TCP 192.168.50.100:80",
				"remove 192.168.50.20:53 from UDP 192.168.50.100:53",
				"remove TCP 192.168.50.100:443",
			},
		},
		{
			name: "what is not owned stays",
			have: ipvs.Table{service(web, nat(real1, 1)), service(dns)},
		},
		{
			name:    "of two with one key the first counts",
			want:    ipvs.Table{service(web, nat(real1, 1), nat(real1, 9)), service(web)},
			have:    ipvs.Table{service(web)},
			changes: []string{"add 192.168.50.22:80 to TCP 192.168.50.100:80 with weight 1, forward nat"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := words(ipvs.Diff(tt.want, tt.have, tt.owned))
			if diff := cmp.Diff(tt.changes, got); diff != "" {
				t.Errorf("Diff (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDiffKeepsServicesServed draws two tables and follows the way from the one to
// the other, on a kernel as strict as the real one.
func TestDiffKeepsServicesServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have := drawTable(t, "have")
		want := drawTable(t, "want")
		foreign := rapid.SliceOf(rapid.SampledFrom(drawKeys)).Draw(t, "foreign")
		owned := func(k ipvs.Key) bool { return !slices.Contains(foreign, k) }

		kernel := ipvstest.New(have...)
		before := serving(have)
		wanted := serving(want)
		changes := ipvs.Diff(want, have, owned)
		phase := 0
		touched := make(map[string]bool)
		for i, c := range changes {
			if err := kernelApply(kernel, c); err != nil {
				t.Fatalf("%s: %v", c, err)
			}

			// Every place is changed once.
			place := fmt.Sprint(c.Key, c.Destination.Address)
			if touched[place] {
				t.Fatalf("%s: %s is changed again", c, place)
			}
			touched[place] = true

			// The groups follow each other.
			p := phaseOf(c, have)
			if p < phase {
				t.Fatalf("%s: comes after a change of group %d", c, phase)
			}
			phase = p

			// What could be served and shall be, is.
			now := serving(kernel.Table())
			for k, n := range wanted {
				if n > 0 && before[k] > 0 && now[k] == 0 {
					t.Fatalf("after %q nothing serves %s", c, k)
				}
			}
			if c.Kind == ipvs.AddService && wanted[c.Key] > 0 {
				next := changes[i+1]
				if next.Kind != ipvs.AddDestination || next.Key != c.Key || next.Destination.Weight == 0 {
					t.Fatalf("%q is followed by %q", c, next)
				}
			}
		}

		// The way ends where it should: what is wanted, and what is not ours.
		end := want
		for _, s := range have {
			if !owned(s.Key) && !slices.ContainsFunc(want, func(w ipvs.Service) bool { return w.Key == s.Key }) {
				end = append(end, s)
			}
		}
		if diff := cmp.Diff(end.String(), kernel.Table().String()); diff != "" {
			t.Fatalf("the table in the end (-want +got):\n%s", diff)
		}
		if more := ipvs.Diff(want, kernel.Table(), owned); len(more) > 0 {
			t.Fatalf("more changes are needed: %q", words(more))
		}
	})
}

// phaseOf returns the number of the group of Diff's contract that a change is of.
func phaseOf(c ipvs.Change, have ipvs.Table) int {
	isNew := !slices.ContainsFunc(have, func(s ipvs.Service) bool { return s.Key == c.Key })
	switch {
	case isNew:
		return 1
	case c.Kind == ipvs.UpdateService:
		return 2
	case c.Kind == ipvs.DeleteDestination:
		return 5
	case c.Kind == ipvs.UpdateDestination && c.Destination.Weight < c.OldDestination.Weight:
		return 4
	case c.Kind == ipvs.DeleteService:
		return 6
	default:
		return 3
	}
}

func kernelApply(k *ipvstest.Kernel, c ipvs.Change) error {
	switch c.Kind {
	case ipvs.AddService:
		return k.AddService(c.Service)
	case ipvs.UpdateService:
		return k.UpdateService(c.Service)
	case ipvs.DeleteService:
		return k.DeleteService(c.Key)
	case ipvs.AddDestination:
		return k.AddDestination(c.Key, c.Destination)
	case ipvs.UpdateDestination:
		return k.UpdateDestination(c.Key, c.Destination)
	case ipvs.DeleteDestination:
		return k.DeleteDestination(c.Key, c.Destination)
	default:
		return fmt.Errorf("change of kind %d", c.Kind)
	}
}

// serving counts the destinations with a weight above 0 of every service.
func serving(t ipvs.Table) map[ipvs.Key]int {
	n := make(map[ipvs.Key]int)
	for _, s := range t {
		for _, d := range s.Destinations {
			if d.Weight > 0 {
				n[s.Key]++
			}
		}
	}
	return n
}

var drawKeys = []ipvs.Key{web, dns, web6}

// drawTable draws few services with few destinations, so that they meet often.
func drawTable(t *rapid.T, label string) ipvs.Table {
	var table ipvs.Table
	for _, k := range drawKeys {
		if !rapid.Bool().Draw(t, label+" has "+k.String()) {
			continue
		}
		s := service(k)
		s.Scheduler = rapid.SampledFrom([]string{"rr", "mh"}).Draw(t, "scheduler")
		if rapid.Bool().Draw(t, "persistent") {
			s = persistent(s, 300, rapid.SampledFrom([]int{0, 24, k.Address.BitLen()}).Draw(t, "mask"))
		}
		for last := range byte(3) {
			if !rapid.Bool().Draw(t, "destination") {
				continue
			}
			a := k.Address.AsSlice()
			a[len(a)-1] = last + 1
			address, _ := netip.AddrFromSlice(a)
			s.Destinations = append(s.Destinations, ipvs.Destination{
				Address: netip.AddrPortFrom(address, k.Port),
				Forward: rapid.SampledFrom([]ipvs.Forward{ipvs.NAT, ipvs.DR, ipvs.Tunnel}).Draw(t, "forward"),
				Weight:  rapid.IntRange(0, 2).Draw(t, "weight"),
			})
		}
		table = append(table, s)
	}
	return table
}
