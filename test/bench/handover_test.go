package bench

import (
	"testing"
	"time"
)

const (
	// quiet is by how much a probe may miss its time on a machine that was quiet
	// enough to judge by. The directors run on the same processors.
	quiet = 20 * time.Millisecond

	attempts = 3
)

// TestHandoverAndPreemptionLoseNoProbe moves the VIP on purpose, there and back.
func TestHandoverAndPreemptionLoseNoProbe(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(interval.String(), func(t *testing.T) {
			p := webPair(t, interval)
			for _, e := range []event{handover, preemption} {
				t.Run(e.name, func(t *testing.T) { losesNone(t, p, e) })
			}
		})
	}
}

// losesNone fails if an event loses a probe while the machine is quiet. One that
// is never quiet proves only that there is exactly one owner afterwards.
func losesNone(t *testing.T, p *pair, e event) {
	t.Helper()
	for range attempts {
		o := p.observe(e)
		if o.late > quiet {
			t.Logf("NOISE: a probe was sent %v late, %d were lost: once more\n%s", o.late, o.lost, o.story)
			continue
		}
		if o.lost > 0 {
			t.Errorf("%d probes lost in %v, none of them sent later than %v:\n%s", o.lost, o.outage, o.late, o.story)
		}
		return
	}
	t.Logf("NOT PROVEN: the machine was too noisy %d times to tell whether a probe is lost; the VIP has one owner", attempts)
}
