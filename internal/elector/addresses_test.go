package elector

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp/vrrptest"
)

// Extra addresses move and are announced with the others, each on its interface and
// with its attributes, but are not advertised.
func TestExtraAddressesAreHeldAndNotAdvertised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, vrrptest.NewSegment(1), "192.168.50.31")
		h.AddLink("eth3")
		config := web(150, vip100)
		config.Addresses[0].Label = "eth2:web"
		config.ExtraAddresses = []configs.Address{
			{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Interface: "eth2"},
			{Prefix: netip.MustParsePrefix("192.168.2.130/24"), Interface: "eth3", Scope: vip.ScopeLink},
		}
		h.start(config)
		wait(3500 * time.Millisecond)
		have, err := h.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		own := vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix("192.168.50.31/24")}
		want := []vip.Entry{
			{Address: own},
			{Address: vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix(vip100)}, Attributes: vip.Attributes{Label: "eth2:web"}},
			{Address: vip.Address{Interface: "eth2", Prefix: netip.MustParsePrefix("2001:db8::100/64")}},
			{Address: vip.Address{Interface: "eth3", Prefix: netip.MustParsePrefix("192.168.2.130/24")}, Attributes: vip.Attributes{Scope: vip.ScopeLink}},
		}
		if diff := cmp.Diff(want, have, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
		var announced []string
		for _, f := range h.wire.Frames() {
			announced = append(announced, f.Interface+" "+f.Address.String())
		}
		slices.Sort(announced)
		if diff := cmp.Diff([]string{"eth2 192.168.50.100", "eth2 2001:db8::100", "eth3 192.168.2.130"}, slices.Compact(announced)); diff != "" {
			t.Errorf("announced (-want +got):\n%s", diff)
		}
		if got := vrrpConfig(config).Addresses; !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.168.50.100")}) {
			t.Errorf("advertised: %v", got)
		}
		for _, a := range h.elector.Status()[0].Addresses {
			if !a.Held {
				t.Errorf("%s is not held", a.Address)
			}
		}
		h.stop()
		have, err = h.Addresses()
		if diff := cmp.Diff(want[:1], have, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("after the end: %v (-want +got):\n%s", err, diff)
		}
	})
}
