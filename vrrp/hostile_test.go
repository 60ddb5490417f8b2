package vrrp_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// hostile is a packet as it was sent to a keepalived of priority 100 at 10.99.0.1, with the verdict of our rules:
// "yield" (a valid advertisement that wins), "answer" (one that loses), or "drop: " and the reason. keepalived 2.2.7 rejects
// the checksum of RFC 9568 and every list of addresses that is not its own; it believes an interval of 0 and the source
// 0.0.0.0.
type hostile struct{ Name, Packet, Verdict string }

// RX-01, RX-02, RX-07, RX-08, RX-11, RX-13, RX-14, RX-16 to RX-23, RX-26, RX-27, RX-30 to RX-32, RX-34, RX-36, RX-44.
func TestHostilePackets(t *testing.T) {
	for _, v := range readVectors[hostile](t, "hostile_v3_ipv4.json", 57) {
		t.Run(v.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := start(t, s, 1, config(100), vrrp.Options{})
				untilMaster(t, r)
				s.Inject(decodePacket(t, v.Packet))
				sleep(200 * ms)

				got := "nothing"
				switch happened := strings.Join(r.read(), ", "); {
				case strings.HasPrefix(happened, "3.609375s send 100, 3.609375s master to backup: "):
					got = "yield"
				case happened == "3.609375s send 100, 3.609375s announce":
					got = "answer"
				case happened != "":
					t.Errorf("happened: %s", happened)
				}
				dropped := r.Status().Counters.Dropped
				for reason, n := range r.link.Status().Dropped {
					dropped[reason] += n
				}
				for reason, n := range dropped {
					if n != 1 || got != "nothing" {
						t.Errorf("counted as dropped: %v, and did %s", dropped, got)
					}
					got = "drop: " + reason.String()
				}
				if got != v.Verdict {
					t.Errorf("%s, want %s", got, v.Verdict)
				}
				lines := 0
				if strings.HasPrefix(v.Verdict, "drop") && v.Verdict != "drop: unknown vrid" && v.Name != "empty_payload" {
					lines = 1
				}
				if got := r.logs.lines("dropping VRRP packets"); len(got) != lines {
					t.Errorf("logged %q, want %d lines", got, lines)
				}
			})
		})
	}
}

// invalid returns the packets that are to be dropped.
func invalid(t *testing.T) []vrrp.Packet {
	var packets []vrrp.Packet
	for _, v := range readVectors[hostile](t, "hostile_v3_ipv4.json", 57) {
		if strings.HasPrefix(v.Verdict, "drop") {
			packets = append(packets, decodePacket(t, v.Packet))
		}
	}
	if len(packets) != 33 {
		t.Fatalf("%d packets to be dropped, want 33", len(packets))
	}
	return packets
}

// RX-39: keepalived restarts its Adver_Timer on every one of them and falls silent.
func TestJunkNeverTouchesTheMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 1, config(100), vrrp.Options{})
		backup := start(t, s, 2, config(50), vrrp.Options{})
		untilMaster(t, r)
		junk := invalid(t)
		for i := range 10_000 { // for ten seconds
			s.Inject(junk[i%len(junk)])
			time.Sleep(ms)
		}
		synctest.Wait()
		var advertisements []string
		for i := range 10 {
			advertisements = append(advertisements, (down+time.Duration(i+1)*time.Second).String()+" send 100")
		}
		want(t, &r.diary, advertisements...)
		want(t, &backup.diary, "0s initialize to backup: started")
		total := uint64(0)
		for _, counts := range []map[vrrp.DropReason]uint64{r.Status().Counters.Dropped, r.link.Status().Dropped} {
			for _, n := range counts {
				total += n
			}
		}
		if total != 10_000 {
			t.Errorf("%d dropped packets counted, want 10000", total)
		}
		if n := len(r.logs.lines("dropping")); n > len(vrrp.DropReasons()) {
			t.Errorf("%d lines logged in ten seconds, want one a reason at most", n)
		}
	})
}

// RX-40: a Backup counts from the last valid advertisement of its Master.
func TestJunkInTheNameOfTheMasterDoesNotKeepItAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 1, config(100), vrrp.Options{})
		p := newPeer(t, s, 9)
		sleep(500 * ms)
		p.send(200, time.Second)
		r.read()
		junk := slices.DeleteFunc(invalid(t), func(p vrrp.Packet) bool { return p.Source != host(9) })
		for i := range 50 {
			time.Sleep(100 * ms)
			s.Inject(junk[i%len(junk)])
		}
		synctest.Wait()
		want(t, &r.diary, "4.109375s take", "4.109375s send 100", "4.109375s backup to master: no advertisement from 10.99.0.9 for 3.609s", "5.109375s send 100")
	})
}

// RX-41, RX-43: a flood of valid advertisements is answered ten times a second, and what is due leaves when it is due.
func TestFloodDoesNotDelayAdvertisements(t *testing.T) {
	for _, priority := range []uint8{0, 50} {
		synctest.Test(t, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			c := config(100)
			c.Interval = 10 * ms
			r := start(t, s, 1, c, vrrp.Options{})
			p := newPeer(t, s, 9)
			sleep(down / 100)
			wantState(t, r, vrrp.Master)
			r.read()
			for range 300 { // 300 ms
				for range 100 {
					p.send(priority, 10*ms)
				}
				time.Sleep(ms)
			}
			synctest.Wait()
			advertisements, announcements := 0, 0
			for _, e := range r.read() {
				switch {
				case strings.HasSuffix(e, "send 100"):
					advertisements++
				case strings.HasSuffix(e, "announce"):
					announcements++
				default:
					t.Error(e)
				}
			}
			// 30 intervals and 3 answers; an answer to priority 0 restarts the interval.
			if announcements != 3 || advertisements < 30 || advertisements > 33 {
				t.Errorf("%d advertisements and %d announcements in 300 ms, want 30 to 33 and 3", advertisements, announcements)
			}
			if dropped := r.Status().Counters.Dropped; len(dropped) != 0 {
				t.Errorf("dropped %v", dropped)
			}
			// Those of the first 10 ms, the last of them included, may be the last words of a Master.
			if c := r.Status().Counters; c.Received != 30_000 || c.RivalsHeard != 28_900 {
				t.Errorf("%d advertisements heard and %d of rivals, want 30000 and 28900", c.Received, c.RivalsHeard)
			}
			if got := r.logs.lines("level=WARN"); len(got) != 1 {
				t.Errorf("logged %q, want one line", got)
			}
		})
	}
}
