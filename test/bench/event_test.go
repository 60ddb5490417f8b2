package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"lvsd/test/lab"
)

const (
	probesPerSecond = 1000

	// steady is how long there are probes before an event, and again after it.
	steady = 300 * time.Millisecond
)

// An event makes the VIP change its owner. Before prepare, and after restore, the
// better director is master.
type event struct {
	name                      string
	prepare, trigger, restore func(*pair)
	owner                     func(*pair) *lab.Director // after trigger
}

func theBetter(p *pair) *lab.Director { return p.better }
func theOther(p *pair) *lab.Director  { return p.other }

var (
	handover = event{
		name:    "handover", // the master is told to end
		prepare: func(*pair) {},
		trigger: (*pair).stop,
		owner:   theOther,
		restore: func(p *pair) { p.better.Start() },
	}
	preemption = event{
		name:    "preemption", // the better director returns
		prepare: (*pair).stop,
		trigger: func(p *pair) { p.better.Start() },
		owner:   theBetter,
		restore: func(*pair) {},
	}
	cut = event{
		name:    "cut", // the master's cable is cut
		prepare: func(*pair) {},
		trigger: func(p *pair) { p.better.Host.Cable("eth2").Cut() },
		owner:   theOther,
		restore: func(p *pair) { p.better.Host.Cable("eth2").Restore() },
	}
)

// An observation is what came of one event.
type observation struct {
	lost    int
	outage  time.Duration // the longest
	silence time.Duration // between the last advertisement of the old master and the first of the new one
	late    time.Duration // of the latest probe: no outage is known more exactly
	story   string        // what was on the wire about the outages, if there were any
}

// observe probes the VIP while it changes its owner.
func (p *pair) observe(e event) observation {
	p.Helper()
	e.prepare(p)
	owner := e.owner(p)
	old := p.better
	if owner == p.better {
		old = p.other
	}
	p.owned(old)

	capture := p.lan.Capture()
	time.Sleep(p.interval) // an advertisement of the old master
	pings := p.prober.Pings(lab.VIP, probesPerSecond)
	// The events must not fall on always the same moment between two advertisements.
	time.Sleep(steady + rand.N(p.interval))
	e.trigger(p)
	p.owned(owner)
	time.Sleep(steady)
	report := pings.Stop()
	capture.Stop()
	p.owned(owner)

	_, silence := silenceOf(capture, owner)
	o := observation{
		lost:    report.Lost,
		outage:  lab.Longest(report.Outages).Duration(),
		silence: silence,
		late:    report.Late,
		story:   story(capture, report.Outages),
	}
	e.restore(p)
	p.owned(p.better)
	return o
}

// story tells the outages and what the directors sent from a little before each
// to a little after it.
func story(c *lab.Capture, outages []lab.Outage) string {
	const around, clock = 50 * time.Millisecond, "15:04:05.0000"
	var b strings.Builder
	for _, o := range outages {
		fmt.Fprintf(&b, "%d probes lost, sent from %s to %s\n", o.Lost, o.From.Format(clock), o.To.Format(clock))
		near := func(f lab.Frame) bool { return f.Time.After(o.From.Add(-around)) && f.Time.Before(o.To.Add(around)) }
		for _, v := range c.VRRP() {
			if near(v.Frame) {
				fmt.Fprintf(&b, "  %s %s advertises with priority %d\n", v.Time.Format(clock), v.Cable.Host.Name, v.Priority)
			}
		}
		for _, a := range c.Gratuitous(vip) {
			if near(a.Frame) {
				fmt.Fprintf(&b, "  %s %s announces\n", a.Time.Format(clock), a.Cable.Host.Name)
			}
		}
	}
	return b.String()
}
