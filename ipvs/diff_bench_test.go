package ipvs_test

import (
	"fmt"
	"net/netip"
	"testing"

	"lvsd/ipvs"
)

// largeTable has 1,000 services with ten real servers each.
func largeTable() ipvs.Table {
	var table ipvs.Table
	for i := range 1000 {
		k := ipvs.Key{Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80, Protocol: ipvs.TCP}
		s := service(k)
		for j := range 10 {
			s.Destinations = append(s.Destinations, nat(fmt.Sprintf("10.1.%d.%d:80", j, i%250+1), 1))
		}
		table = append(table, s)
	}
	return table
}

func BenchmarkDiff(b *testing.B) {
	table := largeTable()
	changed := table.Sorted()
	changed[500].Destinations[5].Weight = 2
	for _, bb := range []struct {
		name       string
		want, have ipvs.Table
		changes    int
	}{
		{"Equal", table, table, 0},
		{"OneWeight", changed, table, 1},
		{"AllNew", table, nil, 11000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := len(ipvs.Diff(bb.want, bb.have, ours)); n != bb.changes {
					b.Fatalf("%d changes, want %d", n, bb.changes)
				}
			}
		})
	}
}
