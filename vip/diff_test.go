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
	with := func(prefix, label string, scope vip.Scope, flaw vip.Flaw) []vip.Entry {
		return []vip.Entry{{Address: eth0(prefix)[0], Attributes: vip.Attributes{Label: label, Scope: scope}, Flaw: flaw}}
	}
	wish := func(prefix, label string, scope vip.Scope) map[vip.Address]vip.Attributes {
		return map[vip.Address]vip.Attributes{eth0(prefix)[0]: {Label: label, Scope: scope}}
	}
	tests := []struct {
		name                        string
		held, known, remember, have []vip.Address
		add, remove                 []vip.Address
		wish                        map[vip.Address]vip.Attributes
		with                        []vip.Entry // in have too
		change                      []vip.Entry
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
		{
			name: "another label is changed",
			held: eth0("10.0.0.1/24"), wish: wish("10.0.0.1/24", "eth0:web", vip.ScopeGlobal),
			with:   with("10.0.0.1/24", "eth0:old", vip.ScopeGlobal, vip.Sound),
			change: with("10.0.0.1/24", "eth0:old", vip.ScopeGlobal, vip.Sound),
		},
		{
			name: "another scope is changed",
			held: eth0("10.0.0.1/24"), wish: wish("10.0.0.1/24", "eth0:web", vip.ScopeLink),
			with:   with("10.0.0.1/24", "eth0:web", vip.ScopeHost, vip.Sound),
			change: with("10.0.0.1/24", "eth0:web", vip.ScopeHost, vip.Sound),
		},
		{
			name: "attributes that nobody wants are changed",
			held: eth0("10.0.0.1/24"),
			with: with("10.0.0.1/24", "eth0:old", vip.ScopeLink, vip.Sound), change: with("10.0.0.1/24", "eth0:old", vip.ScopeLink, vip.Sound),
		},
		{
			name: "the right attributes are adopted",
			held: eth0("10.0.0.1/24"), wish: wish("10.0.0.1/24", "eth0:web", vip.ScopeLink),
			with: with("10.0.0.1/24", "eth0:web", vip.ScopeLink, vip.Sound),
		},
		{
			name: "the name of the interface is no label",
			held: eth0("10.0.0.1/24"), wish: wish("10.0.0.1/24", "eth0", vip.ScopeGlobal), have: eth0("10.0.0.1/24"),
		},
		{
			name: "IPv6 has neither label nor scope",
			held: eth0("2001:db8::1/64"), wish: wish("2001:db8::1/64", "eth0:web", vip.ScopeLink), have: eth0("2001:db8::1/64"),
		},
		{
			name: "a flaw is mended",
			held: eth0("2001:db8::1/64"),
			with: with("2001:db8::1/64", "", vip.ScopeGlobal, vip.Preferred), change: with("2001:db8::1/64", "", vip.ScopeGlobal, vip.Preferred),
		},
		{
			name: "the attributes of a foreign address are its own affair",
			with: with("10.0.0.1/24", "eth0:old", vip.ScopeLink, vip.Sound),
		},
		{
			name: "whatever its attributes, what is too much goes", known: eth0("10.0.0.1/24"),
			with: with("10.0.0.1/24", "eth0:old", vip.ScopeLink, vip.Sound), remove: eth0("10.0.0.1/24"),
		},
		{
			name: "listed twice, changed once", held: eth0("10.0.0.1/24", "10.0.0.1/24"),
			with:   append(with("10.0.0.1/24", "eth0:a", vip.ScopeGlobal, vip.Sound), with("10.0.0.1/24", "eth0:b", vip.ScopeGlobal, vip.Sound)...),
			change: with("10.0.0.1/24", "eth0:a", vip.ScopeGlobal, vip.Sound),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := vip.Desired{Held: tt.held, Known: tt.known, Attributes: tt.wish}
			add, change, remove := vip.Diff(d, tt.remember, append(entries(tt.have), tt.with...))
			if diff := cmp.Diff(tt.add, add, comparePrefixes); diff != "" {
				t.Errorf("add (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.change, change, comparePrefixes); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.remove, remove, comparePrefixes); diff != "" {
				t.Errorf("remove (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever is wished for: afterwards all that is held is there as it should be,
// nothing known and not held is, and everything foreign is as it was.
func TestDiffReachesTheWishAndLeavesTheRest(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) vip.Address {
		return vip.Address{
			Interface: rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(t, "interface"),
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host") % 12}),
				rapid.SampledFrom([]int{24, 32}).Draw(t, "bits")),
		}
	})
	attributes := rapid.Custom(func(t *rapid.T) vip.Attributes {
		return vip.Attributes{
			Label: rapid.SampledFrom([]string{"", "eth0:a", "eth0:b"}).Draw(t, "label"),
			Scope: rapid.SampledFrom([]vip.Scope{vip.ScopeGlobal, vip.ScopeLink}).Draw(t, "scope"),
		}
	})
	entry := rapid.Custom(func(t *rapid.T) vip.Entry {
		return vip.Entry{Address: address.Draw(t, "address"), Attributes: attributes.Draw(t, "attributes")}
	})
	addresses := rapid.SliceOfN(address, 0, 12)
	rapid.Check(t, func(t *rapid.T) {
		d := vip.Desired{
			Held: addresses.Draw(t, "held"), Known: addresses.Draw(t, "known"),
			Attributes: rapid.MapOfN(address, attributes, 0, 12).Draw(t, "wish"),
		}
		remembered := addresses.Draw(t, "remembered")
		have := rapid.SliceOfNDistinct(entry, 0, 12, func(e vip.Entry) vip.Address { return e.Address }).Draw(t, "have")
		add, change, remove := vip.Diff(d, remembered, have)

		after := map[vip.Address]vip.Attributes{}
		for _, e := range have {
			after[e.Address] = e.Attributes
		}
		for _, a := range add {
			if _, there := after[a]; there || !slices.Contains(d.Held, a) {
				t.Fatalf("adds %s", a)
			}
			after[a] = d.Attributes[a]
		}
		for _, e := range change {
			if after[e.Address] != e.Attributes || e.Attributes == d.Attributes[e.Address] || !slices.Contains(d.Held, e.Address) {
				t.Fatalf("changes %s", e.Address)
			}
			after[e.Address] = d.Attributes[e.Address]
		}
		for _, a := range remove {
			ours := slices.Contains(d.Known, a) || slices.Contains(remembered, a)
			if _, there := after[a]; !there || !ours || slices.Contains(d.Held, a) {
				t.Fatalf("removes %s", a)
			}
			delete(after, a)
		}
		for _, a := range d.Held {
			if got, there := after[a]; !there || got != d.Attributes[a] {
				t.Fatalf("%s is not as wanted", a)
			}
		}
		var again []vip.Entry
		for a, attributes := range after {
			again = append(again, vip.Entry{Address: a, Attributes: attributes})
		}
		if add, change, remove := vip.Diff(d, remembered, again); len(add)+len(change)+len(remove) > 0 {
			t.Fatalf("a second diff adds %v, changes %v and removes %v", add, change, remove)
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
			d, have := vip.Desired{Held: all[:n/2], Known: all}, entries(all[n/4:])
			for b.Loop() {
				vip.Diff(d, all, have)
			}
		})
	}
}
