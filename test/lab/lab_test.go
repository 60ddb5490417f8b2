package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNATByHand sets up the table of topology A with ipvsadm, as the how-to does, and asks ten times for each way in.
func TestNATByHand(t *testing.T) {
	w := New(t).NAT()
	lvs := w.LVS01.Host
	lvs.AddAddress("eth2", VIP+"/24")
	for _, port := range []string{":80", ":443"} {
		lvs.Run("ipvsadm", "-A", "-t", VIP+port, "-s", "rr")
		lvs.Run("ipvsadm", "-a", "-t", VIP+port, "-r", "192.168.50.22"+port, "-m")
		lvs.Run("ipvsadm", "-a", "-t", VIP+port, "-r", "192.168.50.23"+port, "-m")
	}
	for _, scheme := range []string{"https", "http"} {
		var got []string
		for range 10 {
			r := w.Client.Get(scheme + "://" + SiteName + "/")
			if r.Err != nil || r.Status != 200 {
				t.Fatalf("%s: status %d, %v", scheme, r.Status, r.Err)
			}
			got = append(got, r.Body)
		}
		for i, body := range got {
			other := map[string]string{Node1Page: Node2Page, Node2Page: Node1Page}[got[(i+1)%len(got)]]
			if body != other {
				t.Fatalf("%s: the real servers do not alternate: %q", scheme, got)
			}
		}
	}

	load := w.Client.Load("https://"+SiteName+"/", 20, LoadOptions{})
	time.Sleep(time.Second)
	w.Nginx02.Freeze()
	frozen := time.Now()
	time.Sleep(time.Second)
	w.Nginx02.Thaw()
	all := load.Stop()
	if lost := all.Lost(); len(lost) > 0 {
		t.Errorf("%d of %d requests lost although nginx was only frozen for a second: %v", len(lost), len(all), lost[0])
	}
	if n := all.Bodies(); n[Node1Page]+n[Node2Page] != len(all) || len(all) < 30 {
		t.Errorf("%d answers: %v", len(all), n)
	}
	slow := slices.ContainsFunc(all.Between(frozen, frozen.Add(500*time.Millisecond)), func(r Result) bool {
		return r.Latency > 400*time.Millisecond
	})
	if !slow {
		t.Error("no request was slow while an nginx was frozen")
	}

	w.Nginx02.Kill()
	w.Nginx03.Kill()
	if r := w.Client.Get("https://" + SiteName + "/"); r.Err == nil {
		t.Errorf("an answer of nginx that was killed: %+v", r)
	}
	w.Nginx02.Start()
	w.Nginx03.Start()
	if r := w.Client.Get("https://" + SiteName + "/"); r.Err != nil {
		t.Errorf("no answer of nginx that was started again: %v", r.Err)
	}
}

// TestDirectRoutingByHand checks that the tables of DR and Tunnel serve, and that for DR only the director answers ARP.
func TestDirectRoutingByHand(t *testing.T) {
	for name, build := range map[string]func(*Lab) *Web{"dr": (*Lab).DR, "tunnel": (*Lab).Tunnel} {
		t.Run(name, func(t *testing.T) {
			w := build(New(t))
			lvs := w.LVS01.Host
			lvs.AddAddress("eth0", VIP+"/32")
			method, network := "-g", "192.168.50."
			if name == "tunnel" {
				method, network = "-i", "192.168.60."
			}
			lvs.Run("ipvsadm", "-A", "-t", VIP+":80", "-s", "rr")
			lvs.Run("ipvsadm", "-a", "-t", VIP+":80", "-r", network+"22:80", method)
			lvs.Run("ipvsadm", "-a", "-t", VIP+":80", "-r", network+"23:80", method)
			capture := w.LAN.Capture()
			bodies := map[string]int{}
			for range 4 {
				r := w.Client.Get("http://" + SiteName + "/")
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				bodies[r.Body]++
			}
			if bodies[Node1Page] != 2 || bodies[Node2Page] != 2 {
				t.Errorf("answers: %v", bodies)
			}
			answered := false
			for _, a := range capture.ARP() {
				if a.Operation == 2 && a.SenderAddr == netip.MustParseAddr(VIP) {
					answered = true
					if a.Cable.Host != lvs {
						t.Errorf("%s answers ARP for the VIP", a.Cable.Host.Name)
					}
				}
			}
			if !answered {
				t.Error("nobody answered ARP for the VIP")
			}
			if got, want := w.Router.Neighbor(netip.MustParseAddr(VIP)), lvs.HardwareAddr("eth0"); got.String() != want.String() {
				t.Errorf("the router has the VIP at %s, want %s", got, want)
			}
		})
	}
}

// TestWeightedByHand checks the two networks of topology B.
func TestWeightedByHand(t *testing.T) {
	w := New(t).WeightedNAT()
	lvs := w.LVS02.Host
	lvs.AddAddress("eth0", "192.168.4.133/24")
	lvs.AddAddress("eth1", "192.168.2.130/24")
	lvs.Run("ipvsadm", "-A", "-t", "192.168.4.133:80", "-s", "wrr")
	lvs.Run("ipvsadm", "-a", "-t", "192.168.4.133:80", "-r", "192.168.2.128:80", "-m", "-w", "1")
	lvs.Run("ipvsadm", "-a", "-t", "192.168.4.133:80", "-r", "192.168.2.129:80", "-m", "-w", "2")
	bodies := map[string]int{}
	for range 9 {
		bodies[w.Client.Get("http://192.168.4.133/").Body]++
	}
	if bodies["I am 192.168.2.128"] != 3 || bodies["I am 192.168.2.129"] != 6 {
		t.Errorf("answers: %v", bodies)
	}
}

// two makes two hosts on a segment.
func two(t *testing.T) (a, b *Host, s *Segment) {
	l := New(t)
	s = l.Segment("lan")
	a, b = l.Host("a"), l.Host("b")
	a.Connect(s, "eth0", "10.0.0.1/24", "fd00::1/64")
	b.Connect(s, "eth0", "10.0.0.2/24", "fd00::2/64")
	return a, b, s
}

// TestPingsSeeAnOutage checks each fault of a cable with a steady stream of probes.
func TestPingsSeeAnOutage(t *testing.T) {
	const outage = 400 * time.Millisecond
	faults := map[string]struct {
		address   string
		on        func(*Segment, *Cable, *Cable)
		off       func(*Segment, *Cable, *Cable)
		noCarrier bool
	}{
		"none":     {"10.0.0.2", func(*Segment, *Cable, *Cable) {}, func(*Segment, *Cable, *Cable) {}, false},
		"cut":      {"10.0.0.2", func(_ *Segment, _, b *Cable) { b.Cut() }, func(_ *Segment, _, b *Cable) { b.Restore() }, true},
		"blocked":  {"fd00::2", func(_ *Segment, _, b *Cable) { b.Block() }, func(_ *Segment, _, b *Cable) { b.Unblock() }, false},
		"separate": {"10.0.0.2", func(s *Segment, a, b *Cable) { s.Separate(a, b) }, func(s *Segment, _, _ *Cable) { s.Separate() }, false},
		"loss": {
			"10.0.0.2", func(_ *Segment, a, _ *Cable) { a.Impair(Impairment{Loss: 100}) },
			func(_ *Segment, a, _ *Cable) { a.Impair(Impairment{}) }, false,
		},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			a, b, s := two(t)
			pings := a.Pings(f.address, 500)
			time.Sleep(300 * time.Millisecond)
			f.on(s, a.Cable("eth0"), b.Cable("eth0"))
			began := time.Now()
			time.Sleep(outage / 2)
			if up := b.link("eth0").Attrs().OperState.String() == "up"; up == f.noCarrier {
				t.Errorf("carrier: %v", up)
			}
			time.Sleep(outage / 2)
			lasted := time.Since(began)
			f.off(s, a.Cable("eth0"), b.Cable("eth0"))
			time.Sleep(300 * time.Millisecond)
			r := pings.Stop()
			t.Logf("%d sent, %d lost, latest %s late, outages %v", r.Sent, r.Lost, r.Late, r.Outages)
			longest := Longest(r.Outages).Duration()
			if name == "none" {
				if r.Lost != 0 {
					t.Errorf("%d of %d probes lost on a good cable", r.Lost, r.Sent)
				}
				return
			}
			// The neighbours may have to find each other again, and a guest is slow.
			if longest < lasted-r.Late-20*time.Millisecond || longest > lasted+r.Late+2*time.Second {
				t.Errorf("an outage of %s was seen as %s", lasted, longest)
			}
		})
	}
}

// TestCapture checks that the switch sees gratuitous ARP and VRRP with their senders and in time.
func TestCapture(t *testing.T) {
	a, b, s := two(t)
	capture := s.Capture()
	began := time.Now()
	a.Sysctl("net.ipv4.conf.eth0.arp_notify=1")
	a.Down("eth0")
	a.Up("eth0")
	b.Do(func() {
		c, err := net.ListenPacket("ip4:112", "10.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		advertisement := []byte{0x31, 51, 150, 1, 0, 100, 0, 0, 192, 168, 50, 100}
		if _, err := c.WriteTo(advertisement, &net.IPAddr{IP: net.IPv4(10, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
	})
	var arps []ARP
	var vrrps []VRRP
	a.lab.Eventually(5*time.Second, "ARP and VRRP", func() bool {
		arps, vrrps = capture.Gratuitous(netip.MustParseAddr("10.0.0.1")), capture.VRRP()
		return len(arps) > 0 && len(vrrps) > 0
	})
	for _, g := range arps {
		if g.Cable.Host != a || g.SenderMAC.String() != a.HardwareAddr("eth0").String() || g.Time.Before(began.Add(-time.Millisecond)) || g.Time.After(time.Now()) {
			t.Errorf("gratuitous ARP from %s: %+v", g.Cable.Host.Name, g)
		}
	}
	v := vrrps[0]
	if len(vrrps) != 1 || v.Cable.Host != b || v.From != netip.MustParseAddr("10.0.0.2") || v.Version != 3 || v.VRID != 51 ||
		v.Priority != 150 || v.Interval != time.Second || !slices.Equal(v.Addresses, []netip.Addr{netip.MustParseAddr(VIP)}) {
		t.Errorf("%d advertisements: %+v", len(vrrps), v)
	}
}

// TestServersMisbehave checks that a server that misbehaves does so as it was told.
func TestServersMisbehave(t *testing.T) {
	a, b, _ := two(t)
	certificate := b.lab.Expired(SiteName)
	s := b.Server(":443", certificate, Answer(500, "broken\n"))
	if r := a.Get("https://10.0.0.2/"); r.Status != 500 || r.Body != "broken" {
		t.Errorf("answer: %+v", r)
	}
	s.Behave(Flood(3_000_000))
	if r := a.Get("https://[fd00::2]/"); r.Status != 200 || r.Err != nil {
		t.Errorf("flood: %+v", r)
	}
	for name, behavior := range map[string]Behavior{"hang": Hang, "drip": Drip(20 * time.Millisecond)} {
		s.Behave(behavior)
		load := a.Load("https://10.0.0.2/", 5, LoadOptions{Timeout: 500 * time.Millisecond})
		time.Sleep(500 * time.Millisecond)
		for _, r := range load.Stop() {
			var timeout net.Error
			if !errors.As(r.Err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	s.Close()
	if _, err := a.Dial(context.Background(), "tcp", "10.0.0.2:443"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("dialing a closed server: %v", err)
	}
}

// TestWith checks that a program learns why a lab stopped, and that everything is cleaned up.
func TestWith(t *testing.T) {
	var p *Process
	err := With(t.Logf, func(l *Lab) {
		h := l.Host("h")
		p = h.Process("sleep", "1000")
		p.Start()
		h.Run("ls", "/does/not/exist")
		t.Error("went on after a failure")
	})
	if err == nil || !strings.Contains(err.Error(), "host h: ls /does/not/exist: exit status 2") {
		t.Errorf("error: %v", err)
	}
	if p.Running() {
		t.Error("a process is left")
	}
}
