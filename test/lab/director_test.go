package lab

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
)

// TestDirector runs one lvsd over the whole of its life.
func TestDirector(t *testing.T) {
	w := New(t).DR()
	d := w.LVS01
	d.Edit("priority = 150", "priority = 151")
	d.Start()
	vip := netip.MustParseAddr(VIP)
	w.Eventually(20*time.Second, "the VIP on "+d.Name, func() bool { return d.Host.Has(vip) })
	w.Eventually(20*time.Second, "an answer of a real server", func() bool {
		r := w.Client.Get("http://" + SiteName + "/")
		return r.Err == nil && r.Status == 200
	})
	var status struct{ PID int }
	if err := json.Unmarshal(d.Status(), &status); err != nil || status.PID != d.PID() {
		t.Errorf("status of process %d, %v, want %d", status.PID, err, d.PID())
	}
	if m := d.Memory(); m < 1<<20 || m > 1<<30 {
		t.Errorf("it occupies %d bytes", m)
	}
	before := len(d.Log())
	if before == 0 || d.Log()[0].Level != "INFO" || d.Log()[0].Time.IsZero() {
		t.Errorf("log: %+v", d.Log())
	}
	d.Configure("nonsense")
	d.Reload()
	w.Eventually(10*time.Second, "a line in the log about a bad configuration", func() bool { return len(d.Log()) > before })

	d.Kill()
	if !d.Host.Has(vip) {
		t.Error("the address went although lvsd was killed")
	}
	d.Configure(w.LVS02.Text())
	d.Start()
	if err := d.Stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if d.Host.Has(vip) {
		t.Error("the address is still there after lvsd was stopped")
	}
}
