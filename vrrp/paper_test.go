package vrrp_test

// One test for each sentence of RFC 9568 that is about the behaviour of a router of this kind, in the order of the
// text. The router under test has the address 10.99.0.5, priority 100 and an interval of one second; times are exact.

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// bubble runs a test in a bubble. The name, if it has one, is that of a subtest, and begins with the numbers of the
// conformance cases that it covers.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	if name == "" {
		synctest.Test(t, test)
		return
	}
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// paper runs one test in a bubble with the router under test and a scripted peer at 10.99.0.9.
func paper(t *testing.T, c vrrp.Config, test func(t *testing.T, r *router, p *peer)) {
	t.Helper()
	numbered(t, "", c, test)
}

// numbered is the same for a test with a name.
func numbered(t *testing.T, name string, c vrrp.Config, test func(t *testing.T, r *router, p *peer)) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 5, c, vrrp.Options{})
		synctest.Wait()
		test(t, r, newPeer(t, s, 9))
	})
}

// untilMaster lets the router become Master and forgets how; it is then 3.609375 s in the bubble.
func untilMaster(t *testing.T, r *router) {
	t.Helper()
	sleep(down)
	wantState(t, r, vrrp.Master)
	r.read()
}

// sleep lets the time pass and everything settle that is due by then.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Section 6.1, Priority: "The value of 255 is reserved for the router that owns the IPvX address associated with the
// Virtual Router. The value of 0 is reserved for the Active Router to indicate it is relinquishing responsibility".
func TestPriorityZeroCannotBeConfigured(t *testing.T) {
	if err := config(0).Validate(); err == nil {
		t.Error("priority 0 is valid")
	}
	for _, priority := range []uint8{1, 254, 255} {
		if err := config(priority).Validate(); err != nil {
			t.Error(err)
		}
	}
}

// Section 6.1, Active_Adver_Interval: "This value is saved by Virtual Routers in the Backup state and used to compute
// Skew_Time and Active_Down_Interval".
func TestBackupComputesItsTimersFromTheIntervalOfTheMaster(t *testing.T) {
	numbered(t, "TMR-06, TMR-07", config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		p.send(200, 2*time.Second)
		if sleep(0); r.Status().MasterInterval != 2*time.Second {
			t.Errorf("learned %s", r.Status().MasterInterval)
		}
		sleep(10 * time.Second)
		// 6 s + 2 s * 156/256; as Master it advertises its own interval.
		want(t, &r.diary, "7.21875s take", "7.21875s send 100", "7.21875s backup to master: no advertisement from 10.99.0.9 for 7.219s", "8.21875s send 100", "9.21875s send 100")
	})
}

// Section 6.1, Skew_Time: "(((256 - Priority) * Active_Adver_Interval) / 256)"; it "is used to skew the
// Active_Down_Interval" so that the router with the highest priority is the first.
func TestSkewTimeLetsTheHighestPriorityBeFirst(t *testing.T) {
	bubble(t, "TMR-02", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		a := start(t, s, 1, config(150), vrrp.Options{})
		b := start(t, s, 2, config(140), vrrp.Options{})
		c := start(t, s, 3, config(100), vrrp.Options{})
		sleep(5 * time.Second)
		wantState(t, a, vrrp.Master)
		a.kill()
		b.read()
		sleep(10 * time.Second)
		// The last advertisement of a left at 4.4140625 s.
		if got := b.read()[0]; got != "7.8671875s take" {
			t.Errorf("%s, want it 3.453125s after the last advertisement", got)
		}
		want(t, &c.diary, "0s initialize to backup: started")
	})
}

// Section 6.1, Preempt_Mode: "Controls whether a (starting or restarting) higher-priority Backup Router preempts a
// lower-priority Active Router."
func TestPreemptModeLetsAHigherPriorityTakeOver(t *testing.T) {
	numbered(t, "FSM-12", config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		p.repeat(4, 99, time.Second)
		want(t, &r.diary, "3.609375s take", "3.609375s send 100", "3.609375s backup to master: 10.99.0.9 has the lower priority 99")
	})
}

// Section 6.1, Preempt_Mode: "Values are True to allow preemption and False to prohibit preemption."
func TestWithoutPreemptModeALowerPriorityStaysMaster(t *testing.T) {
	c := config(100)
	c.Preempt = false
	numbered(t, "FSM-13, FSM-14", c, func(t *testing.T, r *router, p *peer) {
		r.read()
		p.repeat(60, 1, time.Second)
		want(t, &r.diary)
		sleep(3 * time.Second)
		// The last advertisement was sent at 59 s.
		want(t, &r.diary, "1m2.609375s take", "1m2.609375s send 100", "1m2.609375s backup to master: no advertisement from 10.99.0.9 for 3.609s")
	})
}

// Section 6.1, Preempt_Mode: "Note: The exception is that the router that owns the IPvX address associated with the
// Virtual Router always preempts, independent of the setting of this flag."
func TestOwnerAlwaysPreempts(t *testing.T) {
	bubble(t, "FSM-15", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		other := start(t, s, 2, config(100), vrrp.Options{})
		sleep(down + 500*ms)
		other.read()
		c := config(255)
		c.Preempt = false
		r := start(t, s, 5, c, vrrp.Options{})
		sleep(200 * ms)
		want(t, &r.diary, "4.109375s take", "4.109375s send 255", "4.109375s initialize to master: started as the owner of the addresses",
			"4.109375s send 255", "4.109375s announce") // the last advertisement of the other one was heard
		want(t, &other.diary, "4.109375s send 100", "4.109375s master to backup: 10.99.0.5 has priority 255", "4.209375s release")
	})
}

// Section 6.4.1: "If a Startup event is received: If the Priority = 255: Send an ADVERTISEMENT; ... broadcast a
// gratuitous ARP message; ... Set the Adver_Timer to Advertisement_Interval; Transition to the {Active} state".
func TestOwnerIsMasterAtOnce(t *testing.T) {
	numbered(t, "FSM-01", config(255), func(t *testing.T, r *router, _ *peer) {
		sleep(2500 * ms)
		want(t, &r.diary,
			"0s take", "0s send 255", "0s initialize to master: started as the owner of the addresses",
			"1s send 255", "2s send 255")
	})
}

// Section 6.4.1: "else: Set Active_Adver_Interval to Advertisement_Interval; Set the Active_Down_Timer to
// Active_Down_Interval; Transition to the {Backup} state".
func TestRouterStartsAsBackupForAnActiveDownInterval(t *testing.T) {
	numbered(t, "FSM-02", config(100), func(t *testing.T, r *router, _ *peer) {
		want(t, &r.diary, "0s initialize to backup: started")
		sleep(down - 1)
		want(t, &r.diary)
		sleep(1)
		want(t, &r.diary, "3.609375s take", "3.609375s send 100", "3.609375s backup to master: no master heard")
	})
}

// Section 6.4.2: "MUST NOT respond to ARP requests for the IPv4 address(es) associated with the Virtual Router", nor
// accept packets to them: a Backup has no virtual address.
func TestBackupHoldsNoAddresses(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		p.repeat(10, 200, time.Second)
		if r.holder.holds() || r.Status().Holding {
			t.Error("a Backup holds the addresses")
		}
		want(t, &r.diary, "0s initialize to backup: started")
	})
}

// Section 6.4.2: "If a Shutdown event is received: Cancel the Active_Down_Timer; Transition to the {Initialize}
// state".
func TestBackupShutsDownWithoutAWord(t *testing.T) {
	numbered(t, "FSM-05", config(100), func(t *testing.T, r *router, _ *peer) {
		r.read()
		r.stop()
		wantState(t, r, vrrp.Initialize)
		sleep(10 * time.Second)
		want(t, &r.diary, "0s backup to initialize: shutdown")
	})
}

// Section 6.4.2: "If the Active_Down_Timer fires: Send an ADVERTISEMENT; ... broadcast a gratuitous ARP message for
// each address; Set the Adver_Timer to Advertisement_Interval; Transition to the {Active} state". The addresses come
// first here.
func TestBackupTakesOverWhenActiveDownTimerFires(t *testing.T) {
	numbered(t, "FSM-04", config(100), func(t *testing.T, r *router, p *peer) {
		p.send(200, time.Second)
		r.read()
		sleep(5 * time.Second)
		want(t, &r.diary, "3.609375s take", "3.609375s send 100", "3.609375s backup to master: no advertisement from 10.99.0.9 for 3.609s", "4.609375s send 100")
		if !r.holder.holds() || !r.Status().Holding {
			t.Error("the Master holds no addresses")
		}
	})
}

// Section 6.4.2: "If the Priority in the ADVERTISEMENT is 0: Set the Active_Down_Timer to Skew_Time".
func TestBackupTakesOverAfterSkewTimeOnPriorityZero(t *testing.T) {
	numbered(t, "FSM-07", config(100), func(t *testing.T, r *router, p *peer) {
		p.repeat(2, 200, time.Second)
		r.read()
		p.send(0, time.Second)
		sleep(time.Second)
		want(t, &r.diary, "2.609375s take", "2.609375s send 100", "2.609375s backup to master: 10.99.0.9 resigned")
	})
}

// Section 6.4.2, the same sentence: the timer is set, not shortened.
func TestPriorityZeroSetsTheTimerEvenToALaterMoment(t *testing.T) {
	numbered(t, "FSM-09", config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		sleep(3500 * ms)
		p.send(0, time.Second)
		sleep(time.Second)
		want(t, &r.diary, "4.109375s take", "4.109375s send 100", "4.109375s backup to master: 10.99.0.9 resigned")
	})
}

// Section 6.4.2: "else: If Preempt_Mode is False, or if the Priority in the ADVERTISEMENT is greater than or equal to the
// local Priority: ... Reset the Active_Down_Timer to Active_Down_Interval".
func TestBackupRestartsItsTimerOnHigherOrEqualPriority(t *testing.T) {
	for _, priority := range []uint8{100, 101, 254, 255} {
		numbered(t, "FSM-11", config(100), func(t *testing.T, r *router, p *peer) {
			r.read()
			sleep(3 * time.Second) // as if three advertisements were lost
			p.send(priority, time.Second)
			sleep(3 * time.Second)
			p.send(priority, time.Second)
			sleep(down - 1)
			want(t, &r.diary)
			sleep(1)
			want(t, &r.diary, "9.609375s take", "9.609375s send 100", "9.609375s backup to master: no advertisement from 10.99.0.9 for 3.609s")
		})
	}
}

// Section 6.4.2: "Set Active_Adver_Interval to the Max Advertise Interval contained in the ADVERTISEMENT; Recompute the
// Skew_Time; Recompute the Active_Down_Interval".
func TestBackupRecomputesFromEachAdvertisement(t *testing.T) {
	numbered(t, "RX-27, TMR-08", config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		p.send(200, 40950*ms)
		sleep(10 * time.Second)
		p.send(200, 100*ms)
		sleep(time.Second)
		want(t, &r.diary, "10.3609375s take", "10.3609375s send 100", "10.3609375s backup to master: no advertisement from 10.99.0.9 for 361ms")
	})
	numbered(t, "FSM-08", config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		p.send(200, 40950*ms)
		sleep(time.Second)
		p.send(0, 40950*ms)
		sleep(25 * time.Second)
		want(t, &r.diary, "25.95390625s take", "25.95390625s send 100", "25.95390625s backup to master: 10.99.0.9 resigned")
	})
}

// Section 6.4.2: "else: Discard the ADVERTISEMENT": it changes no timer.
func TestBackupDiscardsALowerPriority(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		r.read()
		sleep(3 * time.Second)
		p.send(99, 40950*ms)
		sleep(time.Second)
		want(t, &r.diary, "3.609375s take", "3.609375s send 100", "3.609375s backup to master: 10.99.0.9 has the lower priority 99")
	})
}

// Section 6.4.3: "If a Shutdown event is received: Cancel the Adver_Timer; Send an ADVERTISEMENT with Priority = 0;
// Transition to the {Initialize} state". The addresses go when the successor was heard.
func TestMasterResignsWithPriorityZero(t *testing.T) {
	numbered(t, "FSM-06", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		go r.stop()
		sleep(500 * ms)
		p.send(50, time.Second)
		sleep(10 * time.Second)
		want(t, &r.diary, "3.609375s send 0", "3.609375s master to initialize: shutdown", "4.209375s release")
	})
}

// Section 6.4.3: "If the Adver_Timer fires: Send an ADVERTISEMENT; Reset the Adver_Timer to Advertisement_Interval".
func TestMasterAdvertisesEachInterval(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, _ *peer) {
		untilMaster(t, r)
		sleep(3 * time.Second)
		want(t, &r.diary, "4.609375s send 100", "5.609375s send 100", "6.609375s send 100")
	})
}

// Section 6.4.3: "If the Priority in the ADVERTISEMENT is 0: Send an ADVERTISEMENT; Reset the Adver_Timer to
// Advertisement_Interval".
func TestMasterAnswersPriorityZeroAndRestartsItsTimer(t *testing.T) {
	numbered(t, "FSM-22", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		sleep(500 * ms)
		p.send(0, time.Second)
		sleep(1500 * ms)
		want(t, &r.diary, "4.109375s send 100", "4.109375s announce", "5.109375s send 100")
	})
}

// Section 6.4.3: "If the Priority in the ADVERTISEMENT is greater than the local Priority: Cancel the Adver_Timer; ...
// Set the Active_Down_Timer to Active_Down_Interval; Transition to the {Backup} state". The RFC has it fall silent at once;
// here it sends a last advertisement, so that the better one knows that there were two.
func TestMasterYieldsToAHigherPriority(t *testing.T) {
	for _, preempt := range []bool{true, false} {
		c := config(100)
		c.Preempt = preempt
		numbered(t, "RX-01, FSM-16, FSM-25", c, func(t *testing.T, r *router, p *peer) {
			untilMaster(t, r)
			sleep(500 * ms)
			p.send(101, 2*time.Second)
			sleep(10 * time.Second)
			want(t, &r.diary,
				"4.109375s send 100", "4.109375s master to backup: 10.99.0.9 has priority 101", "4.209375s release",
				"11.328125s take", "11.328125s send 100", "11.328125s backup to master: no advertisement from 10.99.0.9 for 7.219s",
				"12.328125s send 100", "13.328125s send 100")
		})
	}
}

// Section 6.4.3: "or if the Priority in the ADVERTISEMENT is equal to the local Priority and the primary IPvX address of the
// sender is greater than the local primary IPvX address (based on an unsigned integer comparison of the IPvX addresses in
// network byte order)".
func TestMasterYieldsToAnEqualPriorityWithAHigherAddress(t *testing.T) {
	numbered(t, "FSM-18", config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		p.send(100, time.Second)
		sleep(200 * ms)
		want(t, &r.diary, "3.609375s send 100", "3.609375s master to backup: 10.99.0.9 has the same priority 100 and the higher address", "3.709375s release")
	})
}

// Section 6.4.3: "else: Discard the ADVERTISEMENT; Send an ADVERTISEMENT immediately to assert the {Active} state".
// The Adver_Timer keeps its cadence.
func TestMasterAssertsItselfAgainstALosingAdvertisement(t *testing.T) {
	bubble(t, "FSM-17, FSM-20", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := start(t, s, 5, config(100), vrrp.Options{})
		lower, equal := newPeer(t, s, 9), newPeer(t, s, 4)
		untilMaster(t, r)
		sleep(time.Second)
		r.read()
		sleep(300 * ms)
		lower.send(99, time.Second)
		sleep(300 * ms)
		equal.send(100, time.Second)
		sleep(time.Second)
		want(t, &r.diary,
			"4.909375s send 100", "4.909375s announce",
			"5.209375s send 100", "5.209375s announce",
			"5.609375s send 100")
		if n := r.Status().Counters.RivalsHeard; n != 2 {
			t.Errorf("%d rivals heard, want 2", n)
		}
	})
}

// Section 7.1: "If any one of the above checks fails, the receiver MUST discard the packet, SHOULD log the event, and MAY
// indicate via network management that an error occurred". Each refused packet is counted under one reason.
func TestInvalidPacketsAreDiscardedAndCounted(t *testing.T) {
	good := func() vrrp.Packet {
		b, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: vips}.Marshal(host(9), group)
		if err != nil {
			t.Fatal(err)
		}
		return vrrp.Packet{Source: host(9), Destination: group, TTL: 255, Payload: b}
	}
	for _, tt := range []struct {
		sentence string
		change   func(p *vrrp.Packet)
		reason   vrrp.DropReason
	}{
		{"RX-02 MUST verify that the IPv4 TTL is 255", func(p *vrrp.Packet) { p.TTL = 254 }, vrrp.DropTTL},
		{"RX-02 the same, with 0", func(p *vrrp.Packet) { p.TTL = 0 }, vrrp.DropTTL},
		{"RX-11 MUST verify that the VRRP version is 3", func(p *vrrp.Packet) { p.Payload[0] = 0x21; resum(p.Payload) }, vrrp.DropVersion},
		{"RX-13 MUST verify that the VRRP packet type is 1", func(p *vrrp.Packet) { p.Payload[0] = 0x32; resum(p.Payload) }, vrrp.DropType},
		{"RX-16 MUST verify that the received packet contains the complete VRRP packet", func(p *vrrp.Packet) { p.Payload = p.Payload[:15] }, vrrp.DropTruncated},
		{"RX-08 MUST verify the VRRP checksum", func(p *vrrp.Packet) { p.Payload[7]++ }, vrrp.DropChecksum},
		{"RX-14 MUST verify that the VRID is configured on the receiving interface", func(p *vrrp.Packet) { p.Payload[1] = 52; resum(p.Payload) }, vrrp.DropVRID},
		{"RX-34 section 5.1.1.2: the destination is 224.0.0.18", func(p *vrrp.Packet) { p.Destination = host(5) }, vrrp.DropDestination},
		{"RX-30 section 5.1.1.1: the source is the primary address of an interface", func(p *vrrp.Packet) { p.Source = netip.IPv4Unspecified() }, vrrp.DropSource},
		{"RX-31 the same, our own", func(p *vrrp.Packet) { p.Source = host(5); resum(p.Payload) }, vrrp.DropOwn},
		{"RX-32 the same, a virtual one", func(p *vrrp.Packet) { p.Source = vips[0]; resum(p.Payload) }, vrrp.DropVirtualSource},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := start(t, s, 5, config(100), vrrp.Options{})
				untilMaster(t, r)
				p := good()
				tt.change(&p)
				s.Inject(p)
				sleep(500 * ms)
				want(t, &r.diary)
				wantDropped(t, r, tt.reason, 1)
				p = good()
				s.Inject(p)
				sleep(0)
				wantState(t, r, vrrp.Backup)
			})
		})
	}
}

// wantDropped checks that the router has dropped packets for this reason and no other.
func wantDropped(t *testing.T, r *router, reason vrrp.DropReason, n uint64) {
	t.Helper()
	dropped := r.Status().Counters.Dropped
	for reason, n := range r.link.Status().Dropped {
		dropped[reason] += n
	}
	if len(dropped) != 1 || dropped[reason] != n {
		t.Errorf("dropped %v, want %q %d times", dropped, reason, n)
	}
}

// Section 7.1: "MAY verify that the IPvX address(es) associated with the VRID are valid"; if not, the receiver "MAY log the
// event" but does not drop the packet.
func TestOtherAddressesAreReportedAndAccepted(t *testing.T) {
	for _, tt := range []struct {
		name      string
		addresses []netip.Addr
		mismatch  bool
	}{
		{"RX-23 other order", []netip.Addr{vips[1], vips[0]}, false},
		{"RX-22 one missing", vips[:1], true},
		{"RX-22 one more", []netip.Addr{vips[0], vips[1], host(102)}, true},
		{"RX-22 as many as there can be", many(255), true},
		{"RX-22 one different", []netip.Addr{vips[0], host(102)}, true},
		{"RX-22 one twice", []netip.Addr{vips[0], vips[0]}, true},
	} {
		numbered(t, tt.name, config(100), func(t *testing.T, r *router, p *peer) {
			untilMaster(t, r)
			for range 3 {
				p.advertise(vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: tt.addresses})
				sleep(time.Second)
			}
			wantState(t, r, vrrp.Backup)
			mismatches, lines := uint64(0), 0
			if tt.mismatch {
				mismatches, lines = 3, 1
			}
			if got := r.Status().Counters.AddressMismatches; got != mismatches {
				t.Errorf("%d mismatches counted, want %d", got, mismatches)
			}
			if got := r.logs.lines("lists other addresses"); len(got) != lines {
				t.Errorf("logged %q, want %d lines", got, lines)
			}
		})
	}
}

// Section 7.1: if the Max Advertise Interval does not match, the receiver "SHOULD log the event".
func TestAnotherIntervalIsReportedAndAccepted(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		p.repeat(3, 200, 2*time.Second)
		wantState(t, r, vrrp.Backup)
		if got := r.Status().Counters.IntervalMismatches; got != 3 {
			t.Errorf("%d mismatches counted, want 3", got)
		}
		if got := r.logs.lines("another advertisement interval"); len(got) != 1 {
			t.Errorf("logged %q, want one line", got)
		}
	})
}

// Section 8.3.2: routers of neighbouring priorities may both become Master when their skew times differ by less
// than a packet travels; the lower one yields within that time.
func TestNeighbouringPrioritiesSettleWithinOneTrip(t *testing.T) {
	for _, tt := range []struct {
		name   string
		delay  time.Duration
		second []string // what the router of priority 100 does
	}{
		{"TMR-03 latency 2 ms", 2 * ms, nil},
		{"TMR-03 latency 10 ms", 10 * ms, []string{
			"3.609375s take", "3.609375s send 100", "3.609375s backup to master: no master heard",
			"3.61546875s send 100", "3.61546875s master to backup: 10.99.0.1 has priority 101", "3.71546875s release",
		}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := vrrptest.NewSegment(1)
			s.SetDelay(tt.delay)
			start(t, s, 1, config(101), vrrp.Options{})
			r := start(t, s, 2, config(100), vrrp.Options{})
			sleep(time.Second)
			r.read()
			sleep(9 * time.Second)
			want(t, &r.diary, tt.second...)
			s.SetDelay(0)
		})
	}
}

// Advertisements that are lost on the way: three of them in a row are one too many, unless the fourth is early.
func TestBackupSurvivesLostAdvertisements(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause time.Duration // between the last advertisement and the next one that arrives
		stays bool
	}{
		{"TMR-05 one is lost", 2 * time.Second, true},
		{"TMR-05 two are lost", 3 * time.Second, true},
		{"TMR-05 three are lost and the fourth is early", down - 1, true},
		{"TMR-05 three are lost", 4 * time.Second, false},
	} {
		numbered(t, tt.name, config(100), func(t *testing.T, r *router, p *peer) {
			p.repeat(2, 200, time.Second)
			p.send(200, time.Second)
			r.read()
			sleep(tt.pause)
			p.send(200, time.Second)
			sleep(time.Second)
			wantState(t, r, vrrp.Backup)
			if tt.stays {
				want(t, &r.diary)
				return
			}
			want(t, &r.diary, "5.609375s take", "5.609375s send 100", "5.609375s backup to master: no advertisement from 10.99.0.9 for 3.609s",
				"6s send 100", "6s master to backup: 10.99.0.9 has priority 200", "6.1s release")
		})
	}
}

// RFC 3768, section 6.1: in version 2 the Skew_Time is of a second, whatever the interval is.
func TestVersion2SkewsByASecond(t *testing.T) {
	c := config2(100)
	c.Interval = 5 * time.Second
	for _, tt := range []struct {
		name  string
		leave bool
		want  []string
	}{
		{"TMR-15 the master dies", false, []string{
			"20.609375s take", "20.609375s send 100", "20.609375s backup to master: no advertisement from 10.99.0.9 for 15.609s", "25.609375s send 100",
		}},
		{"TMR-15 the master resigns", true, []string{
			"10.609375s take", "10.609375s send 100", "10.609375s backup to master: 10.99.0.9 resigned", "15.609375s send 100", "20.609375s send 100", "25.609375s send 100",
		}},
	} {
		numbered(t, tt.name, c, func(t *testing.T, r *router, p *peer) {
			a := vrrp.Advertisement{Version: 2, VRID: 51, Priority: 200, Interval: 5 * time.Second, Addresses: vips}
			p.advertise(a)
			sleep(5 * time.Second)
			p.advertise(a)
			r.read()
			sleep(5 * time.Second)
			if tt.leave {
				a.Priority = 0
				p.advertise(a)
			}
			sleep(20 * time.Second)
			want(t, &r.diary, tt.want...)
		})
	}
}
