package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"lvsd/test/lab"
)

// An advertisement has room for 255 addresses, so a thousand are several instances.
const (
	manyInstances        = 4
	addressesPerInstance = 250
	manyAddresses        = manyInstances * addressesPerInstance
)

// BenchmarkTakeoverAddresses cuts the cable of a master of 1,000 addresses.
func BenchmarkTakeoverAddresses(b *testing.B) {
	rows := []string{"interval\tpromised silence\ttakeovers\tsilence: median\tworst\tannounced: median\tworst\tgap: median\tworst"}
	for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond} {
		b.Run(interval.String(), func(b *testing.B) { rows = append(rows, takeover(b, interval)) })
	}
	printTable(fmt.Sprintf(`Takeovers of %d addresses in %d instances, times in milliseconds. "silence" is the time from
the last advertisement of the old master to the first of the new one, the longest of the
instances; "announced" that from there until each address has been announced; "gap" the
longest between two advertisements of an instance in the second after that.`, manyAddresses, manyInstances), rows)
}

// takeover repeats the takeover and returns its row of the table.
func takeover(b *testing.B, interval time.Duration) string {
	p := newPair(b, interval, addresses()...)
	var silences, announcements, gaps []time.Duration
	for b.Loop() {
		capture := p.lan.Capture()
		time.Sleep(2 * interval) // an advertisement of the old master
		p.better.Host.Cable("eth2").Cut()
		p.owned(p.other)
		time.Sleep(time.Second + 2*interval) // announcements go on behind
		capture.Stop()

		first, silence := silenceOf(capture, p.other)
		last, announced := lastAnnounced(capture, p.other)
		if announced != manyAddresses {
			b.Fatalf("%s announced %d of %d addresses", p.other.Name, announced, manyAddresses)
		}
		silences = append(silences, silence)
		announcements = append(announcements, max(0, last.Sub(first)))
		gaps = append(gaps, longestGap(capture, p.other))
		p.better.Host.Cable("eth2").Restore()
		p.owned(p.better)
	}

	b.ReportMetric(0, "ns/op") // a takeover takes as long as it is watched
	bound := downInterval(interval)
	silence, worstSilence := spread(silences)
	announced, worstAnnounced := spread(announcements)
	gap, worstGap := spread(gaps)
	b.ReportMetric(milliseconds(bound), "bound-ms")
	b.ReportMetric(milliseconds(silence), "silent-ms-median")
	b.ReportMetric(milliseconds(worstSilence), "silent-ms-worst")
	b.ReportMetric(milliseconds(announced), "announced-ms-median")
	b.ReportMetric(milliseconds(worstAnnounced), "announced-ms-worst")
	b.ReportMetric(milliseconds(worstGap), "gap-ms-worst")
	return fmt.Sprintf("%v\tat most %.1f\t%d\t%s\t%s\t%s", interval, milliseconds(bound), len(gaps),
		inMilliseconds(silence, worstSilence), inMilliseconds(announced, worstAnnounced), inMilliseconds(gap, worstGap))
}

// addresses returns the virtual addresses of the instances; the VIP is the first.
func addresses() [][]netip.Prefix {
	all := make([][]netip.Prefix, manyInstances)
	for i := range all {
		for n := range addressesPerInstance {
			address := netip.AddrFrom4([4]byte{10, 0, byte(i + 1), byte(n + 1)})
			if i == 0 && n == 0 {
				address = vip
			}
			all[i] = append(all[i], netip.PrefixFrom(address, 32))
		}
	}
	return all
}

// silenceOf returns when a new master first advertised any instance, and the
// longest time that an instance was without an advertisement until then.
func silenceOf(c *lab.Capture, master *lab.Director) (first time.Time, longest time.Duration) {
	last := map[uint8]time.Time{}
	taken := map[uint8]bool{}
	for _, v := range c.VRRP() {
		switch {
		case taken[v.VRID]:
		case v.Cable.Host == master.Host:
			taken[v.VRID] = true
			if first.IsZero() {
				first = v.Time
			}
			if before, ok := last[v.VRID]; ok {
				longest = max(longest, v.Time.Sub(before))
			}
		default:
			last[v.VRID] = v.Time
		}
	}
	return first, longest
}

// lastAnnounced returns when a director had announced each address that it has
// announced once, and how many those are.
func lastAnnounced(c *lab.Capture, d *lab.Director) (last time.Time, count int) {
	seen := map[netip.Addr]bool{}
	for _, a := range c.ARP() {
		if a.Gratuitous() && a.Cable.Host == d.Host && !seen[a.SenderAddr] {
			seen[a.SenderAddr] = true
			last = a.Time
		}
	}
	return last, len(seen)
}

// longestGap returns the longest time between two advertisements of an instance
// by a director.
func longestGap(c *lab.Capture, d *lab.Director) time.Duration {
	var longest time.Duration
	last := map[uint8]time.Time{}
	for _, v := range c.VRRP() {
		if v.Cable.Host != d.Host {
			continue
		}
		if before, ok := last[v.VRID]; ok {
			longest = max(longest, v.Time.Sub(before))
		}
		last[v.VRID] = v.Time
	}
	return longest
}
