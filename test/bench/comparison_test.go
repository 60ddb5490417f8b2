package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"lvsd/test/lab"
)

// repetitions is how often each blow is struck in an iteration: 20 times in the
// five that eventsPerBenchmark asks for.
const repetitions = 4

// BenchmarkComparison strikes lvsd and keepalived in the same ways while a
// neighbour sends their addresses 1,000 probes a second.
func BenchmarkComparison(b *testing.B) {
	rows := []string{"event\tinterval\tevents\tlvsd: median\tworst\tkeepalived: median\tworst\tlvsd/keepalived\tlate"}
	for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond} {
		b.Run(interval.String(), func(b *testing.B) {
			for _, w := range blows {
				b.Run(w.name, func(b *testing.B) { rows = append(rows, comparison(b, interval, w)) })
			}
		})
	}
	printTable(`Outages of lvsd and keepalived, seen by 1,000 probes a second: the longest time without an answer,
in milliseconds. The last but one column compares the medians. No outage is known more exactly
than "late", by which the latest probe missed its time. After kill -9 of everything nobody starts
the daemon again before the other one is master: meanwhile the kernel of the dead one answers.`, rows)
}

// comparison repeats one blow and returns its row of the table.
func comparison(b *testing.B, interval time.Duration, w blow) string {
	d := newDuel(b, interval)
	lvsd := d.startLVSD([]netip.Prefix{netip.PrefixFrom(vip, 24)})
	keepalived := d.startKeepalived([]netip.Prefix{netip.MustParsePrefix("192.168.50.200/24")})
	turns := [][]*side{{lvsd}, {keepalived}}
	if w.common || interval >= 100*time.Millisecond {
		// What one does on the processors for a few milliseconds does not show in the outages of
		// the other one, and they wait together.
		turns = [][]*side{{lvsd, keepalived}}
	}
	outages := map[*side][]time.Duration{}
	var late time.Duration
	for b.Loop() {
		for range repetitions {
			for _, sides := range turns {
				for i, report := range d.observe(w, sides) {
					outages[sides[i]] = append(outages[sides[i]], lab.Longest(report.Outages).Duration())
					late = max(late, report.Late)
				}
			}
		}
	}

	b.ReportMetric(0, "ns/op") // an event takes as long as it is watched
	row := fmt.Sprintf("%s\t%v\t%d", w.title, interval, len(outages[lvsd]))
	medians := map[*side]time.Duration{}
	for _, s := range []*side{lvsd, keepalived} {
		median, worst := spread(outages[s])
		medians[s] = median
		row += "\t" + inMilliseconds(median, worst)
		b.ReportMetric(milliseconds(median), s.name+"-ms-median")
		b.ReportMetric(milliseconds(worst), s.name+"-ms-worst")
	}
	b.ReportMetric(milliseconds(late), "late-ms-worst")
	return row + "\t" + ratio(medians[lvsd], medians[keepalived]) + fmt.Sprintf("\t%.1f", milliseconds(late))
}

// ratio prints how often b is in a.
func ratio(a, b time.Duration) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a)/float64(b))
}
