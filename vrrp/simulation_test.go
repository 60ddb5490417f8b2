package vrrp_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// simulation runs machines without goroutines: time is a number, and one thing happens after the other.
type simulation struct {
	t       *rapid.T
	now     time.Duration
	nodes   []*node
	packets []flight
	delay   time.Duration
	lose    func() bool
	trace   []string
}

// node is a machine with what its runner would keep.
type node struct {
	name    int
	config  vrrp.Config
	machine *vrrp.Machine
	timers  map[vrrp.Timer]time.Duration // armed, and when they run out
	holds   bool
	alive   bool
	fault   bool
	leaving bool          // it has stepped down and has heard no successor
	side    int           // of a partition
	frozen  time.Duration // until when
	inbox   []vrrp.Received
}

// flight is an advertisement on its way.
type flight struct {
	at time.Duration
	to *node
	ev vrrp.Received
}

func (s *simulation) step(n *node, ev vrrp.Event, at time.Duration) {
	before := n.machine.State()
	actions := n.machine.Step(ev)
	switch ev := ev.(type) {
	case vrrp.StepDown:
		n.leaving = n.leaving || before == vrrp.Master
	case vrrp.Received:
		n.leaving = n.leaving && ev.Advertisement.Priority == 0
	default:
	}
	n.leaving = n.leaving && n.machine.State() == vrrp.Backup
	s.trace = append(s.trace, fmt.Sprintf("%v node %d in %s: %T%+v gives %+v", s.now, n.name, before, ev, ev, actions))
	for _, a := range actions {
		switch a := a.(type) {
		case vrrp.Take:
			n.holds = true
		case vrrp.Release:
			if !n.holds {
				s.t.Fatalf("node %d releases what it does not hold", n.name)
			}
			n.holds = false
		case vrrp.Send:
			s.send(n, a)
		case vrrp.Arm:
			deadline := at + a.After
			if late := s.now - deadline; late > 0 {
				deadline += (late/a.After + 1) * a.After
			}
			n.timers[a.Timer] = deadline
		case vrrp.Shift:
			if _, ok := n.timers[a.Timer]; ok {
				n.timers[a.Timer] += a.By
			}
		case vrrp.Cancel:
			delete(n.timers, a.Timer)
		case vrrp.Done:
			n.alive = false
			clear(n.timers)
		case vrrp.Announce, vrrp.Transition:
		}
	}
	s.check(n)
}

// check is what is true of every machine after every step.
func (s *simulation) check(n *node) {
	armed := func(t vrrp.Timer) bool { _, ok := n.timers[t]; return ok }
	state := n.machine.State()
	rule := func(ok bool, text string) {
		if !ok {
			s.t.Fatalf("node %d in %s at %v: %s", n.name, state, s.now, text)
		}
	}
	rule(n.holds == n.machine.Holding(), "what it thinks it holds is what it holds")
	rule(armed(vrrp.AdvertTimer) == (state == vrrp.Master), "a Master, and no other, has an armed advertisement timer")
	rule(!armed(vrrp.DownTimer) || state == vrrp.Backup, "nobody but a Backup has an armed down timer")
	rule(!armed(vrrp.PreemptTimer) || state == vrrp.Backup, "nobody but a Backup bears with another one")
	rule(!armed(vrrp.RivalTimer) || state == vrrp.Master, "nobody but a Master has rivals")
	rule(!n.machine.Waiting() || state == vrrp.Backup && n.machine.Gated(), "nobody waits but a Backup at a shut gate")
	rule(!n.machine.Aside() || state != vrrp.Master, "a Master has not stepped down")
	switch state {
	case vrrp.Master:
		rule(n.holds, "a Master holds the addresses")
		rule(!armed(vrrp.ReleaseTimer), "a Master is not about to release")
	case vrrp.Backup:
		rule(armed(vrrp.DownTimer) || n.machine.Waiting(), "a Backup has an armed down timer, or waits at a gate")
		rule(!n.holds || armed(vrrp.ReleaseTimer) || n.machine.Adopting() || n.leaving, "a Backup holds no addresses after the linger")
		rule(!n.leaving || n.holds, "who has stepped down holds the addresses until somebody has taken over")
		rule(!armed(vrrp.HandoverTimer) || n.leaving, "nobody hands over but who has stepped down")
	case vrrp.Fault:
		rule(!n.holds, "in Fault there are no addresses")
	case vrrp.Initialize:
		rule(n.alive == n.holds, "what has ended holds nothing, what holds has not ended")
		rule(!n.alive || armed(vrrp.HandoverTimer) != armed(vrrp.ReleaseTimer), "a hand-over is under way")
	}
}

func (s *simulation) send(n *node, a vrrp.Send) {
	if n.fault && a.Priority != 0 {
		return
	}
	c := n.machine.Config()
	ev := vrrp.Received{
		Advertisement: vrrp.Advertisement{Version: cmp.Or(c.Version, vrrp.Version3), VRID: c.VRID, Priority: a.Priority, Interval: cmp.Or(a.Interval, c.Interval), Addresses: c.Addresses},
		Source:        host(n.name),
	}
	for _, to := range s.nodes {
		if to != n && to.side == n.side && !s.lose() {
			s.packets = append(s.packets, flight{s.now + s.delay, to, ev})
		}
	}
}

// run lets time pass.
func (s *simulation) run(d time.Duration) {
	end := s.now + d
	for {
		// The next thing that happens; a frozen node finds everything when it wakes.
		at, act := end, func() {}
		consider := func(t time.Duration, f func()) {
			if t = max(t, s.now); t < at {
				at, act = t, f
			}
		}
		for i, p := range s.packets {
			consider(p.at, func() {
				s.packets = slices.Delete(s.packets, i, i+1)
				if p.to.alive {
					p.to.inbox = append(p.to.inbox, p.ev)
				}
			})
		}
		for _, n := range s.nodes {
			if !n.alive {
				continue
			}
			for _, timer := range vrrp.Timers() {
				if deadline, ok := n.timers[timer]; ok {
					consider(max(deadline, n.frozen), func() { s.expire(n, timer, deadline) })
				}
			}
			if len(n.inbox) > 0 {
				consider(n.frozen, func() { s.hear(n) })
			}
		}
		s.now = at
		if at == end {
			return
		}
		act()
	}
}

// expire runs as the loop of an Instance does: the inbox is read before a down timer is believed.
func (s *simulation) expire(n *node, timer vrrp.Timer, deadline time.Duration) {
	if timer == vrrp.DownTimer {
		for len(n.inbox) > 0 {
			s.hear(n)
		}
		if d, ok := n.timers[timer]; !n.alive || !ok || d != deadline {
			return
		}
	}
	delete(n.timers, timer)
	s.step(n, vrrp.Expired{Timer: timer, Late: s.now - deadline}, deadline)
}

func (s *simulation) hear(n *node) {
	ev := n.inbox[0]
	n.inbox = n.inbox[1:]
	s.step(n, ev, s.now)
}

// start begins a machine, perhaps on the addresses that its predecessor left when it was killed.
func (s *simulation) start(n *node) {
	*n = node{name: n.name, config: n.config, machine: vrrp.NewMachine(n.config), timers: make(map[vrrp.Timer]time.Duration), alive: true, side: n.side, holds: n.holds}
	n.machine.Step(vrrp.SourceChanged{Source: host(n.name)})
	s.step(n, vrrp.Startup{Holding: n.holds}, s.now)
}

// Two to five routers live through everything that can happen; when it is over, exactly one of them is Master, and
// nobody else holds the addresses.
func TestAnyStoryEndsWithOneMaster(t *testing.T) {
	t.Run("FSM-33 version 3", func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { story(t, vrrp.Version3) }) })
	t.Run("FSM-33 version 2", func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { story(t, vrrp.Version2) }) })
}

func story(t *rapid.T, version vrrp.Version) {
	loss := 0
	s := &simulation{t: t, lose: func() bool { return loss > 0 && rapid.IntRange(1, 100).Draw(t, "luck") <= loss }}
	defer func() {
		if t.Failed() {
			for _, line := range s.trace[max(0, len(s.trace)-60):] {
				t.Log(line)
			}
		}
	}()
	s.delay = time.Duration(rapid.IntRange(0, 3000).Draw(t, "delay in us")) * us
	intervals := rapid.SampledFrom([]time.Duration{10 * ms, 100 * ms, 500 * ms, time.Second, 2 * time.Second})
	if version == vrrp.Version2 { // where all routers must have the same
		intervals = rapid.Just(rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Second}).Draw(t, "interval of all"))
	}
	draw := func() vrrp.Config {
		return vrrp.Config{
			Version: version,
			VRID:    51, Priority: rapid.SampledFrom([]uint8{1, 50, 99, 100, 100, 101, 200, 254, 255}).Draw(t, "priority"),
			Interval: intervals.Draw(t, "interval"), Preempt: rapid.Bool().Draw(t, "preempt"), Addresses: vips,
			PreemptDelay: rapid.SampledFrom([]time.Duration{0, 0, 100 * ms, 3 * time.Second}).Draw(t, "preempt delay"),
		}
	}
	for i := range rapid.IntRange(2, 5).Draw(t, "routers") {
		n := &node{name: i + 1, config: draw()}
		s.nodes = append(s.nodes, n)
		s.start(n)
	}
	pick := rapid.SampledFrom(s.nodes)
	for range rapid.IntRange(0, 60).Draw(t, "events") {
		n := pick.Draw(t, "router")
		tell := func(ev vrrp.Event) {
			if n.alive && n.frozen <= s.now {
				s.step(n, ev, s.now)
			}
		}
		switch rapid.SampledFrom([]string{
			"wait", "wait", "wait", "stop", "kill", "start", "fault", "recover", "configure", "freeze", "partition", "heal", "loss",
			"shut", "open", "step down", "give way", "reclaim", "reclaim now",
		}).Draw(t, "what") {
		case "wait":
			s.run(time.Duration(rapid.IntRange(0, 5_000_000).Draw(t, "for us")) * us)
		case "stop":
			tell(vrrp.Shutdown{})
		case "kill": // the addresses stay on the interface
			n.alive = false
			clear(n.timers)
		case "start":
			if !n.alive {
				s.start(n)
			}
		case "fault":
			if n.alive && n.frozen <= s.now {
				n.fault = true
				s.step(n, vrrp.Failed{Reason: "cable cut"}, s.now)
			}
		case "recover":
			if n.alive && n.frozen <= s.now {
				n.fault = false
				s.step(n, vrrp.Recovered{}, s.now)
			}
		case "configure":
			n.config = draw()
			tell(vrrp.Configure{Config: n.config})
		case "freeze":
			n.frozen = s.now + time.Duration(rapid.IntRange(0, 10_000_000).Draw(t, "freeze us"))*us
		case "partition":
			n.side = 1 - n.side
		case "heal":
			for _, n := range s.nodes {
				n.side = 0
			}
		case "loss":
			loss = rapid.IntRange(0, 60).Draw(t, "loss")
		case "shut":
			tell(vrrp.Gate{Reason: "not ready"})
		case "open":
			tell(vrrp.Gate{})
		case "step down":
			tell(vrrp.StepDown{Reason: "switchover", Resign: true})
		case "give way":
			tell(vrrp.StepDown{Reason: "another one of the group has given way"})
		case "reclaim":
			tell(vrrp.Reclaim{})
		case "reclaim now":
			tell(vrrp.Reclaim{Now: true})
		}
	}
	s.repair(&loss)
	s.settled()
}

// repair ends everything that keeps a router from its place, and waits; whoever is stopping has stopped then.
func (s *simulation) repair(loss *int) {
	*loss = 0
	for _, n := range s.nodes {
		n.side = 0
		if !n.alive {
			continue
		}
		s.run(max(0, n.frozen-s.now))
		if !n.alive {
			continue
		}
		if n.fault && n.machine.State() == vrrp.Fault {
			n.fault = false
			s.step(n, vrrp.Recovered{}, s.now)
		}
		s.step(n, vrrp.Gate{}, s.now)
		s.step(n, vrrp.Reclaim{}, s.now)
	}
	s.run(30 * time.Second)
	if !slices.ContainsFunc(s.nodes, func(n *node) bool { return n.alive }) {
		s.start(s.nodes[0])
		s.run(30 * time.Second)
	}
}

// settled is what is true in the end.
func (s *simulation) settled() {
	var masters []*node
	best, preempt := uint8(0), true
	for _, n := range s.nodes {
		if n.alive && n.machine.State() == vrrp.Master {
			masters = append(masters, n)
		} else if n.alive && n.holds {
			s.t.Errorf("node %d is %s and holds the addresses", n.name, n.machine.State())
		}
		if n.alive {
			c := n.machine.Config() // what was drawn for a frozen one has not reached it
			best = max(best, c.Priority)
			preempt = preempt && c.Preempt
		}
	}
	if len(masters) != 1 {
		s.t.Fatalf("%d masters", len(masters))
	}
	if preempt && masters[0].machine.Config().Priority != best {
		s.t.Errorf("node %d of priority %d is master, somebody has %d", masters[0].name, masters[0].machine.Config().Priority, best)
	}
}

// The same with real instances on a segment that loses, doubles and delays.
func TestBadSegmentEndsWithOneMaster(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			s := vrrptest.NewSegment(seed)
			s.SetLoss(0.3)
			s.SetDuplicate(0.3)
			s.SetDelay(5 * ms)
			c := func(priority uint8) vrrp.Config {
				c := config(priority)
				c.Interval = 100 * ms
				return c
			}
			routers := []*router{
				start(t, s, 1, c(100), vrrp.Options{}), start(t, s, 2, c(100), vrrp.Options{}), start(t, s, 3, c(200), vrrp.Options{Holding: true}),
			}
			for i := range 600 { // ten minutes
				if i%100 == 50 {
					s.Partition(routers[i%3].source)
				} else if i%100 == 80 {
					s.Partition()
				}
				sleep(time.Second)
			}
			s.SetLoss(0)
			s.SetDuplicate(0)
			sleep(time.Second)
			for i, r := range routers {
				state := vrrp.Backup
				if i == 2 {
					state = vrrp.Master
				}
				wantState(t, r, state)
				if r.holder.holds() != (state == vrrp.Master) {
					t.Errorf("%s is %s, holds: %v", r.source, state, r.holder.holds())
				}
			}
			s.SetDelay(0)
		})
	}
}
