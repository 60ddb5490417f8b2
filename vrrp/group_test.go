package vrrp_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// director is a machine with two networks, one of IPv4 and one of IPv6, and a virtual router in each; the two are a
// group.
type director struct{ v4, v6 *router }

// networks are the two segments.
type networks struct{ v4, v6 *vrrptest.Segment }

func newNetworks() networks { return networks{vrrptest.NewSegment(1), vrrptest.NewSegment(2)} }

func (n networks) start(t *testing.T, number int, priority uint8) director {
	t.Helper()
	return n.startWith(t, number, config(priority), config6(priority))
}

func (n networks) startWith(t *testing.T, number int, c4, c6 vrrp.Config) director {
	t.Helper()
	group := vrrp.NewGroup()
	d := director{
		&router{source: host(number), logs: &logBuffer{}, group: group},
		&router{source: host6(number), logs: &logBuffer{}, group: group},
	}
	complete := make(chan struct{})
	run := func(r *router, s *vrrptest.Segment, c vrrp.Config, name string) {
		r.run(t, s, c, vrrp.Options{Name: name}, func() (vrrp.Conn, error) {
			<-complete // both have joined the group before one begins
			return wire{s.Listen(r.source), &r.diary}, nil
		})
	}
	run(d.v4, n.v4, c4, "v4")
	run(d.v6, n.v6, c6, "v6")
	close(complete)
	sleep(0)
	return d
}

// both runs f for both virtual routers at once.
func (d director) both(f func(r *router)) {
	var all sync.WaitGroup
	all.Go(func() { f(d.v4) })
	all.Go(func() { f(d.v6) })
	all.Wait()
}

func (d director) wantStates(t *testing.T, v4, v6 vrrp.State) {
	t.Helper()
	wantState(t, d.v4, v4)
	wantState(t, d.v6, v6)
}

func (d director) read() {
	d.v4.read()
	d.v6.read()
}

// peers6 is a scripted router on the other network.
func (n networks) peer6(t *testing.T, number int) *peer { return newPeerAt(t, n.v6, host6(number)) }

// send6 sends an advertisement of IPv6.
func (p *peer) send6(priority uint8) {
	p.t.Helper()
	p.advertise(vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: priority, Interval: time.Second, Addresses: vips6})
}

// Nobody of a group becomes Master before all of it can; then all do at once.
func TestGroupIsMasterTogether(t *testing.T) {
	bubble(t, "SYN-01 one timer is slower", func(t *testing.T) {
		n := newNetworks()
		c6 := config6(100)
		c6.Interval = 2 * time.Second
		d := n.startWith(t, 1, config(100), c6)
		if got := d.v4.Status().Gate; got != "waiting for instance v6 of the group" {
			t.Errorf("gate %q", got)
		}
		sleep(8 * time.Second)
		want(t, &d.v4.diary, "0s initialize to backup: started",
			"7.21875s take", "7.21875s send 100", "7.21875s backup to master: no master heard")
		want(t, &d.v6.diary, "0s initialize to backup: started",
			"7.21875s take", "7.21875s send 100", "7.21875s backup to master: no master heard")
	})
	bubble(t, "SYN-01 one has a better master", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		p := n.peer6(t, 9)
		for range 20 {
			p.send6(200)
			sleep(time.Second)
		}
		want(t, &d.v4.diary, "0s initialize to backup: started")
		p.send6(0)
		sleep(500 * ms)
		d.wantStates(t, vrrp.Backup, vrrp.Backup)
		sleep(500 * ms)
		want(t, &d.v4.diary, "20.609375s take", "20.609375s send 100", "20.609375s backup to master: no master heard")
		want(t, &d.v6.diary, "0s initialize to backup: started",
			"20.609375s take", "20.609375s send 100", "20.609375s backup to master: fe80::ff:fe00:9909 resigned")
	})
	bubble(t, "SYN-01 one waits at a gate of its own", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		d.v6.SetGate("the director is not ready")
		sleep(10 * time.Second)
		d.wantStates(t, vrrp.Backup, vrrp.Backup)
		if got := d.v6.Status().Gate; got != "the director is not ready" {
			t.Errorf("gate %q", got)
		}
		d.v6.SetGate("")
		sleep(0)
		want(t, &d.v4.diary, "0s initialize to backup: started", "10s take", "10s send 100", "10s backup to master: no master heard")
		want(t, &d.v6.diary, "0s initialize to backup: started", "10s take", "10s send 100", "10s backup to master: no master heard")
		if got := d.v4.Status().Gate; got != "" {
			t.Errorf("gate %q", got)
		}
	})
	bubble(t, "SYN-01 owners", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 255)
		sleep(500 * ms)
		for _, r := range []*router{d.v4, d.v6} {
			// The first to start waits for the other one, which then finds that nobody keeps it from starting as Master.
			got := slices.DeleteFunc(r.read(), func(e string) bool { return e == "0s initialize to backup: started" })
			for i, e := range got {
				got[i] = strings.Replace(e, "backup to", "initialize to", 1)
			}
			if diff := cmp.Diff([]string{"0s take", "0s send 255", "0s initialize to master: started as the owner of the addresses"}, got); diff != "" {
				t.Errorf("happened (-want +got)\n%s", diff)
			}
		}
	})
	// A network that is cut in two is no reason for one side to be Master in one of them.
	bubble(t, "SYN-01 one network is cut", func(t *testing.T) {
		n := newNetworks()
		a, b := n.start(t, 1, 150), n.start(t, 2, 100)
		sleep(5 * time.Second)
		a.wantStates(t, vrrp.Master, vrrp.Master)
		n.v4.Partition(host(2))
		sleep(20 * time.Second)
		a.wantStates(t, vrrp.Master, vrrp.Master)
		b.wantStates(t, vrrp.Backup, vrrp.Backup)
		n.v6.Partition(host6(2)) // now the other side is really alone
		sleep(5 * time.Second)
		b.wantStates(t, vrrp.Master, vrrp.Master)
		n.v4.Partition()
		n.v6.Partition()
		sleep(5 * time.Second)
		a.wantStates(t, vrrp.Master, vrrp.Master)
		b.wantStates(t, vrrp.Backup, vrrp.Backup)
	})
	bubble(t, "SYN-01 the other director dies", func(t *testing.T) {
		n := newNetworks()
		n.start(t, 1, 150)
		b := n.start(t, 2, 100)
		sleep(5 * time.Second)
		b.read()
		n.v4.Partition(host(1))
		n.v6.Partition(host6(1))
		sleep(5 * time.Second)
		want(t, &b.v4.diary, "8.0234375s take", "8.0234375s send 100", "8.0234375s backup to master: no advertisement from 10.99.0.1 for 3.609s", "9.0234375s send 100")
		want(t, &b.v6.diary, "8.0234375s take", "8.0234375s send 100", "8.0234375s backup to master: no advertisement from fe80::ff:fe00:9901 for 3.609s", "9.0234375s send 100")
	})
}

// One of a group gives way, and so do the others, in the same instant and without a word: on their networks the same
// router is about to be heard. Until then they answer for their addresses.
func TestGroupGivesWayTogether(t *testing.T) {
	bubble(t, "SYN-02", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		p4, p6 := newPeer(t, n.v4, 9), n.peer6(t, 9)
		sleep(5 * time.Second)
		d.wantStates(t, vrrp.Master, vrrp.Master)
		d.read()
		p4.send(200, time.Second)
		sleep(300 * ms)
		want(t, &d.v4.diary, "5s send 100", "5s master to backup: 10.99.0.9 has priority 200", "5.1s release")
		want(t, &d.v6.diary, "5s master to backup: instance v4 of the group has given way")
		if !d.v6.holder.holds() {
			t.Error("nobody answers for the addresses of the other one")
		}
		p6.send6(200)
		sleep(200 * ms)
		want(t, &d.v6.diary, "5.4s release")
	})
	bubble(t, "SYN-02 a better director comes", func(t *testing.T) {
		n := newNetworks()
		b := n.start(t, 2, 100)
		sleep(5 * time.Second)
		b.wantStates(t, vrrp.Master, vrrp.Master)
		b.read()
		a := n.start(t, 1, 150)
		sleep(5 * time.Second)
		a.wantStates(t, vrrp.Master, vrrp.Master)
		b.wantStates(t, vrrp.Backup, vrrp.Backup)
		for _, r := range []*router{b.v4, b.v6} {
			if r.holder.holds() || r.Status().Counters.PriorityZeroSent != 0 {
				t.Errorf("%s holds the addresses or has resigned", r.source)
			}
		}
	})
}

// One of a group is in Fault, and so are the others, for its reason; each says so once. They recover together.
func TestGroupIsInFaultTogether(t *testing.T) {
	bubble(t, "SYN-03", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		sleep(5 * time.Second)
		d.read()
		d.v6.SetFault("eth1 has no carrier")
		sleep(time.Second)
		want(t, &d.v6.diary, "5s send 0", "5s release", "5s master to fault: eth1 has no carrier")
		want(t, &d.v4.diary, "5s send 0", "5s release", "5s master to fault: instance v6 of the group: eth1 has no carrier")
		for _, r := range []*router{d.v4, d.v6} {
			if c := r.Status().Counters; c.PriorityZeroSent != 1 {
				t.Errorf("%s has resigned %d times, want once", r.source, c.PriorityZeroSent)
			}
		}
		d.v6.SetFault("eth1 is down") // another reason is no news
		d.v4.SetFault("eth0 is down")
		sleep(0)
		if got := d.v4.Status().Reason; got != "eth0 is down" {
			t.Errorf("reason %q", got)
		}
		d.v6.SetFault("")
		sleep(time.Second)
		d.wantStates(t, vrrp.Fault, vrrp.Fault)
		if got := d.v6.Status().Reason; got != "instance v4 of the group: eth0 is down" {
			t.Errorf("reason %q", got)
		}
		d.v4.SetFault("")
		sleep(4 * time.Second)
		for _, r := range []*router{d.v4, d.v6} {
			want(t, &r.diary, "7s fault to backup: recovered", "10.609375s take", "10.609375s send 100", "10.609375s backup to master: no master heard")
		}
	})
	bubble(t, "SYN-03 of backups", func(t *testing.T) {
		n := newNetworks()
		a, b := n.start(t, 1, 150), n.start(t, 2, 100)
		sleep(5 * time.Second)
		b.read()
		b.v4.SetFault("eth0 has no carrier")
		sleep(time.Second)
		want(t, &b.v4.diary, "5s backup to fault: eth0 has no carrier")
		want(t, &b.v6.diary, "5s backup to fault: instance v4 of the group: eth0 has no carrier")
		a.wantStates(t, vrrp.Master, vrrp.Master)
		b.v4.SetFault("")
		sleep(time.Second)
		b.wantStates(t, vrrp.Backup, vrrp.Backup)
	})
}

// A director with a group is stopped: each says so, and at every moment somebody holds the addresses.
func TestGroupHandsOver(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(a director)
	}{
		{"stop", func(a director) { a.both(func(r *router) { r.stop() }) }},
		{"step down", func(a director) { a.both(func(r *router) { r.StepDown("switchover") }) }},
		{"step down of one", func(a director) { a.v4.StepDown("switchover") }},
		{"step down of the other one", func(a director) { a.v6.StepDown("switchover") }},
	} {
		for attempt := range 20 { // the goroutines run in any order
			bubble(t, fmt.Sprintf("%s %d", tt.name, attempt), func(t *testing.T) {
				n := newNetworks()
				a, b := n.start(t, 1, 150), n.start(t, 2, 100)
				sleep(5 * time.Second)
				a.wantStates(t, vrrp.Master, vrrp.Master)
				go tt.stop(a)
				for begin := time.Now(); time.Since(begin) < 2*time.Second; sleep(ms) {
					if !a.v4.holder.holds() && !b.v4.holder.holds() || !a.v6.holder.holds() && !b.v6.holder.holds() {
						t.Fatalf("nobody holds the addresses %s after the stop", time.Since(begin))
					}
				}
				b.wantStates(t, vrrp.Master, vrrp.Master)
				for _, r := range []*router{a.v4, a.v6} {
					if r.holder.holds() || r.Status().State == vrrp.Master {
						t.Errorf("%s is still there", r.source)
					}
				}
			})
		}
	}
}

// An instance that is stopped alone, because it is no longer configured, leaves the group: that is no reason for the
// others.
func TestGroupOutlivesAMember(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		sleep(5 * time.Second)
		d.read()
		d.v4.stop()
		d.v4.SetGroup(vrrp.NewGroup()) // nothing comes of that any more
		sleep(5 * time.Second)
		want(t, &d.v4.diary, "5s send 0", "5s master to initialize: shutdown", "6s send 0", "7s release")
		wantState(t, d.v6, vrrp.Master)
		if c := d.v6.Status().Counters; c.MasterTransitions != 1 || c.PriorityZeroSent != 0 {
			t.Errorf("counters %+v", c)
		}
	})
	// One that never begins to run, because its configuration is impossible, leaves it as well.
	bubble(t, "", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		group := vrrp.NewGroup()
		bad := vrrp.NewInstance(vrrp.NewLink("eth0", nil, (&logBuffer{}).logger()), vrrp.Config{}, nil, vrrp.Options{Name: "bad"})
		bad.SetGroup(group)
		r := &router{source: host(5), logs: &logBuffer{}, group: group}
		r.run(t, s, config(100), vrrp.Options{}, s.Open(host(5)))
		sleep(5 * time.Second)
		wantState(t, r, vrrp.Backup)
		if got := r.Status().Gate; got != "waiting for instance bad of the group" {
			t.Errorf("gate %q", got)
		}
		if err := bad.Run(t.Context()); err == nil {
			t.Error("it runs")
		}
		sleep(0)
		wantState(t, r, vrrp.Master)
	})
}

// An instance joins a group that is Master, or leaves it, while it runs.
func TestGroupChanges(t *testing.T) {
	bubble(t, "joining as backup", func(t *testing.T) {
		s, other := vrrptest.NewSegment(1), vrrptest.NewSegment(2)
		group := vrrp.NewGroup()
		r := &router{source: host(5), logs: &logBuffer{}, group: group}
		r.run(t, s, config(100), vrrp.Options{}, s.Open(host(5)))
		sleep(5 * time.Second)
		wantState(t, r, vrrp.Master)
		r.read()
		late := &router{source: host(5), logs: &logBuffer{}, group: group}
		late.run(t, other, config(100), vrrp.Options{Name: "late"}, other.Open(host(5)))
		sleep(down)
		wantState(t, late, vrrp.Master)
		want(t, &r.diary) // it has not given way: it has just come
		p := newPeer(t, other, 9)
		p.send(200, time.Second)
		sleep(0)
		wantState(t, late, vrrp.Backup)
		wantState(t, r, vrrp.Backup)
		want(t, &r.diary, "8.609375s master to backup: instance late of the group has given way")
	})
	bubble(t, "joining where another one is master", func(t *testing.T) {
		s, other := vrrptest.NewSegment(1), vrrptest.NewSegment(2)
		r, backup := start(t, s, 5, config(100), vrrp.Options{}), start(t, other, 5, config(100), vrrp.Options{Name: "backup"})
		p := newPeer(t, other, 9)
		for range 5 {
			p.send(200, time.Second)
			sleep(time.Second)
		}
		wantState(t, r, vrrp.Master)
		r.read()
		group := vrrp.NewGroup()
		r.SetGroup(group)
		backup.SetGroup(group)
		sleep(0)
		want(t, &r.diary, "5s master to backup: instance backup of the group has given way")
		backup.SetGroup(nil)
		sleep(down)
		wantState(t, r, vrrp.Master)
	})
	bubble(t, "two masters", func(t *testing.T) {
		s, other := vrrptest.NewSegment(1), vrrptest.NewSegment(2)
		one, two := start(t, s, 5, config(100), vrrp.Options{}), start(t, other, 5, config(100), vrrp.Options{Name: "two"})
		sleep(5 * time.Second)
		one.read()
		two.read()
		group := vrrp.NewGroup()
		for range 100 {
			one.SetGroup(group)
			two.SetGroup(group)
			sleep(0)
			one.SetGroup(nil)
			sleep(0)
		}
		want(t, &one.diary)
		want(t, &two.diary)
	})
}

// Groups change while everything else happens: an instance that has left has no say, whatever it was doing.
func TestGroupHasNoGhosts(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		n := newNetworks()
		d := n.start(t, 1, 100)
		p := newPeer(t, n.v4, 9)
		for i := range 2000 {
			var all sync.WaitGroup
			all.Go(func() { p.send(200, 10*ms) }) // it is a Backup for a while
			all.Go(func() { d.v4.SetFault([]string{"", "cable cut"}[i%2]) })
			all.Go(func() { d.v4.SetGroup(nil) })
			all.Wait()
			sleep(ms)
			if s := d.v6.Status(); s.Gate != "" || s.State == vrrp.Fault {
				t.Fatalf("round %d: %s, %q, at the gate: %q", i, s.State, s.Reason, s.Gate)
			}
			d.v4.SetGroup(d.v6.group)
			sleep(ms)
		}
	})
}

// Three of a group: all wait for the last one, and the fault of one is that of both others.
func TestGroupOfThree(t *testing.T) {
	bubble(t, "SYN-01, SYN-02, SYN-03 of three", func(t *testing.T) {
		group := vrrp.NewGroup()
		var routers []*router
		var segments []*vrrptest.Segment
		for i := range 3 {
			s := vrrptest.NewSegment(uint64(i))
			r := &router{source: host(5), logs: &logBuffer{}, group: group}
			c := config(100)
			c.Interval = time.Duration(i+1) * time.Second
			r.run(t, s, c, vrrp.Options{Name: fmt.Sprintf("vr%d", i)}, func() (vrrp.Conn, error) { return wire{s.Listen(r.source), &r.diary}, nil })
			routers, segments = append(routers, r), append(segments, s)
		}
		all := func(entries ...string) {
			t.Helper()
			for _, r := range routers {
				got := slices.DeleteFunc(r.read(), func(e string) bool { return strings.HasSuffix(e, "send 100") })
				if !slices.Equal(got, entries) {
					t.Errorf("happened:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(entries, "\n\t"))
				}
			}
		}
		sleep(11 * time.Second)
		all("0s initialize to backup: started", "10.828125s take", "10.828125s backup to master: no master heard")
		newPeer(t, segments[1], 9).send(200, time.Second)
		sleep(50 * ms)
		if got := routers[1].read(); len(got) != 2 || got[1] != "11s master to backup: 10.99.0.9 has priority 200" {
			t.Errorf("happened: %q", got)
		}
		for _, i := range []int{0, 2} {
			want(t, &routers[i].diary, "11s master to backup: instance vr1 of the group has given way")
		}
		sleep(15 * time.Second)
		for _, r := range routers {
			wantState(t, r, vrrp.Master)
			r.read()
		}
		routers[2].SetFault("cable cut")
		sleep(0)
		for i, r := range routers {
			wantState(t, r, vrrp.Fault)
			reason := "cable cut"
			if i != 2 {
				reason = "instance vr2 of the group: cable cut"
			}
			if got := r.Status(); got.Reason != reason || got.Counters.PriorityZeroSent != 1 {
				t.Errorf("reason %q, resigned %d times", got.Reason, got.Counters.PriorityZeroSent)
			}
		}
	})
}

// Two directors with a group each live through faults, orders and cuts; when it is over, one of them is Master in both
// networks, and it is the better one.
func TestAnyStoryOfGroupsEndsWithOneMaster(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, fmt.Sprintf("SYN-01 seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			n := newNetworks()
			n.v4.SetDelay(ms)
			n.v6.SetDelay(ms)
			a, b := n.start(t, 1, 150), n.start(t, 2, 100)
			routers := []*router{a.v4, a.v6, b.v4, b.v6}
			for range 60 {
				sleep(time.Duration(random.IntN(5_000_000)) * us)
				r := routers[random.IntN(len(routers))]
				switch random.IntN(10) {
				case 0:
					r.SetFault("cable cut")
				case 1, 2:
					r.SetFault("")
				case 3:
					r.SetGate("not ready")
				case 4, 5:
					r.SetGate("")
				case 6:
					r.StepDown("switchover")
				case 7:
					r.Reclaim(random.IntN(2) == 0)
				case 8:
					r.segment.Partition(r.source)
				case 9:
					r.segment.Partition()
				}
			}
			n.v4.Partition()
			n.v6.Partition()
			for _, r := range routers {
				r.SetFault("")
				r.SetGate("")
				r.Reclaim(false)
			}
			sleep(30 * time.Second)
			a.wantStates(t, vrrp.Master, vrrp.Master)
			b.wantStates(t, vrrp.Backup, vrrp.Backup)
			for _, r := range []*router{b.v4, b.v6} {
				if r.holder.holds() {
					t.Errorf("%s holds the addresses", r.source)
				}
			}
			n.v4.SetDelay(0)
			n.v6.SetDelay(0)
		})
	}
}
