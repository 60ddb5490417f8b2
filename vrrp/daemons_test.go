package vrrp_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// daemon is a keepalived or FRR of the captures: how it was configured, and the first thing that it then said to each
// destination.
type daemon struct {
	Captures             []string
	Node, Daemon, Config string
	First                []struct {
		Source, Destination netip.Addr
		Payload             hexBytes
	}
}

// configured is a virtual router of a daemon.
type configured struct {
	vrrp.Config
	ah, hmac, old bool // extensions of keepalived
}

// parse understands as much of the two languages as the captures have.
func (d daemon) parse(t *testing.T) []*configured {
	t.Helper()
	var all []*configured
	block := ""
	for line := range strings.Lines(d.Config) {
		words := strings.Fields(line)
		if words[0] == "vrrp_instance" || words[0] == "vrrp" && len(all) == 0 {
			all = append(all, &configured{})
		}
		if words[0] == "vrrp" { // FRR
			vrid, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			all[0].VRID = uint8(vrid)
			words = words[2:]
		}
		if len(all) == 0 {
			continue
		}
		c := all[len(all)-1]
		last := words[len(words)-1]
		address := func() netip.Addr {
			a, err := netip.ParseAddr(strings.Split(last, "/")[0])
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		number := func() int {
			n, err := strconv.Atoi(last)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		switch words[0] {
		case "virtual_ipaddress", "unicast_peer", "track_interface", "virtual_ipaddress_excluded":
			block = words[0]
			continue
		case "}":
			block = ""
		case "virtual_router_id":
			c.VRID = uint8(number())
		case "priority":
			c.Priority = uint8(number())
		case "version":
			c.Version = vrrp.Version(number())
		case "advert_int":
			interval, err := time.ParseDuration(last + "s")
			if err != nil {
				t.Fatal(err)
			}
			c.Interval = interval
		case "advertisement-interval":
			c.Interval = time.Duration(number()) * time.Millisecond
		case "ip", "ipv6":
			c.Addresses = append(c.Addresses, address())
		case "unicast_src_ip":
			c.Source = address()
		case "auth_pass":
			c.Password = last
		case "auth_type":
			c.ah = last == "AH"
		case "auth_hmac":
			c.hmac = true
		case "old_unicast_checksum":
			c.old = true
		case "v3_checksum_as_v2":
			c.Checksum = vrrp.ChecksumAlwaysMessage
		}
		switch block {
		case "virtual_ipaddress":
			c.Addresses = append(c.Addresses, address())
		case "unicast_peer":
			c.Peers = append(c.Peers, address())
		case "track_interface":
			if len(words) == 3 && number() > 0 { // the interface is up
				c.Priority = uint8(min(int(c.Priority)+number(), 254))
			}
		}
	}
	for _, c := range all {
		c.Preempt = true
		if c.ah {
			c.Password = ""
		}
	}
	return all
}

// source is the address that the virtual router speaks from.
func (d daemon) source(c *configured) netip.Addr {
	n := int(d.Node[0]-'a') + 1
	switch {
	case c.Source.IsValid():
		return c.Source
	case c.Family() == vrrp.IPv4:
		return host(n)
	case strings.HasPrefix(d.Daemon, "FRR"):
		return netip.MustParseAddr("fe80::ff:fe00:5102") // of the interface that it has for the virtual router
	}
	return host6(n)
}

// A router of ours that is configured as a keepalived or an FRR was says what that one said, to the byte.
func TestSaysWhatOthersSay(t *testing.T) {
	outcome := make(map[string]int)
	for _, d := range readVectors[daemon](t, "daemons.json", 104) {
		for _, c := range d.parse(t) {
			t.Run(d.Captures[0]+" "+d.Node+" "+c.Family().String(), func(t *testing.T) {
				source := d.source(c)
				if c.Version == vrrp.Version2 && c.Family() == vrrp.IPv6 {
					outcome["version 2 over IPv6, which is not known here"]++
					if err := c.Validate(); err == nil || err.Error() != "version 2: is for IPv4 only" {
						t.Errorf("error %v", err)
					}
					return
				}
				synctest.Test(t, func(t *testing.T) {
					s := vrrptest.NewSegment(1)
					r := startAt(t, s, source, c.Config, vrrp.Options{})
					sleep(0)
					if c.old {
						learnOldChecksum(t, s, c)
					}
					sleep(4 * c.Interval)
					wantState(t, r, vrrp.Master)
					said := make(map[netip.Addr][]byte)
					for _, p := range s.Sent() {
						if p.Packet.Source == source && said[p.Packet.Destination] == nil {
							said[p.Packet.Destination] = p.Packet.Payload
						}
					}
					compared := 0
					for _, f := range d.First {
						if f.Payload[1] != c.VRID {
							continue
						}
						compared++
						if f.Source != source {
							t.Errorf("the capture has it speak from %s, want %s", f.Source, source)
						}
						how := compareSaid(said[f.Destination], f.Payload, c)
						outcome[how]++
						if how == "" {
							t.Errorf("to %s we say\n%x and %s said\n%x", f.Destination, said[f.Destination], d.Daemon, f.Payload)
						}
					}
					if compared != max(1, len(c.Peers)) {
						t.Errorf("%d packets compared", compared)
					}
				})
			})
		}
	}
	for how, n := range map[string]int{
		"identical": 116,
		"identical but for the authentication header, which is not known here":           2,
		"identical but for the trailer of auth_hmac, which is not known here":            3,
		"identical but for the trailer of auth_hmac and the checksum that covers it":     2,
		"identical but for the checksum to the second peer, which keepalived gets wrong": 2,
		"version 2 over IPv6, which is not known here":                                   2,
	} {
		if outcome[how] != n {
			t.Errorf("%s: %d, want %d", how, outcome[how], n)
		}
		delete(outcome, how)
	}
	if len(outcome) > 0 {
		t.Errorf("and %v", outcome)
	}
}

// compareSaid says how what we say is like what another router said; "" if it is not as it should be.
func compareSaid(ours, other []byte, c *configured) string {
	but := func(b []byte, cut int, ignored ...int) []byte {
		b = bytes.Clone(b[:len(b)-cut])
		for _, i := range ignored {
			b[i] = 0
		}
		return b
	}
	switch {
	case ours == nil:
		return ""
	case bytes.Equal(ours, other):
		return "identical"
	case c.ah && bytes.Equal(but(ours, 0, 4, 6, 7), but(other, 0, 4, 6, 7)) && other[4] == 2:
		return "identical but for the authentication header, which is not known here"
	case c.hmac && len(other) == len(ours)+28 && c.Family() == vrrp.IPv4 && bytes.Equal(ours, other[:len(ours)]):
		return "identical but for the trailer of auth_hmac, which is not known here"
	case c.hmac && len(other) == len(ours)+28 && c.Family() == vrrp.IPv6 && bytes.Equal(but(ours, 0, 6, 7), but(other, 28, 6, 7)):
		return "identical but for the trailer of auth_hmac and the checksum that covers it"
	case c.Checksum == vrrp.ChecksumAlwaysMessage && len(c.Peers) > 1 && bytes.Equal(but(ours, 0, 6, 7), but(other, 0, 6, 7)):
		return "identical but for the checksum to the second peer, which keepalived gets wrong"
	}
	return ""
}

// learnOldChecksum has the peers speak as keepalived did before 1.3.7; nobody is configured for that here.
func learnOldChecksum(t *testing.T, s *vrrptest.Segment, c *configured) {
	t.Helper()
	for range 3 {
		for _, from := range c.Peers {
			p := forged(t, from, c.Source, func(a *vrrp.Advertisement) {
				a.Priority, a.Interval, a.Checksum = 1, c.Interval, vrrp.ChecksumPseudoHeaderGroup
			})
			s.Inject(p)
		}
	}
	sleep(0)
}
