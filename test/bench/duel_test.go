package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsd/test/lab"
)

// betterPriority is the priority of the daemon that is master whenever nothing is
// wrong with it.
const betterPriority = 150

// A duel is lvsd and keepalived in front of the same neighbour, on the same two
// machines.
type duel struct {
	*lab.Lab
	interval      time.Duration // between two advertisements
	better, other *lab.Host
	prober        *lab.Host
}

// A side is one of the two programs, on both machines.
type side struct {
	name          string
	vip           netip.Addr // the first of its virtual addresses
	better, other *daemon
}

// A daemon is a program on one of the machines.
type daemon struct {
	*lab.Process
	start      func()
	speaker    func() int // the process that speaks VRRP
	mastership []string   // what a line of its log has when it becomes master
	processes  []int      // as they were before the last blow
}

// newDuel makes the machines, without any daemon.
func newDuel(b *testing.B, interval time.Duration) *duel {
	b.Helper()
	if _, err := exec.LookPath("keepalived"); err != nil {
		b.Skip("SKIPPED, NOTHING WAS COMPARED: keepalived is not installed")
	}
	l := lab.New(b)
	lan := l.Segment("lan")
	d := &duel{Lab: l, interval: interval, better: l.Host("lvs-01"), other: l.Host("lvs-02"), prober: l.Host("prober")}
	d.prober.Connect(lan, "eth0", "192.168.50.17/24")
	d.better.Connect(lan, "eth2", "192.168.50.31/24")
	d.other.Connect(lan, "eth2", "192.168.50.32/24")
	return d
}

// startLVSD starts lvsd on both machines. Each list of addresses becomes a VRRP
// instance.
func (d *duel) startLVSD(instances ...[]netip.Prefix) *side {
	d.Helper()
	config := filepath.Join(d.TempDir(), "lvsd.toml")
	if err := os.WriteFile(config, []byte(configuration(d.interval, instances)), 0o644); err != nil {
		d.Fatalf("writing the configuration: %v", err)
	}
	on := func(h *lab.Host) *daemon {
		director := h.Director(h.Name, config)
		return &daemon{
			Process:    director.Process,
			start:      director.Start,
			speaker:    func() int { return director.Half("elector").PID },
			mastership: []string{`"msg":"state changed"`, `"to":"master"`},
		}
	}
	return d.begin(&side{name: "lvsd", vip: instances[0][0].Addr(), better: on(d.better), other: on(d.other)})
}

// startKeepalived starts keepalived on both machines. Each list of addresses
// becomes a VRRP instance. What is not said here is left at its default.
func (d *duel) startKeepalived(instances ...[]netip.Prefix) *side {
	d.Helper()
	on := func(h *lab.Host, priority int) *daemon {
		var b strings.Builder
		fmt.Fprintf(&b, "global_defs {\n    router_id %s\n    vrrp_version 3\n}\n", h.Name)
		for i, addresses := range instances {
			fmt.Fprintf(&b, `vrrp_instance VI_%d {
    interface eth2
    state BACKUP
    virtual_router_id %d
    priority %d
    advert_int %g
    virtual_ipaddress {
`, i+1, vrid(i+keepalivedInstance), priority, d.interval.Seconds())
			for _, a := range addresses {
				fmt.Fprintf(&b, "        %s\n", a)
			}
			fmt.Fprintf(&b, "    }\n}\n")
		}
		process := h.Keepalived(b.String())
		return &daemon{
			Process:    process,
			start:      process.Start,
			speaker:    func() int { return d.onlyChild(process) },
			mastership: []string{"Entering MASTER STATE"},
		}
	}
	better, other := on(d.better, betterPriority), on(d.other, backupPriority)
	return d.begin(&side{name: "keepalived", vip: instances[0][0].Addr(), better: better, other: other})
}

// programs are the two sides, for what they have to do one after the other.
var programs = []struct {
	name  string
	begin func(*duel, ...[]netip.Prefix) *side
}{
	{"lvsd", (*duel).startLVSD},
	{"keepalived", (*duel).startKeepalived},
}

// keepalivedInstance is the number of keepalived's first instance, so that its
// VRIDs are not lvsd's where both have few.
const keepalivedInstance = 100

// begin starts a side.
func (d *duel) begin(s *side) *side {
	d.Helper()
	s.better.start()
	s.other.start()
	d.settled(s)
	return s
}

// settled waits until the better daemon is the only one with the address, and a
// little longer.
func (d *duel) settled(sides ...*side) {
	d.Helper()
	for _, s := range sides {
		d.Eventually(patience, s.name+" on "+d.better.Name+" alone with its address", func() bool {
			return d.better.Has(s.vip) && !d.other.Has(s.vip)
		})
	}
	time.Sleep(steady)
}

// taken waits until the other daemon has the address, whoever else has it.
func (d *duel) taken(sides []*side) {
	d.Helper()
	for _, s := range sides {
		d.Eventually(patience, s.name+" on "+d.other.Name+" with its address", func() bool { return d.other.Has(s.vip) })
	}
}

// onlyChild returns the only child of a process.
func (d *duel) onlyChild(p *lab.Process) int {
	d.Helper()
	children := p.Children()
	if len(children) != 1 {
		d.Fatalf("keepalived on %s has the children %d, want one:\n%s", p.Host.Name, children, strings.Join(p.Lines(), "\n"))
	}
	return children[0]
}

// awaitEnd waits until the daemon has ended. How it ends is not judged here.
func (d *daemon) awaitEnd() { _ = d.Wait(patience) }

// family lists the processes of the daemon.
func (d *daemon) family() []int { return append([]int{d.PID()}, d.Children()...) }

// takeovers calls f whenever the daemon says that it has become master.
func (d *daemon) takeovers(f func()) {
	d.Follow(func(line string) {
		for _, text := range d.mastership {
			if !strings.Contains(line, text) {
				return
			}
		}
		f()
	})
}

// A blow is something that happens to the better daemon of one side or of both.
type blow struct {
	name   string // short, as it becomes part of the path of a socket
	title  string
	common bool // it cannot happen to one of the sides alone

	aim  func(*duel, []*side) (strike func())
	over func(*duel, []*side) // waits for what comes of it
	mend func(*duel, []*side)
}

// blows are what the programs are compared by.
var blows = []blow{
	{
		name:  "stop",
		title: "stop",
		aim: func(_ *duel, sides []*side) func() {
			return func() {
				for _, s := range sides {
					s.better.Signal(syscall.SIGTERM)
				}
			}
		},
		over: func(d *duel, sides []*side) {
			d.taken(sides)
			for _, s := range sides {
				s.better.awaitEnd()
			}
		},
		mend: startBetter,
	},
	{
		name:   "cut",
		title:  "link cut",
		common: true,
		aim:    func(d *duel, _ []*side) func() { return d.better.Cable("eth2").Cut },
		over:   func(d *duel, sides []*side) { d.taken(sides) },
		mend:   func(d *duel, _ []*side) { d.better.Cable("eth2").Restore() },
	},
	{
		// Each program starts the process again by itself.
		name:  "kill-vrrp",
		title: "kill -9 of what speaks VRRP",
		aim: func(d *duel, sides []*side) func() {
			var pids []int
			for _, s := range sides {
				pids = append(pids, s.better.speaker())
			}
			return func() {
				for _, pid := range pids {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						d.Fatalf("killing process %d: %v", pid, err)
					}
				}
			}
		},
		over: func(d *duel, sides []*side) {
			time.Sleep(downInterval(d.interval)) // by then the other one has taken over if it has to
			d.settled(sides...)
		},
		// Both start a process that dies again and again later each time, and a crash in an hour is
		// what is looked at.
		mend: func(d *duel, sides []*side) {
			for _, s := range sides {
				s.better.Signal(syscall.SIGTERM)
			}
			for _, s := range sides {
				s.better.awaitEnd()
			}
			startBetter(d, sides)
		},
	},
	{
		// Nobody starts the daemon again until the other one is master.
		name:  "kill-all",
		title: "kill -9 of everything",
		aim: func(_ *duel, sides []*side) func() {
			return func() {
				for _, s := range sides {
					s.better.Kill()
				}
			}
		},
		over: func(d *duel, sides []*side) { d.taken(sides) },
		mend: startBetter,
	},
}

// startBetter starts the better daemons again. While a process of its last life is
// a zombie that nobody has waited for, keepalived believes that it still runs.
func startBetter(d *duel, sides []*side) {
	d.Helper()
	for _, s := range sides {
		d.Eventually(patience, "the end of all processes of "+s.name, func() bool {
			return !slices.ContainsFunc(s.better.processes, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
		})
		s.better.start()
	}
}

// observe probes the addresses of the sides while they are struck, and returns
// what came of it for each of them.
func (d *duel) observe(w blow, sides []*side) []lab.PingReport {
	d.Helper()
	for _, s := range sides {
		s.better.processes = s.better.family()
	}
	strike := w.aim(d, sides)
	var pings []*lab.Pings
	for _, s := range sides {
		pings = append(pings, d.prober.Pings(s.vip.String(), probesPerSecond))
	}
	// The blows must not fall on always the same moment between two advertisements.
	time.Sleep(steady + rand.N(d.interval))
	struck := time.Now()
	strike()
	w.over(d, sides)
	time.Sleep(steady)
	reports := make([]lab.PingReport, len(sides))
	for i, p := range pings {
		reports[i] = p.Stop()
	}
	if testing.Verbose() {
		d.tell(w, struck, sides, reports)
	}
	w.mend(d, sides)
	d.settled(sides...)
	return reports
}

// tell writes down what was lost, and what the daemons said meanwhile.
func (d *duel) tell(w blow, struck time.Time, sides []*side, reports []lab.PingReport) {
	d.Helper()
	for i, s := range sides {
		for _, o := range reports[i].Outages {
			d.Logf("%s of %s at %v: %d probes lost from %v to %v after it", w.title, s.name, d.interval, o.Lost,
				o.From.Sub(struck).Round(time.Millisecond/10), o.To.Sub(struck).Round(time.Millisecond/10))
		}
		if len(reports[i].Outages) == 0 {
			continue
		}
		s.tell(d, struck)
	}
}

// tell writes down what the daemons of lvsd have said since a moment. The log of
// keepalived tells no more than seconds.
func (s *side) tell(t lab.T, since time.Time) {
	t.Helper()
	for _, daemon := range []*daemon{s.better, s.other} {
		for _, line := range daemon.Lines() {
			if e, ok := lab.ParseLog(line); ok && !e.Time.Before(since) {
				t.Logf("  %s, after %v: %s", daemon.Host.Name, e.Time.Sub(since).Round(time.Millisecond/10), line)
			}
		}
	}
}
