package vip_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// comparePrefixes lets cmp look at addresses.
var comparePrefixes = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func TestDiff(t *testing.T) {
	eth0 := func(prefixes ...string) []vip.Address { return viptest.Addresses("eth0", prefixes...) }
	tests := []struct {
		name                        string
		held, known, remember, have []vip.Address
		add, remove                 []vip.Address
	}{
		{name: "nothing"},
		{
			name: "takeover: added in the order of the wish",
			held: eth0("10.0.0.2/24", "10.0.0.1/24"), known: eth0("10.0.0.1/24", "10.0.0.2/24"),
			have: eth0("10.0.0.31/24"),
			add:  eth0("10.0.0.2/24", "10.0.0.1/24"),
		},
		{
			name: "adopted: what is there is not added again",
			held: eth0("10.0.0.1/24"), have: eth0("10.0.0.31/24", "10.0.0.1/24"),
		},
		{
			name:   "release: known and not held",
			known:  eth0("10.0.0.1/24", "10.0.0.2/24"),
			have:   eth0("10.0.0.31/24", "10.0.0.1/24", "10.0.0.2/24"),
			remove: eth0("10.0.0.1/24", "10.0.0.2/24"),
		},
		{
			name:     "an earlier configuration's address goes",
			held:     eth0("10.0.0.1/24"),
			remember: eth0("10.0.0.1/24", "10.0.0.9/24"),
			have:     eth0("10.0.0.1/24", "10.0.0.9/24"),
			remove:   eth0("10.0.0.9/24"),
		},
		{
			name: "a foreign address stays",
			held: eth0("10.0.0.1/24"), have: eth0("10.0.0.1/24", "10.0.0.9/24"),
		},
		{
			name: "another prefix length is another address",
			held: eth0("10.0.0.1/32"), known: eth0("10.0.0.1/32"),
			remember: eth0("10.0.0.1/24"), have: eth0("10.0.0.1/24"),
			add: eth0("10.0.0.1/32"), remove: eth0("10.0.0.1/24"),
		},
		{
			name: "another interface is another address",
			held: eth0("10.0.0.1/24"), remember: viptest.Addresses("eth1", "10.0.0.1/24"),
			have: viptest.Addresses("eth1", "10.0.0.1/24"),
			add:  eth0("10.0.0.1/24"), remove: viptest.Addresses("eth1", "10.0.0.1/24"),
		},
		{
			name: "mentioned twice, added once",
			held: eth0("10.0.0.1/24", "10.0.0.1/24"), add: eth0("10.0.0.1/24"),
		},
		{
			name:  "listed twice, removed once",
			known: eth0("10.0.0.1/24"), have: eth0("10.0.0.1/24", "10.0.0.1/24"), remove: eth0("10.0.0.1/24"),
		},
		{
			name: "host bits and family count",
			held: eth0("2001:db8::1/64"), have: eth0("2001:db8::2/64", "10.0.0.1/24"), add: eth0("2001:db8::1/64"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			add, remove := vip.Diff(vip.Desired{Held: tt.held, Known: tt.known}, tt.remember, tt.have)
			if diff := cmp.Diff(tt.add, add, comparePrefixes); diff != "" {
				t.Errorf("add (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.remove, remove, comparePrefixes); diff != "" {
				t.Errorf("remove (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever is wished for: afterwards all that is held is there, nothing known
// and not held is, and everything foreign is as it was.
func TestDiffReachesTheWishAndLeavesTheRest(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) vip.Address {
		return vip.Address{
			Interface: rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(t, "interface"),
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host") % 12}),
				rapid.SampledFrom([]int{24, 32}).Draw(t, "bits")),
		}
	})
	addresses := rapid.SliceOfN(address, 0, 12)
	rapid.Check(t, func(t *rapid.T) {
		d := vip.Desired{Held: addresses.Draw(t, "held"), Known: addresses.Draw(t, "known")}
		remembered, have := addresses.Draw(t, "remembered"), addresses.Draw(t, "have")
		add, remove := vip.Diff(d, remembered, have)

		for _, a := range add {
			if slices.Contains(have, a) || !slices.Contains(d.Held, a) {
				t.Fatalf("adds %s", a)
			}
		}
		for _, a := range remove {
			ours := slices.Contains(d.Known, a) || slices.Contains(remembered, a)
			if !ours || slices.Contains(d.Held, a) || !slices.Contains(have, a) {
				t.Fatalf("removes %s", a)
			}
		}
		after := slices.DeleteFunc(join(have, add), func(a vip.Address) bool { return slices.Contains(remove, a) })
		for _, a := range d.Held {
			if !slices.Contains(after, a) {
				t.Fatalf("%s is missing", a)
			}
		}
		if add, remove := vip.Diff(d, remembered, after); len(add)+len(remove) > 0 {
			t.Fatalf("a second diff adds %v and removes %v", add, remove)
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{1000, 10000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var all []vip.Address
			for i := range n {
				all = append(all, vip.Address{Interface: "eth0", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)})
			}
			d := vip.Desired{Held: all[:n/2], Known: all}
			for b.Loop() {
				vip.Diff(d, all, all[n/4:])
			}
		})
	}
}
