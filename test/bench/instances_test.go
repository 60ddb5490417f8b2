package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"lvsd/test/lab"
)

// measuredTime is an iteration: 20 s in the five that eventsPerBenchmark asks for.
const measuredTime = 4 * time.Second

// BenchmarkManyInstances looks at what lvsd, and then keepalived, need for all the
// instances that there can be on an interface.
func BenchmarkManyInstances(b *testing.B) {
	const most = 255
	var instances [][]netip.Prefix
	for i := range most {
		instances = append(instances, []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)}), 32)})
	}
	rows := []string{"program\trole\tprocesses\tCPU s\tRSS MiB"}
	for _, program := range programs {
		b.Run(program.name, func(b *testing.B) {
			d := newDuel(b, time.Second)
			s := program.begin(d, instances...)
			all := func(h *lab.Host) bool {
				return len(h.Addresses("eth2")) == 1+most
			}
			d.Eventually(patience, "all addresses on "+d.better.Name, func() bool { return all(d.better) && len(d.other.Addresses("eth2")) == 1 })
			time.Sleep(patience / 3) // keepalived announces each address again after 5 s
			begin, before := time.Now(), []time.Duration{s.better.cpuTime(), s.other.cpuTime()}
			for b.Loop() {
				time.Sleep(measuredTime)
			}
			share := 20 / time.Since(begin).Seconds()
			b.ReportMetric(0, "ns/op")
			for i, role := range []string{"master", "backup"} {
				daemon := []*daemon{s.better, s.other}[i]
				used := (daemon.cpuTime() - before[i]).Seconds() * share
				memory := float64(daemon.memory()) / (1 << 20)
				b.ReportMetric(used, role+"-CPU-s")
				b.ReportMetric(memory, role+"-MiB")
				rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%.2f\t%.1f", s.name, role, len(daemon.family()), used, memory))
			}
		})
	}
	printTable(fmt.Sprintf(`What %d instances of one address each, which advertise once a second, need: CPU time, of user and
system, in 20 s, and resident memory, pages that processes share counted in each.`, most), rows)
}
