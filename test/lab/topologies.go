package lab

import (
	"os"
	"path/filepath"
)

// What the topologies have in common.
const (
	SiteName  = "www.xuzhichao.com" // which the real servers' certificates are for
	VIP       = "192.168.50.100"    // of NAT, DR and Tunnel
	Node1Page = "node1.xuzhichao.com page"
	Node2Page = "node2.xuzhichao.com page"
)

// Web is a web site behind a pair of directors and a router: NAT, DR or Tunnel.
type Web struct {
	*Lab
	Client, Router   *Host
	LVS01, LVS02     *Director // not started
	Nginx02, Nginx03 *Nginx    // started
	LAN              *Segment  // of the directors and the VIP
	Outside          *Segment  // of the client

	// Front is the address at which the client reaches the site: the router's for NAT, else the VIP. The client
	// resolves SiteName to it.
	Front string
}

// Weighted is a pair of directors between two networks.
type Weighted struct {
	*Lab
	Client             *Host
	LVS01, LVS02       *Director // not started
	Nginx128, Nginx129 *Nginx    // started
	Outside, Inside    *Segment
}

// NAT builds NAT behind a router, all in one network, for configs/nat.toml:
//
//	client .20.17 -- .20.50 router .50.50 --+-- lvs-01 .50.31, lvs-02 .50.32; VIP .50.100
//	                                        +-- nginx02 .50.22, nginx03 .50.23
//
// The router sends the ports 80 and 443 of its outer address to the VIP, which is the real servers' default gateway.
// The interfaces of the directors are named eth2. Nginx redirects from port 80 to port 443, where it has a self-signed
// certificate.
func (l *Lab) NAT() *Web {
	l.Helper()
	w := l.web("192.168.20.50")
	w.Router.Input(`table ip nat {
		chain prerouting {
			type nat hook prerouting priority dstnat
			iifname eth0 ip daddr 192.168.20.50 tcp dport { 80, 443 } dnat to 192.168.50.100
		}
		chain postrouting {
			type nat hook postrouting priority srcnat
			oifname eth0 ip saddr 192.168.50.0/24 snat to 192.168.20.50
		}
	}`, "nft", "-f", "-")
	certificate := l.Valid(SiteName)
	for _, n := range w.nodes() {
		h := l.Host(n.name)
		h.Connect(w.LAN, "eth0", "192.168.50."+n.number+"/24")
		h.Route("default", VIP)
		*n.nginx = h.Nginx(Site{Page: n.page, Certificate: certificate})
	}
	w.directors("eth2", "nat.toml")
	return w
}

// DR builds direct routing for configs/dr.toml: as NAT, but with plain HTTP on port 80, with the VIP on the real
// servers' lo, which do not answer ARP for it, and the router as everybody's default gateway. The interfaces of the
// directors are named eth0.
func (l *Lab) DR() *Web {
	l.Helper()
	w := l.web(VIP)
	for _, n := range w.nodes() {
		h := l.Host(n.name)
		h.Connect(w.LAN, "eth0", "192.168.50."+n.number+"/24")
		h.Sysctl("net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
		h.AddAddress("lo", VIP+"/32")
		h.Route("default", "192.168.50.50")
		*n.nginx = h.Nginx(Site{Page: n.page})
	}
	w.directors("eth0", "dr.toml")
	return w
}

// Tunnel builds IP-in-IP tunnels for configs/tun.toml: as DR, but with the real servers in a network of their own
// behind the router, 192.168.60.0/24, and the VIP on their tunl0.
func (l *Lab) Tunnel() *Web {
	l.Helper()
	w := l.web(VIP)
	far := l.Segment("far")
	w.Router.Connect(far, "eth2", "192.168.60.50/24")
	for _, n := range w.nodes() {
		h := l.Host(n.name)
		h.Connect(far, "eth0", "192.168.60."+n.number+"/24")
		h.Tunl0(VIP + "/32")
		h.Route("default", "192.168.60.50")
		*n.nginx = h.Nginx(Site{Page: n.page})
	}
	w.directors("eth0", "tun.toml")
	return w
}

// WeightedNAT builds NAT between two networks for configs/nat-weighted.toml:
//
//	client .4.132 --+-- eth0 lvs-01 .4.134 and .2.131 eth1 --+-- nginx128 .2.128
//	                +-- eth0 lvs-02 .4.135 and .2.132 eth1 --+-- nginx129 .2.129
//	            service address .4.133                  gateway address .2.130
func (l *Lab) WeightedNAT() *Weighted {
	l.Helper()
	w := &Weighted{Lab: l, Outside: l.Segment("outside"), Inside: l.Segment("inside")}
	w.Client = l.Host("client")
	w.Client.Connect(w.Outside, "eth0", "192.168.4.132/24")
	for number, nginx := range map[string]**Nginx{"128": &w.Nginx128, "129": &w.Nginx129} {
		h := l.Host("nginx" + number)
		h.Connect(w.Inside, "eth0", "192.168.2."+number+"/24")
		h.Route("default", "192.168.2.130")
		*nginx = h.Nginx(Site{Page: "I am 192.168.2." + number})
	}
	config := l.ConfigFile("nat-weighted.toml")
	for _, d := range []struct {
		name, outside, inside string
		director              **Director
	}{
		{"lvs-01", "192.168.4.134/24", "192.168.2.131/24", &w.LVS01},
		{"lvs-02", "192.168.4.135/24", "192.168.2.132/24", &w.LVS02},
	} {
		h := l.Host(d.name)
		h.Connect(w.Outside, "eth0", d.outside)
		h.Connect(w.Inside, "eth1", d.inside)
		*d.director = h.Director(d.name, config)
	}
	return w
}

// web builds what is the same in NAT, DR and Tunnel: the client, the router and the two segments that it joins.
func (l *Lab) web(front string) *Web {
	l.Helper()
	w := &Web{Lab: l, Front: front, Outside: l.Segment("outside"), LAN: l.Segment("lan")}
	w.Client = l.Host("client")
	w.Client.Connect(w.Outside, "eth0", "192.168.20.17/24")
	w.Client.Route("default", "192.168.20.50")
	w.Client.Resolve(SiteName, front)
	w.Router = l.Host("router")
	w.Router.Connect(w.Outside, "eth0", "192.168.20.50/24")
	w.Router.Connect(w.LAN, "eth1", "192.168.50.50/24")
	w.Router.Sysctl("net.ipv4.ip_forward=1")
	return w
}

// node is a real server of Web.
type node struct {
	name, number, page string
	nginx              **Nginx
}

func (w *Web) nodes() []node {
	return []node{
		{"nginx02", "22", Node1Page, &w.Nginx02},
		{"nginx03", "23", Node2Page, &w.Nginx03},
	}
}

// directors puts the two directors onto the LAN.
func (w *Web) directors(ifname, config string) {
	w.Helper()
	config = w.ConfigFile(config)
	for _, d := range []struct {
		name, address string
		director      **Director
	}{
		{"lvs-01", "192.168.50.31/24", &w.LVS01},
		{"lvs-02", "192.168.50.32/24", &w.LVS02},
	} {
		h := w.Host(d.name)
		h.Connect(w.LAN, ifname, d.address)
		h.Route("default", "192.168.50.50")
		*d.director = h.Director(d.name, config)
	}
}

// ConfigFile returns the path of an example of lvsd's own.
func (l *Lab) ConfigFile(name string) string {
	l.Helper()
	return filepath.Join(l.module(), "configs", name)
}

// module returns the folder of the module that the working directory is in.
func (l *Lab) module() string {
	l.Helper()
	dir, err := os.Getwd()
	if err != nil {
		l.Fatalf("looking for the module: %v", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) {
			return dir
		}
	}
	l.Fatalf("looking for the module: the working directory %s is in none", dir)
	return ""
}
