package bench

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// busyTime is an iteration: a minute in the five that eventsPerBenchmark asks for.
const busyTime = 12 * time.Second

// BenchmarkFalseTakeovers keeps the processors of the machine busy, lets lvsd and
// then keepalived advertise every 10 ms, and counts how often a daemon becomes
// master although nothing is wrong.
func BenchmarkFalseTakeovers(b *testing.B) {
	const busy = 4
	interval := 10 * time.Millisecond
	rows := []string{"program\tseconds\ttakeovers\tof them without a pause\tpauses\tlongest"}
	for _, program := range programs {
		b.Run(program.name, func(b *testing.B) {
			d := newDuel(b, interval)
			s := program.begin(d, []netip.Prefix{netip.PrefixFrom(vip, 24)})
			for range busy {
				d.prober.Process("sh", "-c", "while :; do :; done").Start()
			}
			watched := watchPauses(b, interval)
			var mu sync.Mutex
			var takeovers []time.Time
			for _, daemon := range []*daemon{s.better, s.other} {
				daemon.takeovers(func() {
					mu.Lock()
					defer mu.Unlock()
					takeovers = append(takeovers, time.Now())
				})
			}
			begin := time.Now()
			for b.Loop() {
				time.Sleep(busyTime)
			}
			elapsed := time.Since(begin)
			all := watched.end()
			mu.Lock()
			defer mu.Unlock()
			inexcusable := 0
			for _, at := range takeovers {
				if !excused(at, all) {
					inexcusable++
				}
			}
			var longest time.Duration
			for _, p := range all {
				longest = max(longest, p.to.Sub(p.from))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(takeovers)), "takeovers")
			b.ReportMetric(float64(inexcusable), "inexcusable")
			b.ReportMetric(float64(len(all)), "pauses")
			rows = append(rows, fmt.Sprintf("%s\t%.0f\t%d\t%d\t%d\t%.1f ms", s.name, elapsed.Seconds(), len(takeovers),
				inexcusable, len(all), milliseconds(longest)))
			if len(takeovers) > 0 && testing.Verbose() {
				s.tell(b, begin)
			}
		})
	}
	printTable(fmt.Sprintf(`Takeovers for no reason, with %d busy processes on the machine and an advertisement every %v.
In a pause a processor does not run even the real-time thread that watches it, for longer than
that: so a virtual machine is treated by a busy host, and no daemon on it can be in time.`, busy, interval), rows)
}
