package vip_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// labelled is hold with attributes for the two IPv4 addresses.
var labelled = vip.Desired{Held: vips, Known: vips, Attributes: map[vip.Address]vip.Attributes{
	vips[0]: {Label: "eth0:web"},
	vips[1]: {Label: "eth0:mail", Scope: vip.ScopeLink},
}}

// entriesOf returns how the addresses of a wish are listed when they are as wanted.
func entriesOf(d vip.Desired) []vip.Entry {
	all := entries(d.Held)
	for i := range all {
		all[i].Attributes = d.Attributes[all[i].Address]
	}
	return all
}

func (g *rig) lists(want ...vip.Entry) {
	g.Helper()
	have, err := g.kernel.Addresses()
	if err != nil {
		g.Fatal(err)
	}
	have = slices.DeleteFunc(have, func(e vip.Entry) bool { return e.Address == dip })
	if diff := cmp.Diff(want, have, comparePrefixes); diff != "" {
		g.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestAddressesAreTakenWithTheirAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		g.lists(entriesOf(labelled)...)
		g.calls("add 10.0.0.100/24 on eth0 label eth0:web", "add 10.0.0.101/32 on eth0 label eth0:mail scope link", "add 2001:db8::100/64 on eth0")
	})
}

// The same addresses as an earlier daemon left them are not touched; others are
// put right where they are, and that is no repair.
func TestLeftoverWithOtherAttributesIsAdjusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		for _, e := range entriesOf(labelled) {
			k.PutEntry(e)
		}
		g := run(t, k, true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		g.calls()

		// A reload with other attributes.
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.lists(entries(vips)...)
		g.calls("change 10.0.0.100/24 on eth0", "change 10.0.0.101/32 on eth0")
		if s := g.r.Status(); s.Repairs != 0 || s.Repaired != nil || !cmp.Equal(vips, s.Held, comparePrefixes) {
			t.Errorf("status %+v", s)
		}
		want := `level=INFO msg="addresses changed" added="" removed="" adjusted="10.0.0.100/24 on eth0, 10.0.0.101/32 on eth0"`
		if got := g.log.lines("addresses changed"); len(got) != 1 || got[0] != want {
			t.Errorf("logged %q\nwant   %q", got, want)
		}
	})
}

func TestChangedAttributesArePutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{Period: never})
		defer g.stop()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		g.kernel.Calls()
		for _, tt := range []struct {
			changed vip.Entry
			differs string
			call    string
		}{
			{
				vip.Entry{Address: vips[0]},
				"had label eth0 instead of eth0:web",
				"change 10.0.0.100/24 on eth0 label eth0:web",
			},
			{
				vip.Entry{Address: vips[1], Attributes: vip.Attributes{Label: "eth0:x", Scope: vip.ScopeSite}},
				"had label eth0:x instead of eth0:mail, had scope site instead of link",
				"change 10.0.0.101/32 on eth0 label eth0:mail scope link",
			},
			{
				vip.Entry{Address: vips[2], Flaw: vip.Preferred},
				"could be a source of the machine's own connections, or expire", "change 2001:db8::100/64 on eth0",
			},
			{
				vip.Entry{Address: vips[2], Flaw: vip.Duplicate},
				"had failed duplicate address detection", "change 2001:db8::100/64 on eth0",
			},
		} {
			before := g.r.Status().Repairs
			g.kernel.Turn(tt.changed)
			synctest.Wait()
			now := time.Now()
			g.calls(tt.call)
			g.lists(entriesOf(labelled)...)
			a := tt.changed.Address
			want := fmt.Sprintf(`level=WARN msg="address put right" address=%s interface=eth0 differed=%q`, a.Prefix, tt.differs)
			if got := g.log.lines("put right"); len(got) == 0 || got[len(got)-1] != want {
				t.Errorf("logged %q\nwant   %q", got, want)
			}
			s := g.r.Status()
			if repair := (vip.Repair{Address: a, Time: now, Differed: tt.differs}); s.Repairs != before+1 || s.Repaired[a] != repair {
				t.Errorf("status %+v, want %+v", s, repair)
			}
			time.Sleep(time.Second)
		}
		// It was never away, and so need not be announced.
		if g.repaired != nil {
			t.Errorf("told as repaired: %v", g.repaired)
		}
	})
}

// A fight over attributes is a fight, too.
func TestFightOverAttributesBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		g.kernel.Calls()
		start := time.Now()
		for time.Since(start) < 5*time.Second {
			g.kernel.Turn(vip.Entry{Address: vips[0]})
			time.Sleep(time.Millisecond)
		}
		if n := len(g.kernel.Calls()); n < 9 || n > 11 {
			t.Errorf("changed %d times in 5 s", n)
		}
		if n := len(g.log.lines("again and again", "10.0.0.100/24")); n != 1 {
			t.Errorf("the fight was said %d times", n)
		}
		s := g.r.Status()
		if len(s.Fought) != 1 || s.Fought[0] != vips[0] || len(s.Missing) != 0 || len(s.Held) != 3 {
			t.Errorf("status %+v", s)
		}
	})
}

// An address that cannot get its attributes is held all the same, and Apply says
// why it is not done.
func TestAttributesThatCannotBeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		k.Put(vips[0])
		k.Fail(func(op viptest.Op, _ vip.Address) error {
			if op == viptest.OpChange {
				return syscall.EINVAL
			}
			return nil
		})
		g := run(t, k, true, vip.Options{})
		defer g.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.r.Apply(ctx, vip.Desired{Held: vips[:1], Attributes: labelled.Attributes})
		const words = "addresses not changed: 10.0.0.100/24 on eth0: changing 10.0.0.100/24 on eth0: invalid argument (context deadline exceeded)"
		var applied *vip.ApplyError
		if !errors.As(err, &applied) || !errors.Is(err, syscall.EINVAL) || err.Error() != words {
			t.Fatalf("Apply: %v\nwant:  %v", err, words)
		}
		if diff := cmp.Diff(vips[:1], applied.Unlike, comparePrefixes); diff != "" {
			t.Errorf("unlike (-want +got):\n%s", diff)
		}
		s := g.r.Status()
		if s.Err == nil || !cmp.Equal(vips[:1], s.Held, comparePrefixes) || len(s.Missing) != 0 {
			t.Errorf("status %+v", s)
		}
		if n := len(g.log.lines("level=ERROR")); n != 1 {
			t.Errorf("said %d times", n)
		}
		k.Fail(nil)
		if err := g.r.Applied(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The kernel takes an address away to change it. If it could not be put back, that
// was nobody else.
func TestAddressLostByAChangeIsNoRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		g.kernel.Fail(func(op viptest.Op, a vip.Address) error {
			if op != viptest.OpChange {
				return nil
			}
			g.kernel.TakeAs(a, "lvsd (pid 1)")
			return errors.New("no memory")
		})
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.lists(vip.Entry{Address: vips[2]}, vip.Entry{Address: vips[0]}, vip.Entry{Address: vips[1]})
		if s := g.r.Status(); s.Repairs != 0 || g.log.lines("level=WARN") != nil || g.repaired != nil {
			t.Errorf("status %+v, told as repaired: %v, logged %q", s, g.repaired, g.log.lines("level=WARN"))
		}
	})
}

func TestAddressThatGoesBeforeItIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		k.Put(vips[0])
		k.Fail(func(op viptest.Op, a vip.Address) error {
			if op == viptest.OpChange {
				k.Take(a)
			}
			return nil
		})
		g := run(t, k, false, vip.Options{Period: never})
		defer g.stop()
		start := time.Now()
		if err := g.r.Apply(t.Context(), labelled); err != nil {
			t.Fatal(err)
		}
		g.lists(entriesOf(labelled)[1], entriesOf(labelled)[2], entriesOf(labelled)[0])
		if spent := time.Since(start); spent > 10*time.Millisecond { // the third look is the first to see all
			t.Errorf("waited %v", spent)
		}
	})
}

func TestWhoRemovedAnAddressIsLoggedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		const differed = "removed by NetworkManager (pid 812)"
		for range 6 {
			time.Sleep(20 * time.Millisecond)
			g.kernel.TakeAs(vips[0], "NetworkManager (pid 812)")
			synctest.Wait()
		}
		last := time.Now()
		if got := g.log.lines("address put back", "10.0.0.100/24", fmt.Sprintf("differed=%q", differed)); len(got) != 5 {
			t.Errorf("logged %q", got)
		}
		if got := g.log.lines("again and again", fmt.Sprintf("differed=%q", differed)); len(got) != 1 {
			t.Errorf("the fight was logged as %q", got)
		}
		g.kernel.Take(vips[1]) // by nobody knows whom
		synctest.Wait()
		time.Sleep(20 * time.Millisecond)
		want := map[vip.Address]vip.Repair{
			vips[0]: {Address: vips[0], Time: last, Differed: differed},
			vips[1]: {Address: vips[1], Time: last.Add(10 * time.Millisecond), Differed: "was missing"},
		}
		if diff := cmp.Diff(want, g.r.Status().Repaired, comparePrefixes); diff != "" {
			t.Errorf("repaired (-want +got):\n%s", diff)
		}

		// What is not lvsd's any more is not told about.
		if err := g.r.Apply(t.Context(), vip.Desired{Held: vips[1:2]}); err != nil {
			t.Fatal(err)
		}
		delete(want, vips[0])
		if diff := cmp.Diff(want, g.r.Status().Repaired, comparePrefixes); diff != "" {
			t.Errorf("repaired (-want +got):\n%s", diff)
		}
	})
}
