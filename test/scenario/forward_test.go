package scenario

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/test/lab"
)

// TestDirectRouting has the VIP on every machine. Only the master answers for it.
func TestDirectRouting(t *testing.T) {
	w := lab.New(t).DR()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	serveByBoth(t, w, "Route")

	capture := w.LAN.Capture()
	for range 5 {
		w.Router.Run("ip", "neigh", "flush", "dev", "eth1")
		if r := w.Client.Get("http://" + lab.SiteName + "/"); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	capture.Stop()
	replies := 0
	for _, a := range capture.ARP() {
		if a.SenderAddr != vip || a.Gratuitous() {
			continue
		}
		replies++
		if want := w.LVS01.Host.HardwareAddr("eth0"); a.SenderMAC.String() != want.String() {
			t.Errorf("%s said that it has the VIP, want only %s of the master", a.SenderMAC, want)
		}
	}
	if replies < 5 {
		t.Errorf("%d ARP replies for the VIP were captured, want 5 or more", replies)
	}
	dieAndReturn(t, w)
}

// TestTunnel has the real servers in another network.
func TestTunnel(t *testing.T) {
	w := lab.New(t).Tunnel()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	serveByBoth(t, w, "Tunnel")
	dieAndReturn(t, w)
}

// serveByBoth makes requests and expects that each real server answers half.
func serveByBoth(t *testing.T, w *lab.Web, forward string) {
	t.Helper()
	got := map[string]int{}
	for range 10 {
		r := w.Client.Get("http://" + lab.SiteName + "/")
		if r.Err != nil {
			t.Fatalf("GET through %s: %v", forward, r.Err)
		}
		got[r.Body]++
	}
	if diff := cmp.Diff(map[string]int{lab.Node1Page: 5, lab.Node2Page: 5}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// dieAndReturn stops both real servers and starts them again: the sorry page
// comes, beside destinations of another forwarding method, and goes.
func dieAndReturn(t *testing.T, w *lab.Web) {
	t.Helper()
	get := func() lab.Result { return w.Client.Get("http://" + lab.SiteName + "/") }
	stop(t, w.Nginx02)
	w.Eventually(patience, "the other server to answer alone", func() bool {
		first, second := get(), get()
		return first.Body == lab.Node2Page && second.Body == lab.Node2Page
	})
	stop(t, w.Nginx03)
	w.Eventually(patience, "the sorry page", func() bool { return get().Status == 503 })
	for range 4 {
		if r := get(); r.Err != nil || r.Status != 503 {
			t.Errorf("with all real servers dead: status %d, %v", r.Status, r.Err)
		}
	}
	w.Nginx02.Start()
	w.Nginx03.Start()
	w.Eventually(patience, "both servers up", func() bool { return allUp(t, w.LVS01) })
	time.Sleep(time.Second)
	serveByBoth(t, w, "the recovered servers")
}
