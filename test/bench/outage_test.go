package bench

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkOutage moves the VIP between two directors while a third host sends it
// 1,000 probes a second.
func BenchmarkOutage(b *testing.B) {
	rows := []string{"event\tinterval\tpromised\tevents\tlost: median\tworst\toutage: median\tworst\tsilence: median\tworst\tlate"}
	for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond} {
		b.Run(interval.String(), func(b *testing.B) {
			for _, e := range []event{handover, preemption, cut} {
				b.Run(e.name, func(b *testing.B) { rows = append(rows, outage(b, interval, e)) })
			}
		})
	}
	printTable(`Outages seen by 1,000 probes a second, times in milliseconds. "lost" are probes, "outage" is
the longest time without an answer, "silence" that between the last advertisement of the
old master and the first of the new one, which is what the promise binds. No outage is
known more exactly than "late", by which the latest probe missed its time.`, rows)
}

// outage repeats one event and returns its row of the table.
func outage(b *testing.B, interval time.Duration, e event) string {
	p := webPair(b, interval)
	var lost []int
	var outages, silences []time.Duration
	var late time.Duration
	for b.Loop() {
		o := p.observe(e)
		lost = append(lost, o.lost)
		outages = append(outages, o.outage)
		silences = append(silences, o.silence)
		late = max(late, o.late)
		if e.name != cut.name && o.lost > 0 {
			b.Logf("%s at %v, probes up to %v late:\n%s", e.name, interval, o.late, o.story)
		}
	}

	promised := "no probe lost"
	lostMedian, lostWorst := spread(lost)
	outageMedian, outageWorst := spread(outages)
	silenceMedian, silenceWorst := spread(silences)
	silent := "-\t-"
	b.ReportMetric(0, "ns/op") // an event takes as long as it is watched
	b.ReportMetric(float64(lostMedian), "lost-median")
	b.ReportMetric(float64(lostWorst), "lost-worst")
	b.ReportMetric(milliseconds(outageMedian), "outage-ms-median")
	b.ReportMetric(milliseconds(outageWorst), "outage-ms-worst")
	b.ReportMetric(milliseconds(late), "late-ms-worst")
	if e.name == cut.name {
		bound := downInterval(interval)
		promised = fmt.Sprintf("at most %.1f", milliseconds(bound))
		silent = inMilliseconds(silenceMedian, silenceWorst)
		b.ReportMetric(milliseconds(bound), "bound-ms")
		b.ReportMetric(milliseconds(silenceMedian), "silent-ms-median")
		b.ReportMetric(milliseconds(silenceWorst), "silent-ms-worst")
	}
	return fmt.Sprintf("%s\t%v\t%s\t%d\t%d\t%d\t%s\t%s\t%.1f", e.name, interval, promised, len(lost),
		lostMedian, lostWorst, inMilliseconds(outageMedian, outageWorst), silent, milliseconds(late))
}
