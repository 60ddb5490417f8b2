package vrrp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsd/vrrp"
)

// dialect is a way to speak VRRP that keepalived and we have in common.
type dialect struct {
	name     string
	extra    string // what keepalived's configuration has besides
	peers    func(n int) netip.Addr
	config   func(priority uint8) vrrp.Config
	interval time.Duration
	sums     vrrp.Checksum // by which rule keepalived sends
}

// dialects. keepalived wants whole seconds in version 2.
var dialects = []dialect{
	{name: "version 2", config: config2, interval: time.Second},
	{
		name: "version 2 with a password", interval: time.Second, extra: "authentication {\nauth_type PASS\nauth_pass s3cr3t\n}",
		config: func(priority uint8) vrrp.Config {
			c := config2(priority)
			c.Password = "s3cr3t"
			return c
		},
	},
	{name: "version 3", config: config, interval: 200 * ms},
	{name: "IPv6", config: config6, interval: 200 * ms},
	{name: "unicast", config: config, interval: 200 * ms, peers: host},
	{name: "unicast IPv6", config: config6, interval: 200 * ms, peers: global6},
	{name: "unicast version 2", config: config2, interval: time.Second, peers: host},
	{name: "virtual MAC", config: config, interval: 200 * ms, extra: "use_vmac"},
	{name: "old unicast checksum", config: config, interval: 200 * ms, peers: host, extra: "old_unicast_checksum", sums: vrrp.ChecksumPseudoHeaderGroup},
}

// participant is a router in a machine of its own that can be started and ended.
type participant interface {
	start()
	stop() // with SIGTERM
	kill() // without a word
	source() string
}

// ours is a router of ours.
type ours struct {
	machine *machine
	config  vrrp.Config
	process *process
	own     netip.Addr
}

func (o *ours) start() {
	o.process = o.machine.process(o.config)
	o.process.await(time.Time{}, "backup")
}
func (o *ours) stop()          { o.process.stop() }
func (o *ours) kill()          { o.process.kill() }
func (o *ours) source() string { return o.own.String() }

// keepalived is a real one.
type keepalived struct {
	machine *machine
	text    string // its configuration
	own     netip.Addr
	cmd     *exec.Cmd
	log     *logBuffer
}

func (k *keepalived) source() string { return k.own.String() }

func (k *keepalived) start() {
	t := k.machine.t
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(k.text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(k.log.lines("Entering BACKUP STATE"))
	cmd := exec.Command("keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file="+file,
		"--pid="+filepath.Join(dir, "keepalived.pid"), "--vrrp_pid="+filepath.Join(dir, "vrrp.pid"))
	cmd.Stdout, cmd.Stderr = k.log, k.log
	var err error
	k.machine.in(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	k.cmd = cmd
	t.Cleanup(func() {
		if k.cmd == cmd {
			k.kill()
		}
	})
	for deadline := time.Now().Add(10 * time.Second); len(k.log.lines("Entering BACKUP STATE")) == before; time.Sleep(5 * ms) {
		if time.Now().After(deadline) {
			t.Fatalf("keepalived does not start:\n%s", strings.Join(k.log.lines(""), "\n"))
		}
	}
}

func (k *keepalived) stop() {
	k.machine.t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		k.machine.t.Error(err)
	}
	k.wait()
}

// kill kills the child that speaks VRRP as well: without its parent it would resign.
func (k *keepalived) kill() {
	t := k.machine.t
	t.Helper()
	pid := k.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil { // it would start another child
		t.Error(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Error(err)
	}
	for _, child := range strings.Fields(string(children)) {
		var n int
		if _, err := fmt.Sscan(child, &n); err != nil {
			t.Error(err)
			continue
		}
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	if err := k.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	k.wait()
}

func (k *keepalived) wait() {
	kill := time.AfterFunc(10*time.Second, func() { k.cmd.Process.Kill() })
	defer kill.Stop()
	k.cmd.Wait() // how it ends is its own business
	k.cmd = nil
}

// pair is a machine with one of ours and one with keepalived, in front of the same addresses.
type pair struct {
	ours       *ours
	keepalived *keepalived
	sniffer    *sniffer
}

func (d dialect) pair(t *testing.T, our, their uint8, preempt bool) *pair {
	t.Helper()
	if _, err := exec.LookPath("keepalived"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("keepalived is not installed")
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED AGAINST KEEPALIVED: it is not installed")
	}
	a, b := cable(t)
	c := d.config(our)
	c.Interval, c.Preempt = d.interval, preempt
	address := host
	if c.Family() == vrrp.IPv6 {
		address = host6
	}
	extra := []string{d.extra}
	if d.peers != nil {
		address = d.peers
		c = unicast(c, address(1), address(2))
		extra = append(extra, fmt.Sprintf("unicast_src_ip %s", address(2)), fmt.Sprintf("unicast_peer {\n%s\n}", address(1)))
	}
	if !preempt {
		extra = append(extra, "nopreempt")
	}
	var addresses []string
	for _, a := range c.Addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		addresses = append(addresses, fmt.Sprintf("%s/%d", a, bits))
	}
	version := vrrp.Version3
	if c.Version != 0 {
		version = c.Version
	}
	p := &pair{ours: &ours{machine: a, config: c, own: address(1)}, sniffer: a.sniff()}
	p.keepalived = &keepalived{machine: b, own: address(2), log: &logBuffer{}, text: fmt.Sprintf(`global_defs {
router_id peer
}
vrrp_instance VI {
interface eth0
state BACKUP
version %d
virtual_router_id 51
priority %d
advert_int %v
%s
virtual_ipaddress {
%s
}
}
`, version, their, d.interval.Seconds(), strings.Join(extra, "\n"), strings.Join(addresses, "\n"))}
	return p
}

// last returns the last advertisement of a router; with priority 0 only its resignation counts, else only what is none.
func (p *pair) last(source string, resigned bool) (advert, bool) {
	heard := p.sniffer.heard()
	for _, a := range slices.Backward(heard) {
		if a.source == source && (a.priority == 0) == resigned {
			return a, true
		}
	}
	return advert{}, false
}

// until waits until a router advertises, later than a moment.
func (p *pair) until(t *testing.T, source string, since time.Time) advert {
	t.Helper()
	return p.sniffer.await(t, "advertisement of "+source, func(a advert) bool {
		return a.source == source && a.priority != 0 && a.at.After(since)
	})
}

// live has the two live through the end of each: who is Master is right all the time.
func (d dialect) live(t *testing.T, oursIsBetter, preempt bool) {
	our, their := uint8(100), uint8(150)
	if oursIsBetter {
		our, their = 150, 100
	}
	p := d.pair(t, our, their, preempt)
	var better, worse participant = p.keepalived, p.ours
	if oursIsBetter {
		better, worse = p.ours, p.keepalived
	}
	skew := func(priority uint8) time.Duration {
		return vrrp.SkewTimeOf(p.ours.config.Version, priority, d.interval)
	}
	down := func(priority uint8) time.Duration {
		return vrrp.MasterDownIntervalOf(p.ours.config.Version, priority, d.interval)
	}
	// took checks how long it was from the last word of one to the first of the other.
	took := func(what string, from, to string, resigned bool, want time.Duration) {
		t.Helper()
		last, ok := p.last(from, resigned)
		if !ok {
			t.Errorf("%s: %s has never said its last word", what, from)
			return
		}
		first := p.until(t, to, last.at)
		if got := first.at.Sub(last.at); got < want-2*ms || got > want+late {
			t.Errorf("%s: took over after %s, want %s", what, got, want)
		}
	}
	var want []string
	if d.sums != 0 && oursIsBetter { // we have to hear how it speaks before it understands us
		worse.start()
		p.until(t, worse.source(), time.Time{})
		want = append(want, worse.source())
	}
	better.start()
	p.until(t, better.source(), time.Time{})
	if len(want) == 0 {
		worse.start()
	}
	want = append(want, better.source(), worse.source())
	time.Sleep(2 * d.interval)
	if d.sums != 0 {
		time.Sleep(2 * d.interval) // we hear it three times before we speak as it does
	}

	better.stop()
	took("SIGTERM", better.source(), worse.source(), true, skew(100))
	time.Sleep(2 * d.interval)

	begin := time.Now()
	better.start()
	if preempt {
		p.until(t, better.source(), begin)
		time.Sleep(2 * d.interval)
		better.kill()
		took("SIGKILL", better.source(), worse.source(), false, down(100))
		time.Sleep(d.interval)
		begin = time.Now()
		better.start()
		p.until(t, better.source(), begin)
		want = append(want, better.source(), worse.source(), better.source())
	} else {
		time.Sleep(down(150) + d.interval)
		worse.kill()
		took("SIGKILL", worse.source(), better.source(), false, down(150))
		time.Sleep(d.interval)
		worse.start()
		want = append(want, better.source())
	}
	time.Sleep(2 * d.interval)

	heard := p.sniffer.heard()
	if got := reigns(heard); !slices.Equal(got, want) {
		t.Errorf("masters were %v, want %v%s", got, want, chronicle(heard))
	}
	for _, complaint := range []string{"nvalid", "expect", "mismatch", "not present", "WARNING", "received an", "too short", "too long"} {
		if got := p.keepalived.log.lines(complaint); len(got) != 0 {
			t.Errorf("keepalived complains: %q", got)
		}
	}
	p.ours.process.stop()
	for _, line := range p.ours.process.said(time.Time{}, "") {
		if strings.Contains(line.text, "level=WARN") || strings.HasPrefix(line.text, "dropped") && line.text != "dropped 0, rivals 0" {
			t.Errorf("we complain: %s", line.text)
		}
	}
	d.checkSums(t, p)
}

// checkSums looks at the rules by which both have sent: ours is that of keepalived in the end.
func (d dialect) checkSums(t *testing.T, p *pair) {
	t.Helper()
	p.sniffer.stop()
	rules := make(map[string]vrrp.Checksum)
	for _, f := range p.sniffer.frames {
		ip := packet(t, f[14:])
		a, err := vrrp.Parse(ip.Payload, ip.Source, ip.Destination)
		if err != nil {
			t.Errorf("on the wire: %v", err)
			continue
		}
		if ip.Source == p.keepalived.own && a.Checksum != d.sums {
			t.Errorf("keepalived sends by the rule %q, want %q", a.Checksum, d.sums)
		}
		if a.Priority != 0 {
			rules[ip.Source.String()] = a.Checksum
		}
	}
	if got := rules[p.ours.source()]; got != d.sums {
		t.Errorf("we send by the rule %q in the end, want %q", got, d.sums)
	}
}

// Elections with keepalived, in every dialect that it has: at the start, after the stop and the death of each, and at
// its return, with preemption and without it, there is one Master, the right one, in time.
func TestElectionsWithKeepalived(t *testing.T) {
	t.Parallel()
	tests := make(map[string]func(t *testing.T))
	limit := make(chan struct{}, 8) // so many at once do not keep each other from being in time
	for _, d := range dialects {
		for _, better := range []bool{false, true} {
			for _, preempt := range []bool{true, false} {
				if d.sums != 0 && better && !preempt {
					continue
				}
				number, who, how := "IOP-01", "keepalived is better", "preempt"
				if better {
					number, who = "IOP-02", "ours is better"
				}
				if d.sums != 0 {
					number = "IOP-05"
				}
				if !preempt {
					how = "no preempt"
				}
				tests[fmt.Sprintf("%s %s, %s, %s", number, d.name, who, how)] = func(t *testing.T) {
					if d.interval < time.Second {
						limit <- struct{}{}
						defer func() { <-limit }()
					}
					d.live(t, better, preempt)
				}
			}
		}
	}
	atOnce(t, tests)
}

// keepalived that has an address more refuses what we say, and says so; it stays Master beside us. We say with whom
// we are at odds about what.
func TestKeepalivedWithAnAddressMore(t *testing.T) {
	t.Parallel()
	t.Run("IOP-09", func(t *testing.T) {
		d := dialects[slices.IndexFunc(dialects, func(d dialect) bool { return d.name == "version 3" })]
		p := d.pair(t, 150, 100, true)
		p.keepalived.text = strings.Replace(p.keepalived.text, "10.99.0.101/24", "10.99.0.101/24\n10.99.0.102/24", 1)
		// It restarts its timer with each advertisement, also one that it refuses: at our pace it would fall silent.
		p.keepalived.text = strings.Replace(p.keepalived.text, "advert_int 0.2", "advert_int 0.1", 1)
		p.keepalived.start()
		p.until(t, p.keepalived.source(), time.Time{})
		s := p.ours.machine.station(p.ours.config)
		s.await(t, vrrp.Master)
		time.Sleep(8 * d.interval)
		got := s.Status()
		if got.State != vrrp.Master || got.Rival != p.keepalived.own || got.Counters.RivalsHeard == 0 || got.Counters.AddressMismatches == 0 {
			t.Errorf("status %+v", got)
		}
		if got := p.keepalived.log.lines("expected"); len(got) == 0 {
			t.Errorf("keepalived does not complain: %q", p.keepalived.log.lines(""))
		}
		for _, want := range []string{
			`another router lists other addresses" instance=web vrid=51 interface=eth0 source=10.99.0.2 listed="[10.99.0.100 10.99.0.101 10.99.0.102]" configured="[10.99.0.100 10.99.0.101]"`,
			`another router is master too" instance=web vrid=51 interface=eth0 source=10.99.0.2 priority=100`,
		} {
			if got := s.logs.lines(want); len(got) != 1 {
				t.Errorf("logged %q, want %s", s.logs.lines("level=WARN"), want)
			}
		}
	})
}
