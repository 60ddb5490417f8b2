package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/test/lab"
)

// TestNATBehindARouter is the how-to with one network: what it shows is what
// lvsd does.
func TestNATBehindARouter(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)

	want := `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.50.100:80 rr
  -> 192.168.50.22:80             Masq    1      0          0         
  -> 192.168.50.23:80             Masq    1      0          0         
TCP  192.168.50.100:443 rr
  -> 192.168.50.22:443            Masq    1      0          0         
  -> 192.168.50.23:443            Masq    1      0          0         
`
	for _, d := range []*lab.Director{w.LVS01, w.LVS02} {
		if diff := cmp.Diff(want, table(d.Host)); diff != "" {
			t.Errorf("ipvsadm -Ln on %s (-want +got):\n%s", d.Name, diff)
		}
	}

	for _, url := range []string{"https://" + lab.SiteName + "/", "http://" + lab.SiteName + "/"} {
		var bodies []string
		for range 10 {
			r := w.Client.Get(url)
			if r.Err != nil || r.Status != 200 {
				t.Fatalf("GET %s: status %d, %v", url, r.Status, r.Err)
			}
			bodies = append(bodies, r.Body)
		}
		for i, b := range bodies[1:] {
			if b == bodies[i] || (b != lab.Node1Page && b != lab.Node2Page) {
				t.Fatalf("GET %s: the answers do not alternate: %q", url, bodies)
			}
		}
	}

	// 20 requests came to port 443, ten of them by way of port 80. The kernel sums
	// its counters up every two seconds.
	for _, line := range []string{"TCP  192.168.50.100:80                  10", "TCP  192.168.50.100:443                 20"} {
		w.Eventually(patience, "the line "+line+" of ipvsadm -Ln --stats", func() bool {
			return strings.Contains(w.LVS01.Host.Run("ipvsadm", "-Ln", "--stats"), line)
		})
	}
	if rate := w.LVS01.Host.Run("ipvsadm", "-Ln", "--rate"); !strings.Contains(rate, "-> 192.168.50.22:443") {
		t.Errorf("ipvsadm -Ln --rate:\n%s", rate)
	}
	connections := w.LVS01.Host.Run("ipvsadm", "-Lnc")
	if n := strings.Count(connections, "192.168.20.17:"); n != 30 {
		t.Errorf("ipvsadm -Lnc shows %d connections of the client, want 30:\n%s", n, connections)
	}
}

// TestWeightedNAT is the how-to with two networks and weights, and its two
// failures, which plain LVS does not notice.
func TestWeightedNAT(t *testing.T) {
	w := lab.New(t).WeightedNAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	const url = "http://192.168.4.133/"
	const page128, page129 = "I am 192.168.2.128", "I am 192.168.2.129"

	expectShares := func(n int) {
		t.Helper()
		got := map[string]int{}
		for range 3 * n {
			r := w.Client.Get(url)
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			got[r.Body]++
		}
		if diff := cmp.Diff(map[string]int{page128: n, page129: 2 * n}, got); diff != "" {
			t.Fatalf("shares of %d requests (-want +got):\n%s", 3*n, diff)
		}
	}
	expectShares(100)

	// The rest happens under load. Each stretch is looked at from when lvsd
	// must have noticed, to just before the next event.
	const noticed = 2*time.Second + 3*200*time.Millisecond + slack
	const stretch = noticed + 2*time.Second
	load := w.Client.Load(url, 15, lab.LoadOptions{})
	event := func(name string, do func(), good func(lab.Result) bool) {
		t.Helper()
		do()
		at := time.Now()
		time.Sleep(stretch)
		for _, r := range load.Results().Between(at.Add(noticed), time.Now()) {
			if r.Err != nil || !good(r) {
				t.Errorf("%s: %v later: status %d, body %q, error %v", name, r.Sent.Sub(at), r.Status, r.Body, r.Err)
			}
		}
	}
	event("stop 129", func() { stop(t, w.Nginx129) }, func(r lab.Result) bool { return r.Body == page128 })
	event("stop 128", func() { stop(t, w.Nginx128) }, func(r lab.Result) bool { return r.Status == 503 && strings.HasPrefix(r.Body, "<!") })
	before := time.Now()
	event("start both", func() { w.Nginx128.Start(); w.Nginx129.Start() }, func(r lab.Result) bool { return r.Body == page128 || r.Body == page129 })
	results := load.Stop()
	for _, r := range results.Between(before, time.Now()).Lost() {
		t.Errorf("while both came back, %v after: %v", r.Sent.Sub(before), r.Err)
	}
	expectShares(20)
}

func stop(t *testing.T, n *lab.Nginx) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatalf("stopping nginx: %v", err)
	}
}

// TestOneOfTwoCables cuts one of the two cables of the master, which routes
// between two networks: both addresses move, and the service goes on.
func TestOneOfTwoCables(t *testing.T) {
	w := lab.New(t).WeightedNAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	outside, inside := netip.MustParseAddr("192.168.4.133"), netip.MustParseAddr("192.168.2.130")
	expect := func(event string, owner, other *lab.Director) {
		t.Helper()
		w.Eventually(patience, event+": both addresses on "+owner.Name, func() bool {
			return owner.Host.Has(outside) && owner.Host.Has(inside) && !other.Host.Has(outside) && !other.Host.Has(inside)
		})
		if r := w.Client.Get("http://192.168.4.133/"); r.Err != nil || r.Status != 200 {
			t.Errorf("%s: status %d, %v", event, r.Status, r.Err)
		}
	}
	expect("start", w.LVS01, w.LVS02)
	for _, cable := range []string{"eth1", "eth0"} {
		w.LVS01.Host.Cable(cable).Cut()
		expect(cable+" cut", w.LVS02, w.LVS01)
		for _, i := range statusOf(t, w.LVS01).Instances {
			if i.State != "fault" || !strings.HasSuffix(i.Reason, "interface "+cable+" has no carrier") {
				t.Errorf("%s cut: instance %s is in %s because %q", cable, i.Name, i.State, i.Reason)
			}
		}
		w.LVS01.Host.Cable(cable).Restore()
		expect(cable+" restored", w.LVS01, w.LVS02)
	}
}
