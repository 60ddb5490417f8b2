package vrrp_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsd/vrrp"
)

// still is a Holder that does nothing.
type still struct{}

func (still) Take(context.Context) error    { return nil }
func (still) Announce()                     {}
func (still) Release(context.Context) error { return nil }

// runOn runs an instance on eth0 of a machine.
func runOn(t *testing.T, m *machine, config vrrp.Config) *vrrp.Instance {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	linkContext, stopLink := context.WithCancel(context.Background())
	link := vrrp.NewLink("eth0", func() (vrrp.Conn, error) { return m.listen() }, slog.New(slog.DiscardHandler))
	ended := make(chan error, 2)
	go func() { ended <- link.Run(linkContext) }()
	i := vrrp.NewInstance(link, config, still{}, vrrp.Options{Name: "web"})
	go func() { ended <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		stopLink()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return i
}

// A host on the segment sends ten thousand bad packets a second: to a Master, then
// to a Backup. Neither loses its state or its peer, and all is counted.
func TestRealFloodOfHostilePackets(t *testing.T) {
	for name, priority := range map[string]uint8{"to a master": 150, "to a backup": 50} {
		t.Run(name, func(t *testing.T) {
			a, b := cable(t)
			c := config(priority)
			c.Interval = 500 * time.Millisecond
			target := runOn(t, a, c)
			c.Priority = 100
			peer := runOn(t, b, c)
			want, other := vrrp.Master, vrrp.Backup
			if priority < 100 {
				want, other = other, want
			}
			for begin := time.Now(); target.Status().State != want || peer.Status().State != other; time.Sleep(10 * time.Millisecond) {
				if time.Since(begin) > 20*time.Second {
					t.Fatalf("no master after 20 s: %s and %s", target.Status().State, peer.Status().State)
				}
			}
			time.Sleep(c.Interval)
			before, peerBefore := target.Status(), peer.Status()
			const perSecond, seconds = 10_000, 4
			sent := flood(t, b, perSecond, seconds)
			time.Sleep(c.Interval)
			after, peerAfter := target.Status(), peer.Status()

			if after.State != want || after.Since != before.Since || peerAfter.State != other || peerAfter.Since != peerBefore.Since {
				t.Errorf("%s since %s and %s since %s, want nothing changed: %s and %s", after.State, after.Since, peerAfter.State, peerAfter.Since, after.Reason, peerAfter.Reason)
			}
			var dropped uint64
			for reason, n := range after.Counters.Dropped {
				dropped += n - before.Counters.Dropped[reason]
			}
			// The kernel may have had no room for some.
			if dropped < sent/2 || dropped > sent {
				t.Errorf("%d dropped of %d that were sent: %v", dropped, sent, after.Counters.Dropped)
			}
			for _, reason := range []vrrp.DropReason{vrrp.DropTTL, vrrp.DropVersion, vrrp.DropType, vrrp.DropChecksum, vrrp.DropTruncated} {
				if after.Counters.Dropped[reason] == 0 {
					t.Errorf("nothing was dropped for its %s", reason)
				}
			}
			heard := peerAfter.Counters.Received - peerBefore.Counters.Received
			if want == vrrp.Backup {
				heard = after.Counters.Received - before.Counters.Received
			}
			if due := uint64(seconds * time.Second / c.Interval); heard < due-1 {
				t.Errorf("%d advertisements were heard during the flood, want %d", heard, due)
			}
		})
	}
}

// flood sends bad packets to the group from the machine, at a rate, for some
// seconds, and returns how many that were.
func flood(t *testing.T, m *machine, perSecond, seconds int) (sent uint64) {
	t.Helper()
	good, err := vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: vips}.Marshal(host(9), group)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		b := slices.Clone(good)
		b[at] = v
		return b
	}
	bad := [][]byte{
		ipv4(host(9), 254, good),                 // from another network
		ipv4(host(9), 255, change(0, 0x21)),      // version 2
		ipv4(host(9), 255, change(0, 0x32)),      // no advertisement
		ipv4(host(9), 255, change(7, good[7]+1)), // checksum
		ipv4(host(9), 255, good[:10]),
		ipv4(host(2), 255, change(2, 0)), // in the name of the peer: it resigns
	}
	m.in(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.BindToDevice(fd, "eth0"); err != nil {
			t.Error(err)
			return
		}
		begin := time.Now()
		for int(sent) < perSecond*seconds && time.Since(begin) < 4*time.Duration(seconds)*time.Second {
			due := uint64(time.Since(begin).Seconds() * float64(perSecond))
			for ; sent < min(due, uint64(perSecond*seconds)); sent++ {
				if err := unix.Sendto(fd, bad[int(sent)%len(bad)], 0, &unix.SockaddrInet4{Addr: group.As4()}); err != nil {
					t.Error(err)
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	return sent
}

// ipv4 puts an IPv4 header before a message to the group.
func ipv4(source netip.Addr, ttl byte, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, ttl, 112
	copy(b[12:], source.AsSlice())
	copy(b[16:], group.AsSlice())
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}
