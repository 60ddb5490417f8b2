package scenario

import (
	"context"
	"testing"
	"time"

	"lvsd/test/lab"
)

// TestThePairHasOneOwner moves the VIP between the directors in every way there
// is. Each time exactly one owns it afterwards, and a neighbour that sends
// nothing has the new owner in its ARP cache.
func TestThePairHasOneOwner(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	if r := w.Client.Get("https://" + lab.SiteName + "/"); r.Err != nil {
		t.Fatal(r.Err) // the request fills the router's cache
	}

	expect := func(event string, owner *lab.Director) {
		t.Helper()
		w.Eventually(patience, event+": the VIP on "+owner.Name+" alone", func() bool {
			return owners(w.LVS01, w.LVS02) == owner.Name
		})
		// The cache must be right by then: nobody asks again.
		want := owner.Host.HardwareAddr("eth2")
		w.Eventually(2*time.Second, event+": the router's ARP cache to point at "+owner.Name, func() bool {
			return w.Router.Neighbor(vip).String() == want.String()
		})
		time.Sleep(time.Second) // and it stays so
		if got := owners(w.LVS01, w.LVS02); got != owner.Name {
			t.Errorf("%s: a second later the VIP is on %q, want %s", event, got, owner.Name)
		}
		if got := w.Router.Neighbor(vip); got.String() != want.String() {
			t.Errorf("%s: a second later the router has %s for the VIP, want %s of %s", event, got, want, owner.Name)
		}
	}
	expect("start", w.LVS01)

	if err := w.LVS01.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	expect("SIGTERM", w.LVS02)
	w.LVS01.Start()
	expect("preemption", w.LVS01)

	w.LVS01.Host.Cable("eth2").Cut()
	expect("cable cut", w.LVS02)
	if i := statusOf(t, w.LVS01).Instances[0]; i.State != "fault" || i.Reason != "interface eth2 has no carrier" {
		t.Errorf("the director without a cable is in %s because %q", i.State, i.Reason)
	}
	w.LVS01.Host.Cable("eth2").Restore()
	expect("cable restored", w.LVS01)

	w.LVS01.Edit("priority = 150", "priority = 50")
	w.LVS01.Reload()
	expect("lower priority", w.LVS02)
	w.LVS01.Edit("priority = 50", "priority = 150")
	w.LVS01.Reload()
	expect("higher priority", w.LVS01)

	// A partition makes two masters, which nobody can prevent. When it heals
	// there is one, and the neighbour that heard both knows which.
	w.LAN.Separate(w.LVS01.Host.Cable("eth2"), w.LVS02.Host.Cable("eth2"))
	w.Eventually(patience, "two masters", func() bool { return owners(w.LVS01, w.LVS02) == "lvs-01 lvs-02" })
	w.Eventually(patience, "the second master's announcement", func() bool {
		return w.Router.Neighbor(vip).String() == w.LVS02.Host.HardwareAddr("eth2").String()
	})
	w.LAN.Separate()
	expect("partition healed", w.LVS01)

	if r := w.Client.Get("https://" + lab.SiteName + "/"); r.Err != nil || r.Status != 200 {
		t.Errorf("at the end: status %d, %v", r.Status, r.Err)
	}
}

// TestALostDirectorCostsOneOutage cuts the power of the master under load, and
// lets it come back: nothing is lost but what the backup needed to notice.
func TestALostDirectorCostsOneOutage(t *testing.T) {
	w := lab.New(t).NAT()
	run(t, w.Lab, w.LVS01, w.LVS02)
	load := w.Client.Load("http://"+lab.SiteName+"/", 20, lab.LoadOptions{Once: true, Connect: 900 * time.Millisecond, Timeout: 20 * time.Second})
	time.Sleep(time.Second)
	w.LVS01.Kill()
	w.LVS01.Host.Cable("eth2").Cut()
	w.Eventually(patience, "lvs-02 master", func() bool { return isMaster(t, w.LVS02) })
	time.Sleep(7 * time.Second)                       // the second round of announcements, too
	w.LVS01.Host.DeleteAddress("eth2", lab.VIP+"/24") // nothing outlives a loss of power
	w.LVS01.Host.Cable("eth2").Restore()
	w.LVS01.Start()
	w.Eventually(patience, "lvs-01 master again", func() bool { return isMaster(t, w.LVS01) })
	time.Sleep(7 * time.Second)
	outages := load.Stop().Outages()
	if len(outages) != 1 {
		t.Fatalf("%d outages, want one: %v", len(outages), outages)
	}
	// Three advertisement intervals, the skew time of priority 100, and the second in which a connection may come.
	if got, limit := outages[0].Duration(), 3610*time.Millisecond+time.Second+slack; got > limit {
		t.Errorf("the service was away for %v, want at most %v", got, limit)
	}
}

// TestReplacingBothBinaries upgrades one director while the other serves, then
// the other, under load.
func TestReplacingBothBinaries(t *testing.T) {
	w := lab.New(t).NAT()
	run(t, w.Lab, w.LVS01, w.LVS02)
	upgrade := func(d *lab.Director) {
		t.Helper()
		if err := d.Stop(); err != nil {
			t.Errorf("stopping %s: %v", d.Name, err)
		}
		d.Use(copyOfLVSD(t))
		d.Start()
	}
	load := w.Client.Load("http://"+lab.SiteName+"/", 100, lab.LoadOptions{Once: true, Timeout: 20 * time.Second})
	time.Sleep(time.Second)
	upgrade(w.LVS02)
	w.Eventually(patience, "lvs-02 ready", func() bool { return allUp(t, w.LVS02) })
	upgrade(w.LVS01)
	w.Eventually(patience, "lvs-01 master again", func() bool { return isMaster(t, w.LVS01) })
	time.Sleep(2 * time.Second)
	results := load.Stop()
	for _, r := range results.Lost() {
		t.Errorf("lost at %s after %v: %v", r.Sent.Format(time.RFC3339Nano), r.Latency, r.Err)
	}
	if n := results.Statuses()[302]; n != len(results) {
		t.Errorf("%d of %d requests were answered as they should: %v", n, len(results), results.Statuses())
	}
}

// TestSwitchoverUnderLoad has an operator switch over and back ten times while
// clients come: none of them notices.
func TestSwitchoverUnderLoad(t *testing.T) {
	w := lab.New(t).NAT()
	run(t, w.Lab, w.LVS01, w.LVS02)
	load := w.Client.Load("http://"+lab.SiteName+"/", 50, lab.LoadOptions{Once: true, Timeout: 20 * time.Second})
	switchover := func(owner *lab.Director) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if out, err := w.LVS01.Lvsd(ctx, "switchover", "--runtime-dir", w.LVS01.RuntimeDir()); err != nil {
			t.Fatalf("lvsd switchover: %v\n%s", err, out)
		}
		w.Eventually(patience, "the VIP on "+owner.Name+" alone", func() bool { return owners(w.LVS01, w.LVS02) == owner.Name })
	}
	for range 10 {
		switchover(w.LVS02)
		time.Sleep(500 * time.Millisecond)
		switchover(w.LVS01)
		time.Sleep(500 * time.Millisecond)
	}
	results := load.Stop()
	for _, r := range results.Lost() {
		t.Errorf("lost at %s after %v: %v", r.Sent.Format(time.RFC3339Nano), r.Latency, r.Err)
	}
	if n := results.Statuses()[302]; n != len(results) {
		t.Errorf("%d of %d requests were answered as they should: %v", n, len(results), results.Statuses())
	}
}
