package vrrp_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// A planned change of Master: at every moment somebody holds the addresses.
func TestHandoverLeavesNoGap(t *testing.T) {
	for _, interval := range []time.Duration{10 * ms, 100 * ms, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			s.SetDelay(50 * us)
			high, low := config(150), config(100)
			high.Interval, low.Interval = interval, interval
			a, b := start(t, s, 1, high, vrrp.Options{}), start(t, s, 2, low, vrrp.Options{})
			sleep(5 * interval)
			wantState(t, a, vrrp.Master)
			wantState(t, b, vrrp.Backup)
			a.read()
			b.read()

			done := make(chan struct{})
			go func() { a.stop(); close(done) }()
			begin := time.Now()
			for {
				synctest.Wait()
				if !a.holder.holds() && !b.holder.holds() {
					t.Fatalf("nobody holds the addresses %v after the stop", time.Since(begin))
				}
				select {
				case <-done:
				default:
					time.Sleep(interval / 1000)
					continue
				}
				break
			}
			// The successor waits for its skew time from hearing us; we let go a linger after hearing it.
			linger := min(interval, 100*ms)
			if got, want := time.Since(begin), vrrp.SkewTime(100, interval)+100*us+linger; got < want || got > want+interval/1000 {
				t.Errorf("interval %s: the hand-over took %s, want %s", interval, got, want)
			}
			sleep(0)
			wantState(t, a, vrrp.Initialize)
			wantState(t, b, vrrp.Master)
			if a.holder.holds() {
				t.Error("the old master still holds the addresses")
			}
			// The old one is back with its higher priority: no gap there either.
			a2 := start(t, s, 1, high, vrrp.Options{})
			for end := time.Now().Add(6 * interval); time.Now().Before(end); time.Sleep(interval / 1000) {
				synctest.Wait()
				if !a2.holder.holds() && !b.holder.holds() {
					t.Fatal("nobody holds the addresses during the preemption")
				}
			}
			wantState(t, a2, vrrp.Master)
			wantState(t, b, vrrp.Backup)
			if b.holder.holds() {
				t.Error("the preempted master still holds the addresses")
			}
			s.SetDelay(0)
		})
	}
}

// The first priority 0 is lost: the second one, an interval later, does it.
func TestHandoverSurvivesALostResignation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		a, b := start(t, s, 1, config(150), vrrp.Options{}), start(t, s, 2, config(100), vrrp.Options{})
		sleep(5 * time.Second)
		a.read()
		b.read()
		s.Partition(a.source)
		go a.stop()
		sleep(time.Second / 2)
		s.Partition()
		sleep(4 * time.Second)
		want(t, &a.diary,
			"5s send 0", "5s master to initialize: shutdown",
			"6s send 0", "6.709375s release")
		want(t, &b.diary,
			"6.609375s take", "6.609375s send 100", "6.609375s backup to master: 10.99.0.1 resigned",
			"7.609375s send 100", "8.609375s send 100")
	})
}

// Nobody is there: the addresses go after two intervals.
func TestLastRouterLetsGoAfterTwoIntervals(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, _ *peer) {
		untilMaster(t, r)
		r.stop()
		want(t, &r.diary,
			"3.609375s send 0", "3.609375s master to initialize: shutdown",
			"4.609375s send 0", "5.609375s release")
		c := r.Status().Counters
		if c.Sent != 3 || c.PriorityZeroSent != 2 || c.MasterTransitions != 1 {
			t.Errorf("counters %+v", c)
		}
	})
}

// A successor that resigns itself is none.
func TestResignationOfAnotherIsNoSuccessor(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		go r.stop()
		sleep(100 * ms)
		p.send(0, time.Second)
		sleep(5 * time.Second)
		want(t, &r.diary,
			"3.609375s send 0", "3.609375s master to initialize: shutdown",
			"4.609375s send 0", "5.609375s release")
	})
}

// Becoming Master again before the linger is over keeps the addresses where they are.
func TestMasterAgainWithinTheLingerReleasesNothing(t *testing.T) {
	c := config(255)
	c.Interval = 40 * ms // skew time 156.25 us, linger 40 ms
	paper(t, c, func(t *testing.T, r *router, p *peer) {
		sleep(time.Second - 10*ms)
		r.read()
		p.send(255, 40*ms)
		sleep(ms)
		p.send(0, 40*ms)
		sleep(60 * ms)
		want(t, &r.diary,
			"990ms send 255", "990ms master to backup: 10.99.0.9 has the same priority 255 and the higher address",
			"991.15625ms take", "991.15625ms send 255", "991.15625ms backup to master: 10.99.0.9 resigned",
			"1.03115625s send 255")
	})
}

// A stop within the linger waits for its end.
func TestStopWithinTheLinger(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		p.send(200, time.Second)
		sleep(40 * ms)
		r.stop()
		want(t, &r.diary,
			"3.609375s send 100", "3.609375s master to backup: 10.99.0.9 has priority 200",
			"3.649375s backup to initialize: shutdown", "3.709375s release")
	})
}

// A killed daemon has left the addresses and nobody has taken over: back within an interval and a skew time.
func TestAdoptionKeepsTheAddressesAndIsMasterSoon(t *testing.T) {
	bubble(t, "FSM-03", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 5, config(100), vrrp.Options{Holding: true})
		sleep(2 * time.Second)
		want(t, &r.diary,
			"0s initialize to backup: started with the addresses on the interface",
			"1.609375s take", "1.609375s send 100", "1.609375s backup to master: no master heard")
	})
}

// Somebody has taken over, of whatever priority: the addresses go, and the start is an ordinary one.
func TestAdoptionGivesWayToALivingMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a better one
		s := vrrptest.NewSegment(1)
		r := start(t, s, 5, config(100), vrrp.Options{Holding: true})
		p := newPeer(t, s, 9)
		sleep(500 * ms)
		p.repeat(10, 200, time.Second)
		want(t, &r.diary, "0s initialize to backup: started with the addresses on the interface", "600ms release")
	})
	synctest.Test(t, func(t *testing.T) { // one that will be preempted
		s := vrrptest.NewSegment(1)
		r := start(t, s, 5, config(100), vrrp.Options{Holding: true})
		p := newPeer(t, s, 9)
		sleep(500 * ms)
		p.repeat(4, 50, time.Second)
		want(t, &r.diary,
			"0s initialize to backup: started with the addresses on the interface", "600ms release",
			"3.609375s take", "3.609375s send 100", "3.609375s backup to master: 10.99.0.9 has the lower priority 50")
	})
}

// A router that is stopped before its link has ever opened a socket lets go what it found.
func TestStopBeforeTheLinkIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := vrrp.NewLink("eth0", nil, (&logBuffer{}).logger())
		h := &holder{diary: &diary{}, held: true}
		i := vrrp.NewInstance(link, config(100), h, vrrp.Options{Holding: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := i.Run(ctx); err != nil {
			t.Error(err)
		}
		want(t, h.diary, "1s release")
	})
}

// Two Masters while the segment was cut in two: the better one announces its addresses again, whoever hears the other
// one first, because the neighbours of the worse one have learned its hardware address. The worse one lets go.
func TestSurvivorOfAPartitionAnnouncesAgain(t *testing.T) {
	for _, tt := range []struct {
		name        string
		later       time.Duration // how much later the worse one starts, which gives its advertisements their phase
		rivals      uint64        // heard by the best one: a regular advertisement, a last one, or both
		best, worst []string
	}{
		{
			name: "and hears the other one first", later: 500 * ms, rivals: 2,
			best:  []string{"10.111375s send 150", "10.111375s announce", "10.4140625s send 150"},
			worst: []string{"10.109375s send 100", "10.113375s send 100", "10.113375s master to backup: 10.99.0.1 has priority 150", "10.213375s release"},
		},
		{
			name: "and the other one hears it first", rivals: 1,
			best:  []string{"10.4140625s send 150", "10.4180625s send 150", "10.4180625s announce"},
			worst: []string{"10.4160625s send 100", "10.4160625s master to backup: 10.99.0.1 has priority 150", "10.5160625s release"},
		},
		{
			name: "and both hear each other at once", later: 804687500, rivals: 2,
			best:  []string{"10.4140625s send 150", "10.4160625s send 150", "10.4160625s announce"},
			worst: []string{"10.4140625s send 100", "10.4160625s send 100", "10.4160625s master to backup: 10.99.0.1 has priority 150", "10.5160625s release"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				s.SetDelay(2 * ms)
				s.Partition(host(2))
				best := start(t, s, 1, config(150), vrrp.Options{})
				sleep(tt.later)
				worst := start(t, s, 2, config(100), vrrp.Options{})
				sleep(10*time.Second - tt.later)
				wantState(t, best, vrrp.Master)
				wantState(t, worst, vrrp.Master)
				best.read()
				worst.read()
				s.Partition()
				sleep(time.Second)
				want(t, &best.diary, tt.best...)
				want(t, &worst.diary, tt.worst...)
				if got := best.logs.lines("another router is master too"); len(got) != 1 || best.Status().Counters.RivalsHeard != tt.rivals {
					t.Errorf("%d rivals counted, want %d, and logged %q, want one line", best.Status().Counters.RivalsHeard, tt.rivals, got)
				}
				if n := worst.Status().Counters.RivalsHeard; n != 0 {
					t.Errorf("the one that yields has counted %d rivals", n)
				}
				s.SetDelay(0)
			})
		})
	}
}

// An ordinary preemption: the new Master hears the last word of the old one, answers it and announces again, but
// that was no rival.
func TestOrdinaryPreemptionIsNoRivalry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		s.SetDelay(2 * ms)
		old := start(t, s, 1, config(100), vrrp.Options{})
		sleep(10 * time.Second)
		old.read()
		r := start(t, s, 2, config(150), vrrp.Options{})
		sleep(5 * time.Second)
		want(t, &r.diary,
			"10s initialize to backup: started",
			"13.4140625s take", "13.4140625s send 150", "13.4140625s backup to master: 10.99.0.1 has the lower priority 100",
			"13.4180625s send 150", "13.4180625s announce", "14.4140625s send 150")
		want(t, &old.diary,
			"10.609375s send 100", "11.609375s send 100", "12.609375s send 100",
			"13.4160625s send 100", "13.4160625s master to backup: 10.99.0.2 has priority 150", "13.5160625s release")
		for _, r := range []*router{old, r} {
			if n := r.Status().Counters.RivalsHeard; n != 0 {
				t.Errorf("%s heard %d rivals", r.source, n)
			}
			if got := r.logs.lines("level=WARN"); len(got) != 0 {
				t.Errorf("%s logged %q", r.source, got)
			}
		}
		s.SetDelay(0)
	})
}

// A rival is who is heard later than an interval after becoming Master. It is said once until none was heard for a
// minute; the answer and the announcement come in any case.
func TestRivalIsCountedAndSaidOnce(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		hear := func(priority uint8, rivals uint64, lines int) {
			t.Helper()
			p.send(priority, time.Second)
			sleep(0)
			if n := r.Status().Counters.RivalsHeard; n != rivals {
				t.Errorf("%d rivals counted, want %d", n, rivals)
			}
			if got := r.logs.lines("level=WARN"); len(got) != lines {
				t.Errorf("logged %q, want %d lines", got, lines)
			}
		}
		hear(50, 0, 0)
		want(t, &r.diary, "3.609375s send 100", "3.609375s announce")
		sleep(time.Second)
		r.read()
		hear(50, 0, 0)
		want(t, &r.diary, "4.609375s send 100", "4.609375s announce")
		sleep(1)
		hear(50, 1, 1) // within the pause after an answer
		want(t, &r.diary)
		sleep(100*ms - 1)
		hear(50, 2, 1)
		want(t, &r.diary, "4.709375s send 100", "4.709375s announce")
		sleep(time.Minute - 1)
		hear(50, 3, 2) // it had gone
		sleep(time.Minute)
		hear(0, 4, 3)
		got := r.logs.lines("level=WARN")
		for i, priority := range []string{"50", "50", "0"} {
			if want := `level=WARN msg="another router is master too" instance=web vrid=51 interface=eth0 source=10.99.0.9 priority=` + priority; got[i] != want {
				t.Errorf("logged %q, want %q", got[i], want)
			}
		}
	})
}

// Equal priorities: the higher address stays.
func TestEqualRivalsAfterAPartition(t *testing.T) {
	bubble(t, "FSM-18", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		a, b := start(t, s, 1, config(100), vrrp.Options{}), start(t, s, 2, config(100), vrrp.Options{})
		s.Partition(b.source)
		sleep(10 * time.Second)
		wantState(t, a, vrrp.Master)
		wantState(t, b, vrrp.Master)
		s.Partition()
		sleep(2 * time.Second)
		wantState(t, a, vrrp.Backup)
		wantState(t, b, vrrp.Master)
	})
}

// Two routers say that they own the addresses: the lower address yields, and is back with its own priority when the
// other one has gone.
func TestTwoOwners(t *testing.T) {
	for _, tt := range []struct {
		name   string
		leave  func(b *router)
		moment string
		reason string
	}{
		{"FSM-23, FSM-24 the other one stops", func(b *router) { b.stop() }, "5.00390625s", "10.99.0.2 resigned"},
		{"FSM-24 the other one dies", func(b *router) { b.kill() }, "7.50390625s", "no advertisement from 10.99.0.2 for 3.004s"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			a := start(t, s, 1, config(255), vrrp.Options{})
			sleep(500 * ms)
			b := start(t, s, 2, config(255), vrrp.Options{})
			sleep(2500 * ms)
			wantState(t, a, vrrp.Backup)
			wantState(t, b, vrrp.Master)
			if got := a.logs.lines("level=INFO"); len(got) != 2 || !strings.Contains(got[1], `from=master to=backup reason="10.99.0.2 has the same priority 255 and the higher address"`) {
				t.Errorf("the lower one logged %q", got)
			}
			// The last word of the lower one came at once; there is no rival as long as one has just become Master.
			want(t, &b.diary,
				"500ms take", "500ms send 255", "500ms initialize to master: started as the owner of the addresses",
				"500ms send 255", "500ms announce", "1.5s send 255", "2.5s send 255")
			sleep(1500*ms + 500*ms)
			a.read()
			tt.leave(b)
			sleep(5*time.Second + 100*ms)
			if got := a.read(); len(got) < 3 || !slices.Equal(got[:3], []string{
				tt.moment + " take", tt.moment + " send 255", tt.moment + " backup to master: " + tt.reason,
			}) {
				t.Errorf("happened: %q", got)
			}
		})
	}
	// Two that meet as Masters, as after a partition: the higher one answers and says who else is there.
	bubble(t, "FSM-23 after a partition", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		s.Partition(host(2))
		a, b := start(t, s, 1, config(255), vrrp.Options{}), start(t, s, 2, config(255), vrrp.Options{})
		sleep(10*time.Second + 500*ms)
		s.Partition()
		a.read()
		sleep(2 * time.Second)
		wantState(t, a, vrrp.Backup)
		wantState(t, b, vrrp.Master)
		if got := b.logs.lines("another router is master too"); len(got) != 1 || !strings.Contains(got[0], "source=10.99.0.1 priority=255") {
			t.Errorf("logged %q", got)
		}
	})
}

// The priority of a Master falls, because something that it depends on has failed. The others do not hear of it before
// the next advertisement, and wait for their timer then; a Master that steps down is replaced within a skew time.
func TestPriorityOfAMasterFalls(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(a *router)
		want []string
	}{
		{"TRK-05 by itself", func(*router) {}, []string{
			"8.0234375s take", "8.0234375s send 100", "8.0234375s backup to master: 10.99.0.1 has the lower priority 90",
			"8.0234375s send 100", "8.0234375s announce", // after the last word of the other one
			"9.0234375s send 100",
		}},
		{"TRK-05 stepping down", func(a *router) { a.StepDown("the uplink is down") }, []string{
			"5.609375s take", "5.609375s send 100", "5.609375s backup to master: 10.99.0.1 resigned", "6.609375s send 100", "7.609375s send 100", "8.609375s send 100",
			"9.609375s send 100",
		}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			a, b := start(t, s, 1, config(150), vrrp.Options{}), start(t, s, 2, config(100), vrrp.Options{})
			sleep(5 * time.Second) // the last advertisement was sent at 4.4140625 s
			b.read()
			if err := a.Configure(config(90)); err != nil {
				t.Error(err)
			}
			tt.tell(a)
			sleep(5*time.Second - 1)
			want(t, &b.diary, tt.want...)
			wantState(t, a, vrrp.Backup)
		})
	}
}

// Three routers, killed one after the other and started again.
func TestThreeRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		a, b, c := start(t, s, 1, config(200), vrrp.Options{}), start(t, s, 2, config(150), vrrp.Options{}), start(t, s, 3, config(100), vrrp.Options{})
		sleep(5 * time.Second)
		wantState(t, a, vrrp.Master)
		a.kill()
		sleep(5 * time.Second)
		wantState(t, b, vrrp.Master)
		wantState(t, c, vrrp.Backup)
		b.kill()
		sleep(5 * time.Second)
		wantState(t, c, vrrp.Master)
		a, b = start(t, s, 1, config(200), vrrp.Options{}), start(t, s, 2, config(150), vrrp.Options{})
		sleep(5 * time.Second)
		wantState(t, a, vrrp.Master)
		wantState(t, b, vrrp.Backup)
		wantState(t, c, vrrp.Backup)
		a.stop()
		sleep(5 * time.Second)
		wantState(t, b, vrrp.Master)
		wantState(t, c, vrrp.Backup)
	})
}

// A kernel that is slow to take the addresses delays the advertisement by no more than a bound; the cadence holds.
func TestSlowTakeDelaysTheAdvertisementByABound(t *testing.T) {
	for _, tt := range []struct {
		interval, bound time.Duration
	}{{time.Second, 100 * ms}, {40 * ms, 20 * ms}} {
		synctest.Test(t, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			c := config(100)
			c.Interval = tt.interval
			r := start(t, s, 5, c, vrrp.Options{})
			r.holder.mu.Lock()
			r.holder.take = func(ctx context.Context) error {
				<-ctx.Done()
				return errors.New("the kernel is slow")
			}
			r.holder.mu.Unlock()
			down := vrrp.MasterDownInterval(100, tt.interval)
			sleep(down + 3*tt.interval/2)
			want(t, &r.diary,
				"0s initialize to backup: started",
				down.String()+" take", (down+tt.bound).String()+" send 100", (down+tt.bound).String()+" backup to master: no master heard",
				(down+tt.interval).String()+" send 100")
			if n := r.Status().Counters.HolderErrors; n != 1 {
				t.Errorf("%d holder errors, want 1", n)
			}
			if got := r.logs.lines("the kernel is slow"); len(got) != 1 {
				t.Errorf("logged %q, want one line", got)
			}
		})
	}
}

// Whatever keeps advertisements from leaving, the cadence holds, and it is counted and logged once.
func TestSendErrorsKeepTheCadence(t *testing.T) {
	for _, failure := range []error{syscall.ENETDOWN, syscall.ENOBUFS, syscall.EPERM} {
		bubble(t, "TMR-17 "+failure.Error(), func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			r := &router{source: host(5), logs: &logBuffer{}}
			conn := s.Listen(r.source)
			r.run(t, s, config(100), vrrp.Options{}, func() (vrrp.Conn, error) { return wire{conn, &r.diary}, nil })
			untilMaster(t, r)
			conn.Fail(failure)
			sleep(2 * time.Second)
			conn.Fail(nil)
			sleep(time.Second)
			want(t, &r.diary, "4.609375s cannot send 100", "5.609375s cannot send 100", "6.609375s send 100")
			if c := r.Status().Counters; c.SendErrors != 2 || c.Sent != 2 {
				t.Errorf("%d send errors and %d sent, want 2 and 2", c.SendErrors, c.Sent)
			}
			if got := r.logs.lines(failure.Error()); len(got) != 1 {
				t.Errorf("logged %q, want one line", got)
			}
		})
	}
}

// A fault takes a Master out at once, its end brings it back as a Backup.
func TestFault(t *testing.T) {
	numbered(t, "FLT-01, FLT-04", config(100), func(t *testing.T, r *router, _ *peer) {
		untilMaster(t, r)
		r.SetFault("eth0 has no carrier")
		sleep(100 * ms)
		wantState(t, r, vrrp.Fault)
		r.SetFault("eth0 is down")
		sleep(100 * ms)
		if got := r.Status().Reason; got != "eth0 is down" {
			t.Errorf("reason %q", got)
		}
		sleep(5 * time.Second)
		r.SetFault("")
		sleep(5 * time.Second)
		want(t, &r.diary,
			"3.609375s send 0", "3.609375s release", "3.609375s master to fault: eth0 has no carrier",
			"8.809375s fault to backup: recovered",
			"12.41875s take", "12.41875s send 100", "12.41875s backup to master: no master heard", "13.41875s send 100")
	})
}

// A fault that was there before the start.
func TestStartInAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		link := vrrp.NewLink("eth0", s.Open(host(5)), (&logBuffer{}).logger())
		d := &diary{}
		i := vrrp.NewInstance(link, config(255), &holder{diary: d}, vrrp.Options{
			Holding:      true,
			OnTransition: func(tr vrrp.Transition) { d.write(tr.From.String() + " to " + tr.To.String() + ": " + tr.Reason) },
		})
		i.SetFault("eth0 is down")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		go link.Run(ctx)
		if err := i.Run(ctx); err != nil {
			t.Error(err)
		}
		want(t, d, "0s release", "0s initialize to fault: eth0 is down", "2s fault to initialize: shutdown")
	})
}

// A reload keeps state and cadence.
func TestConfigure(t *testing.T) {
	numbered(t, "FSM-31, FSM-32", config(100), func(t *testing.T, r *router, _ *peer) {
		untilMaster(t, r)
		configure := func(change func(*vrrp.Config)) {
			t.Helper()
			c := r.Status().Config
			change(&c)
			if err := r.Configure(c); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		sleep(500 * ms)
		configure(func(*vrrp.Config) {})
		want(t, &r.diary)
		configure(func(c *vrrp.Config) { c.Priority = 120 })
		want(t, &r.diary)
		configure(func(c *vrrp.Config) { c.Addresses = vips[:1] })
		want(t, &r.diary, "4.109375s take")
		configure(func(c *vrrp.Config) { c.Interval = 400 * ms })
		sleep(time.Second)
		want(t, &r.diary, "4.609375s send 120", "5.009375s send 120")
		if got := r.Status().Config; got.Priority != 120 || len(got.Addresses) != 1 || got.Interval != 400*ms {
			t.Errorf("configuration %+v", got)
		}

		before := r.Status().Config
		for name, c := range map[string]vrrp.Config{
			"another VRID":   {VRID: 52, Priority: 100, Interval: time.Second, Addresses: vips},
			"an invalid one": {VRID: 51, Priority: 0, Interval: time.Second, Addresses: vips},
		} {
			if err := r.Configure(c); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
		sleep(0)
		if got := r.Status().Config; got.Priority != before.Priority {
			t.Errorf("an invalid configuration became %+v", got)
		}
	})
}

// The timer of a Backup moves by as much as its skew time.
func TestConfigurePriorityAsBackup(t *testing.T) {
	numbered(t, "TMR-16", config(100), func(t *testing.T, r *router, p *peer) {
		p.send(250, time.Second)
		r.read()
		sleep(down - 2*time.Second)
		if err := r.Configure(config(200)); err != nil {
			t.Fatal(err)
		}
		sleep(3 * time.Second)
		if got := r.read(); got[0] != "3.21875s take" {
			t.Errorf("%q, want a take 0.390625s earlier than 3.609375s", got)
		}
	})
}

// The configuration that was set last wins, whoever asks for the status meanwhile.
func TestConfigureWhileRunning(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, _ *peer) {
		for i := range 100 {
			go func() {
				if err := r.Configure(config(uint8(101 + i))); err != nil {
					t.Error(err)
				}
				r.Status()
				r.SetFault("")
			}()
			time.Sleep(7 * ms)
		}
		c := config(200)
		c.Addresses = slices.Clone(vips)
		if err := r.Configure(c); err != nil {
			t.Error(err)
		}
		c.Addresses[0] = host(222) // the instance has its own copy
		sleep(5 * time.Second)
		r.Status().Config.Addresses[1] = host(222) // a snapshot: nobody else sees it
		if got := r.Status().Config; got.Priority != 200 || !slices.Equal(got.Addresses, vips) {
			t.Errorf("configuration %+v", got)
		}
	})
}

func TestStatus(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		p.send(200, 2*time.Second)
		sleep(0)
		s := r.Status()
		if s.Name != "web" || s.Interface != "eth0" || s.Source != host(5) || s.State != vrrp.Backup || s.Reason != "started" || !s.Since.Equal(epoch) {
			t.Errorf("status %+v", s)
		}
		if s.Master != host(9) || s.MasterPriority != 200 || s.MasterInterval != 2*time.Second || s.Counters.Received != 1 {
			t.Errorf("master %s, priority %d, interval %s, received %d", s.Master, s.MasterPriority, s.MasterInterval, s.Counters.Received)
		}
		p.send(0, 2*time.Second)
		sleep(0)
		if s = r.Status(); s.Master.IsValid() || s.Counters.PriorityZeroReceived != 1 {
			t.Errorf("after priority 0: master %s, %d received", s.Master, s.Counters.PriorityZeroReceived)
		}
		sleep(2 * time.Second)
		if s = r.Status(); s.Master != host(5) || s.MasterPriority != 100 || s.MasterInterval != time.Second || s.Counters.MasterTransitions != 1 || s.Counters.Sent != 1 {
			t.Errorf("as master: %+v", s)
		}
		if !s.Since.Equal(epoch.Add(1218750 * us)) {
			t.Errorf("master since %v", s.Since.Sub(epoch))
		}
		if got, want := r.logs.lines("state changed"), 2; len(got) != want {
			t.Errorf("logged %q, want %d lines", got, want)
		} else if got[1] != `level=INFO msg="state changed" instance=web vrid=51 interface=eth0 from=backup to=master reason="10.99.0.9 resigned"` {
			t.Errorf("logged %s", got[1])
		}
	})
}

// The instance refuses to run beside another of its VRID, or with an impossible configuration.
func TestRunRefuses(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, _ *peer) {
		second := vrrp.NewInstance(r.link, config(200), r.holder, vrrp.Options{})
		if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "vrid 51 is used twice on eth0") {
			t.Errorf("error %v", err)
		}
		bad := vrrp.NewInstance(r.link, vrrp.Config{VRID: 52}, r.holder, vrrp.Options{})
		if err := bad.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "priority 0") {
			t.Errorf("error %v", err)
		}
	})
}
