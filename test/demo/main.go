// Command demo shows lvsd at work: two directors carry two nginx through the
// death of each, while a client asks for a page all the time. It runs in
// network namespaces, on this machine's kernel or in a virtual machine where
// that one has no IPVS, and its exit status says whether all went as promised.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"lvsd/test/lab"
)

const (
	perSecond = 10.0

	// A virtual machine without hardware support is slow at times: what takes
	// longer than promised by less than this counts as kept.
	slack = 1500 * time.Millisecond
)

// What configs/nat.toml, which the directors run, comes to.
const (
	// deadServer is how long a real server that refuses connections may stay in
	// service: the check interval and two quick ones.
	deadServer = 2*time.Second + 2*200*time.Millisecond
	// lostDirector is how long the addresses may be gone: three advertisement
	// intervals and the skew time of the backup.
	lostDirector = 3*time.Second + 156*time.Second/256
)

func main() { os.Exit(lab.Run(run)) }

func run() int {
	failed := false
	err := lab.With(func(string, ...any) {}, func(l *lab.Lab) { failed = !play(l) })
	if err != nil {
		fmt.Println("the demonstration could not go on:", err)
	}
	if err != nil || failed {
		return 1
	}
	return 0
}

// play plays the whole piece and reports whether all went as promised.
func play(l *lab.Lab) bool {
	fmt.Print(`lvsd: a pair of directors keeps a web site alive

  client ---- router ---+--- lvs-01 \  one of them has the
              DNAT 443  +--- lvs-02 /  VIP 192.168.50.100
                        +--- nginx02: "node1.xuzhichao.com page"
                        +--- nginx03: "node2.xuzhichao.com page"

The directors run configs/nat.toml: round robin, NAT, an HTTPS check every 2 s.
The client asks for https://www.xuzhichao.com/ 10 times a second.

`)
	w := l.NAT()
	for _, d := range []*lab.Director{w.LVS01, w.LVS02} {
		serveSorryPageByHTTPS(w, d)
	}
	s := newStage(w)
	w.LVS01.Start()
	w.LVS02.Start()
	l.Eventually(20*time.Second, "a master with both real servers in service", func() bool {
		answer := w.Client.Get("https://" + lab.SiteName + "/")
		return w.LVS01.Host.Has(netip.MustParseAddr(lab.VIP)) && answer.Status == 200
	})
	s.open()
	s.watch(4 * time.Second)

	s.act("stop nginx03", "node1 answers alone", deadServer, func() { must(w.Nginx03.Stop()) })
	s.watch(6 * time.Second)
	s.expect(time.Second, only(node1))

	s.act("stop nginx02 too", "the sorry page answers", deadServer, func() { must(w.Nginx02.Stop()) })
	s.watch(6 * time.Second)
	s.expect(time.Second, only(sorry))

	s.act("start both again", "node1 and node2 answer", 0, func() {
		w.Nginx02.Start()
		w.Nginx03.Start()
	})
	s.watch(6 * time.Second)
	s.expect(time.Second, both)

	s.act("lvs-01 loses power", "lvs-02 takes over", lostDirector, func() {
		w.LVS01.Kill()
		w.LVS01.Host.Cable("eth2").Cut()
	})
	s.watch(9 * time.Second)
	s.expect(time.Second, both)

	s.act("lvs-01 comes back", "it takes over again", 0, func() {
		w.LVS01.Host.DeleteAddress("eth2", lab.VIP+"/24") // nothing outlives a loss of power
		w.LVS01.Host.Cable("eth2").Restore()
		w.LVS01.Start()
	})
	s.watch(9 * time.Second)
	s.expect(time.Second, both)

	s.close()
	return s.summary()
}

// serveSorryPageByHTTPS gives the sorry page of a director a certificate.
func serveSorryPageByHTTPS(w *lab.Web, d *lab.Director) {
	certificate := w.Valid(lab.SiteName)
	folder := filepath.Dir(d.Config)
	must(os.WriteFile(filepath.Join(folder, "sorry.crt"), certificate.Cert, 0o644))
	must(os.WriteFile(filepath.Join(folder, "sorry.key"), certificate.Key, 0o600))
	d.Edit(`page = "sorry.html"`, `page = "sorry.html", certificate = "sorry.crt", key = "sorry.key"`)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
