package vrrp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lvsd/vrrp"
)

// What happens to an interface under a router. Whoever watches the interface tells the Link to open its socket again.
func TestFaultsOfTheInterface(t *testing.T) {
	t.Parallel()
	atOnce(t, map[string]func(t *testing.T){
		"FLT-07 another address": func(t *testing.T) {
			a, b := cable(t)
			a.ip("address add 10.97.0.1/24 dev eth0")
			sniffer := b.sniff()
			s := a.station(quick(100))
			s.await(t, vrrp.Master)
			a.ip(fmt.Sprintf("address del %s/24 dev eth0", host(1)))
			s.link.Reopen()
			sniffer.await(t, "advertisement from the other address", func(a advert) bool { return a.source == "10.97.0.1" && a.priority == 100 })
			if got := s.Status(); got.State != vrrp.Master || got.Counters.PriorityZeroSent != 0 || got.Source.String() != "10.97.0.1" {
				t.Errorf("status %+v", got)
			}
		},
		"FLT-07 no other address": func(t *testing.T) {
			a, b := cable(t)
			sniffer := b.sniff()
			s := a.station(quick(100))
			s.await(t, vrrp.Master)
			a.ip(fmt.Sprintf("address del %s/24 dev eth0", host(1)))
			s.link.Reopen()
			if tr := s.await(t, vrrp.Fault); !strings.Contains(tr.Reason, vrrp.ErrNoAddress.Error()) {
				t.Errorf("reason %q", tr.Reason)
			}
			sniffer.await(t, "priority 0 from the address that is gone", func(a advert) bool { return a.source == host(1).String() && a.priority == 0 })
			a.ip(fmt.Sprintf("address add %s/24 dev eth0", host(1)))
			s.link.Reopen()
			s.await(t, vrrp.Backup)
			s.await(t, vrrp.Master)
			n := 0
			for _, a := range sniffer.heard() {
				if a.priority == 0 {
					n++
				}
			}
			if n != 1 {
				t.Errorf("it has resigned %d times, want once", n)
			}
		},
		"FLT-09": func(t *testing.T) {
			a, b := cable(t)
			s := a.station(quick(100))
			s.await(t, vrrp.Master)
			a.ip("link del eth0")
			s.link.Reopen()
			if tr := s.await(t, vrrp.Fault); !strings.Contains(tr.Reason, "no such network interface") {
				t.Errorf("reason %q", tr.Reason)
			}
			connect(a, b, "eth0")
			for i, m := range []*machine{a, b} {
				m.ip(fmt.Sprintf("address add %s/24 dev eth0", host(i+1)))
			}
			s.link.Reopen()
			s.await(t, vrrp.Backup)
			s.await(t, vrrp.Master)
			other := b.station(quick(200)) // it is heard again, and we by it
			if tr := s.await(t, vrrp.Backup); tr.Reason != "10.99.0.2 has priority 200" {
				t.Errorf("reason %q", tr.Reason)
			}
			if got := other.Status(); got.Counters.Received == 0 {
				t.Error("the other one has heard nothing")
			}
		},
		// A firewall keeps a Backup from hearing its Master: two Masters, and the better one sees it.
		"FLT-12": func(t *testing.T) {
			a, b := cable(t)
			high, low := a.station(quick(150)), b.station(quick(100))
			high.await(t, vrrp.Master)
			time.Sleep(quick(100).Interval)
			b.run("nft", "add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in meta l4proto 112 drop")
			low.await(t, vrrp.Master)
			time.Sleep(3 * quick(100).Interval)
			if got := high.Status(); got.State != vrrp.Master || got.Rival != host(2) || got.RivalSince.IsZero() || got.Counters.RivalsHeard == 0 {
				t.Errorf("status of the better one %+v", got)
			}
			if got := high.logs.lines("another router is master too"); len(got) != 1 {
				t.Errorf("logged %q", got)
			}
			b.run("nft", "delete table inet f")
			low.await(t, vrrp.Backup)
			time.Sleep(vrrp.MasterDownInterval(100, quick(100).Interval) + late)
			if got := high.Status(); got.State != vrrp.Master || got.Rival.IsValid() || !got.RivalSince.IsZero() {
				t.Errorf("status of the better one afterwards %+v", got)
			}
			if got := high.logs.lines("the other master has gone"); len(got) != 1 {
				t.Errorf("logged %q", got)
			}
		},
	})
}
