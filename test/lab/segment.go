package lab

import (
	"fmt"
	"hash/fnv"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Segment is an Ethernet segment: a switch, to which hosts are connected by cables. The switch is itself a host, so
// that its ports can be looked at and its traffic captured; it takes no part in IP.
type Segment struct {
	*Host
	bridge *netlink.Bridge
	ports  []*Cable
}

// Segment makes a segment without cables.
func (l *Lab) Segment(name string) *Segment {
	l.Helper()
	s := &Segment{Host: l.Host(name)}
	s.Sysctl("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	snooping := false
	s.bridge = &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := s.nl.LinkAdd(s.bridge); err != nil {
		l.Fatalf("segment %s: making the bridge: %v", name, err)
	}
	s.Up("br0")
	return s
}

// A Cable connects an interface of a host with a segment.
type Cable struct {
	Host      *Host
	Interface string // on the host

	segment *Segment
	port    netlink.Link // the end at the switch
}

// Connect makes an interface on the host, a cable from it to the segment, and puts addresses with their prefix lengths
// on the interface. The MAC address depends on the names only and is the same in each run.
func (h *Host) Connect(s *Segment, ifname string, addresses ...string) *Cable {
	l := h.lab
	l.Helper()
	c := &Cable{Host: h, Interface: ifname, segment: s}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = ifname
	attrs.HardwareAddr = hardwareAddr(h.Name, ifname)
	port := h.Name + "." + ifname
	if len(port) > unix.IFNAMSIZ-1 {
		port = fmt.Sprintf("port%d", len(s.ports)+1)
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: port, PeerNamespace: netlink.NsFd(s.ns.Fd())}
	if err := h.nl.LinkAdd(veth); err != nil {
		l.Fatalf("connecting %s of %s with %s: %v", ifname, h.Name, s.Name, err)
	}
	c.port = s.link(port)
	if err := s.nl.LinkSetMaster(c.port, s.bridge); err != nil {
		l.Fatalf("connecting %s with %s: %v", port, s.Name, err)
	}
	s.mu.Lock()
	s.ports = append(s.ports, c)
	s.mu.Unlock()
	h.mu.Lock()
	h.cables[ifname] = c
	h.mu.Unlock()
	h.Up(ifname)
	s.Up(port)
	// The bridge learns of the carrier up to a second after the host, and passes nothing before.
	l.Eventually(5*time.Second, "carrier of "+port, func() bool {
		return h.link(ifname).Attrs().OperState == netlink.OperUp && s.link(port).Attrs().OperState == netlink.OperUp
	})
	h.AddAddress(ifname, addresses...)
	return c
}

// hardwareAddr returns a locally administered address for an interface.
func hardwareAddr(host, ifname string) net.HardwareAddr {
	f := fnv.New32a()
	fmt.Fprintf(f, "%s %s", host, ifname)
	return append(net.HardwareAddr{0x02, 0x00}, f.Sum(nil)...)
}

// Cable returns the cable of an interface.
func (h *Host) Cable(ifname string) *Cable {
	h.lab.Helper()
	h.mu.Lock()
	c := h.cables[ifname]
	h.mu.Unlock()
	if c == nil {
		h.lab.Fatalf("host %s: no cable at %s", h.Name, ifname)
	}
	return c
}

// Cut cuts the cable: nothing goes through, and the host's interface loses its carrier.
func (c *Cable) Cut() {
	c.Host.lab.Helper()
	if err := c.segment.nl.LinkSetDown(c.port); err != nil {
		c.fail("cutting", err)
	}
}

// Restore mends a cable that was cut.
func (c *Cable) Restore() {
	c.Host.lab.Helper()
	if err := c.segment.nl.LinkSetUp(c.port); err != nil {
		c.fail("restoring", err)
	}
}

// Block makes the switch drop everything that comes from the host and goes to it. The host keeps its carrier and has
// no way to know.
func (c *Cable) Block() {
	c.Host.lab.Helper()
	if err := c.portState(0); err != nil { // BR_STATE_DISABLED
		c.fail("blocking", err)
	}
}

// Unblock ends Block.
func (c *Cable) Unblock() {
	c.Host.lab.Helper()
	if err := c.portState(3); err != nil { // BR_STATE_FORWARDING
		c.fail("unblocking", err)
	}
}

// portState sets the spanning tree state of the switch's port (IFLA_BRPORT_STATE, linux/if_link.h).
func (c *Cable) portState(state uint8) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(c.port.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_BRPORT_STATE, nl.Uint8Attr(state))
	req.AddData(info)
	var err error
	c.segment.Do(func() { _, err = req.Execute(unix.NETLINK_ROUTE, 0) })
	return err
}

// Separate makes the switch pass nothing between the given cables, while each of them goes on reaching everybody else:
// two directors that no longer hear each other but both serve. Without cables it ends the separation.
func (s *Segment) Separate(cables ...*Cable) {
	s.lab.Helper()
	for _, p := range s.ports {
		isolated := false
		for _, c := range cables {
			isolated = isolated || c == p
		}
		if err := s.nl.LinkSetIsolated(p.port, isolated); err != nil {
			p.fail("separating", err)
		}
	}
}

// An Impairment is what a bad cable does to packets, in each direction.
type Impairment struct {
	Loss          float64 // percent of the packets
	Delay, Jitter time.Duration
	Duplicate     float64 // percent of the packets
}

// Impair makes the cable bad; the zero Impairment makes it good again.
func (c *Cable) Impair(i Impairment) {
	c.Host.lab.Helper()
	ends := map[*netlink.Handle]netlink.Link{c.Host.nl: c.Host.link(c.Interface), c.segment.nl: c.port}
	for handle, link := range ends {
		attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}
		q := netlink.NewNetem(attrs, netlink.NetemQdiscAttrs{
			Loss: float32(i.Loss), Duplicate: float32(i.Duplicate),
			Latency: uint32(i.Delay.Microseconds()), Jitter: uint32(i.Jitter.Microseconds()),
			Limit: 100_000,
		})
		var err error
		if i == (Impairment{}) {
			err = handle.QdiscDel(q)
		} else {
			err = handle.QdiscReplace(q)
		}
		if err != nil {
			c.fail("impairing", err)
		}
	}
}

func (c *Cable) fail(what string, err error) {
	c.Host.lab.Helper()
	c.Host.lab.Fatalf("%s the cable of %s %s: %v", what, c.Host.Name, c.Interface, err)
}
