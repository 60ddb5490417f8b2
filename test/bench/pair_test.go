package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"lvsd/test/lab"
)

const (
	// backupPriority is the priority of the director that takes over.
	backupPriority = 100

	// patience is how long a change of master may take in all.
	patience = 30 * time.Second
)

// vip is the first virtual address, which is probed.
var vip = netip.MustParseAddr(lab.VIP)

// A pair is two directors and a host that probes them, all on one segment. The
// better director is master whenever nothing is wrong with it.
type pair struct {
	*lab.Lab
	interval      time.Duration // between two advertisements
	lan           *lab.Segment
	better, other *lab.Director
	prober        *lab.Host
	addresses     int // virtual ones, in all instances
}

// newPair starts a pair. Each list of addresses becomes a VRRP instance.
func newPair(t lab.T, interval time.Duration, instances ...[]netip.Prefix) *pair {
	t.Helper()
	l := lab.New(t)
	p := &pair{Lab: l, interval: interval, lan: l.Segment("lan"), prober: l.Host("prober")}
	p.prober.Connect(p.lan, "eth0", "192.168.50.17/24")
	for _, addresses := range instances {
		p.addresses += len(addresses)
	}
	config := filepath.Join(t.TempDir(), "lvsd.toml")
	if err := os.WriteFile(config, []byte(configuration(interval, instances)), 0o644); err != nil {
		t.Fatalf("writing the configuration: %v", err)
	}
	director := func(name, address string) *lab.Director {
		h := l.Host(name)
		h.Connect(p.lan, "eth2", address)
		return h.Director(name, config)
	}
	p.better = director("lvs-01", "192.168.50.31/24")
	p.other = director("lvs-02", "192.168.50.32/24")
	p.better.Start()
	p.other.Start()
	p.owned(p.better)
	return p
}

// configuration returns a configuration with VRRP alone.
func configuration(interval time.Duration, instances [][]netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[director.lvs-01]\naddress = \"192.168.50.31\"\npriority = %d\n", betterPriority)
	fmt.Fprintf(&b, "[director.lvs-02]\naddress = \"192.168.50.32\"\npriority = %d\n", backupPriority)
	for i, addresses := range instances {
		fmt.Fprintf(&b, "[vrrp.web%d]\ninterface = \"eth2\"\nvrid = %d\nadvert_interval = %q\naddresses = [\n", i+1, vrid(i), interval)
		for _, a := range addresses {
			fmt.Fprintf(&b, "  %q,\n", a)
		}
		fmt.Fprintf(&b, "]\n")
	}
	return b.String()
}

// vrid returns the VRID of an instance, of which there are 255 at most.
func vrid(i int) int { return (50+i)%255 + 1 }

// webPair starts a pair with one instance of one address, the VIP.
func webPair(t lab.T, interval time.Duration) *pair {
	t.Helper()
	return newPair(t, interval, []netip.Prefix{netip.PrefixFrom(vip, 24)})
}

// owned waits until a director alone has the virtual addresses.
func (p *pair) owned(owner *lab.Director) {
	p.Helper()
	p.Eventually(patience, "the virtual addresses on "+owner.Name+" alone", func() bool {
		for _, d := range []*lab.Director{p.better, p.other} {
			want := 1 // its own
			if d == owner {
				want += p.addresses
			}
			if p.count(d.Host) != want {
				return false
			}
		}
		return true
	})
}

// count returns how many addresses a host has on its interface, -1 if they
// changed under the count.
func (p *pair) count(h *lab.Host) int {
	p.Helper()
	var list []netlink.Addr
	var err error
	h.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName("eth2"); err == nil {
			list, err = netlink.AddrList(link, netlink.FAMILY_V4)
		}
	})
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return -1
	}
	if err != nil {
		p.Fatalf("addresses of %s: %v", h.Name, err)
	}
	return len(list)
}

// stop ends the better director as systemctl stop does.
func (p *pair) stop() {
	p.Helper()
	if err := p.better.Stop(); err != nil {
		p.Fatalf("SIGTERM: %v", err)
	}
}

// downInterval returns after how long without an advertisement the other director
// takes over: three intervals and the skew time (RFC 9568, section 6.1).
func downInterval(interval time.Duration) time.Duration {
	return 3*interval + interval*(256-backupPriority)/256
}
