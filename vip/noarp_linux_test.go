package vip_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// An interface that resolves no neighbours sends nothing and is no error, again
// and again; the same interface with ARP sends.
func TestInterfaceWithoutARPIsSilentOnTheWire(t *testing.T) {
	t.Run("GARP-13", func(t *testing.T) {
		h, n := pair(t)
		linux := h.open()
		both := viptest.Addresses("eth0", "10.0.0.100/24", "2001:db8::100/64")
		for _, a := range both {
			if err := linux.Add(a, vip.Attributes{}); err != nil {
				t.Fatal(err)
			}
		}
		h.set("eth0", h.LinkSetARPOff)
		// One socket for each type: what the kernels say to each other is other ICMPv6.
		arps, advertisements := n.hear("eth0", unix.ETH_P_ARP), n.hear("eth0", unix.ETH_P_IPV6)
		announcer := vip.NewAnnouncer(vip.AnnouncerOptions{Link: linux.Link, Spacing: 10 * time.Millisecond})
		ctx, cancel := context.WithCancel(context.Background())
		running := h.start(func() error { return announcer.Run(ctx) })
		if err := announcer.Announce(t.Context(), both); err != nil {
			t.Errorf("Announce without ARP: %v", err)
		}
		if a, na := arps(200*time.Millisecond), advertisements(10*time.Millisecond); a+na > 0 {
			t.Errorf("%d ARP messages and %d neighbour advertisements without ARP", a, na)
		}
		if s := announcer.Status(); s.Errors != 0 || s.Sent != 0 || len(s.Failing) != 0 {
			t.Errorf("status %+v", s)
		}

		h.set("eth0", h.LinkSetARPOn)
		if err := announcer.Announce(t.Context(), both); err != nil {
			t.Fatal(err)
		}
		if a, na := arps(300*time.Millisecond), advertisements(10*time.Millisecond); a != 10 || na != 5 {
			t.Errorf("%d ARP messages and %d neighbour advertisements in a burst, want 10 and 5", a, na)
		}
		cancel()
		if err := running(); err != nil {
			t.Error(err)
		}
	})
}

// hear listens for frames of an EtherType. The function that it returns counts, for
// a while, those that are announcements of the addresses in these tests.
func (h *host) hear(name string, etherType int) func(time.Duration) int {
	h.Helper()
	var c *packet.Conn
	h.set(name, func(l netlink.Link) error {
		at := l.Attrs()
		return h.start(func() (err error) {
			c, err = packet.Listen(&net.Interface{Index: at.Index, Name: at.Name, HardwareAddr: at.HardwareAddr}, packet.Raw, etherType, nil)
			return err
		})()
	})
	h.Cleanup(func() { c.Close() })
	return func(d time.Duration) (count int) {
		if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
			h.Fatal(err)
		}
		b := make([]byte, 2000)
		for {
			n, _, err := c.ReadFrom(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return count
			}
			if err != nil {
				h.Fatal(err)
			}
			const icmp = 14 + 40 // headers of Ethernet and IPv6
			switch {
			case etherType == unix.ETH_P_ARP && n >= 42 && string(b[28:32]) == string(b[38:42]):
				count++
			case etherType == unix.ETH_P_IPV6 && n > icmp+8 && b[icmp] == 136 && b[icmp+8] == 0x20: // of 2001:db8::/32
				count++
			}
		}
	}
}
