package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsd/test/lab"
)

// comeback is the promise: so long after a crash exactly one director owns the
// addresses, and its checks run.
const comeback = time.Second

// deadServer is how long a check may take to find a dead server, with the
// defaults: the interval and three failures, 200 ms apart.
const deadServer = 2*time.Second + 3*200*time.Millisecond

// A claim says who had the VIP at some moment.
type claim struct {
	at     time.Time
	owners string
}

// claims watches who has the VIP.
type claims struct {
	stop chan struct{}
	done sync.WaitGroup

	mu  sync.Mutex
	all []claim // the changes
}

func watchClaims(directors ...*lab.Director) *claims {
	c := &claims{stop: make(chan struct{})}
	c.done.Go(func() {
		for {
			now := claim{time.Now(), owners(directors...)}
			c.mu.Lock()
			if len(c.all) == 0 || c.all[len(c.all)-1].owners != now.owners {
				c.all = append(c.all, now)
			}
			c.mu.Unlock()
			select {
			case <-time.After(5 * time.Millisecond):
			case <-c.stop:
				return
			}
		}
	})
	return c
}

func (c *claims) end() []claim {
	close(c.stop)
	c.done.Wait()
	return c.all
}

// without returns for how long nobody had the VIP.
func without(all []claim) (longest time.Duration) {
	for n, c := range all {
		if c.owners == "" && n+1 < len(all) {
			longest = max(longest, all[n+1].at.Sub(c.at))
		}
	}
	return longest
}

// settled returns how long after a moment there was one owner for the first time,
// and has been since.
func settled(all []claim, since time.Time) time.Duration {
	if len(all) == 1 {
		return 0
	}
	last := all[len(all)-1]
	for n := len(all) - 1; n > 0; n-- {
		if strings.Contains(all[n].owners, " ") || all[n].owners == "" {
			break
		}
		last = all[n]
	}
	return max(0, last.at.Sub(since))
}

func (c claim) String() string { return fmt.Sprintf("%q", c.owners) }

// serves reports whether a director sends connections to a real server.
func serves(d *lab.Director, server string) bool {
	for line := range strings.Lines(table(d.Host)) {
		fields := strings.Fields(line)
		if len(fields) == 6 && fields[0] == "->" && strings.HasPrefix(fields[1], server+":") && fields[3] != "0" {
			return true
		}
	}
	return false
}

// unwell lists the problems of a director, but for the restarts of its halves. One
// that does not answer has a problem, too.
func unwell(d *lab.Director) []string {
	text, err := d.TryStatus()
	if err != nil {
		return []string{err.Error()}
	}
	var s status
	if err := json.Unmarshal(text, &s); err != nil {
		return []string{err.Error()}
	}
	return slices.DeleteFunc(s.Problems, func(p string) bool { return strings.Contains(p, " half was restarted ") })
}

// TestCrash kills and freezes each of the processes of a director, on the master
// and on the backup. Systemd is played as the unit tells it to behave.
func TestCrash(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	units := map[*lab.Director]*lab.Unit{w.LVS01: w.LVS01.Unit(), w.LVS02: w.LVS02.Unit()}
	both := []*lab.Director{w.LVS01, w.LVS02}
	well := func(when string) {
		t.Helper()
		for _, d := range both {
			w.Eventually(patience, when+": "+d.Name+" well", func() bool { return len(unwell(d)) == 0 && allUp(t, d) })
		}
		w.Eventually(patience, when+": lvs-01 master and sole owner", func() bool { return isMaster(t, w.LVS01) && owners(both...) == "lvs-01" })
	}
	well("start")

	const director, elector, main = "director", "elector", "main process"
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		for _, victims := range [][]string{{director}, {elector}, {elector, director}, {main}, {main, elector, director}} {
			for _, crashed := range both {
				name := fmt.Sprintf("%s of %s on %s", signal, strings.Join(victims, " and "), crashed.Name)
				t.Run(name, func(t *testing.T) {
					limit := comeback
					if slices.Contains(victims, main) {
						// The main process is systemd's to watch.
						limit += units[crashed].RestartDelay()
						if signal == syscall.SIGSTOP {
							limit += units[crashed].WatchdogLimit()
						}
					}
					var pids []int
					for _, v := range victims {
						if v == main {
							pids = append(pids, crashed.PID())
						} else {
							pids = append(pids, crashed.Half(v).PID)
						}
					}
					restarts := units[crashed].Restarts()
					watched := watchClaims(both...)
					time.Sleep(50 * time.Millisecond)
					begin := time.Now()
					for _, pid := range pids {
						if err := syscall.Kill(pid, signal); err != nil {
							t.Fatal(err)
						}
					}
					// Somebody has to notice: it is the crashed one's turn on the master.
					w.Nginx03.Kill()
					w.Eventually(patience, "the dead real server out of service", func() bool {
						owner := owners(both...)
						return slices.ContainsFunc(both, func(d *lab.Director) bool { return d.Name == owner && !serves(d, "192.168.50.23") })
					})
					out := time.Since(begin)
					w.Eventually(patience, "the dead real server out of service on "+crashed.Name, func() bool { return !serves(crashed, "192.168.50.23") })
					outCrashed := time.Since(begin)
					w.Eventually(patience, "the status of "+crashed.Name, func() bool {
						p := unwell(crashed)
						return len(p) == 1 && strings.Contains(p[0], "real server 192.168.50.23 is down")
					})
					time.Sleep(max(0, limit+slack-time.Since(begin)))
					all := watched.end()
					took := settled(all, begin)
					gap := without(all)
					t.Logf("%s: one owner after %v, without any for %v; dead server out after %v, on the crashed one %v; claims %v; unit restarts %d",
						name, took.Round(time.Millisecond), gap, out.Round(time.Millisecond), outCrashed.Round(time.Millisecond),
						all, units[crashed].Restarts()-restarts)
					if took > limit+slack || len(all) == 0 || all[len(all)-1].owners == "" {
						t.Errorf("one owner after %v, want within %v: %v", took, limit, all)
					}
					if gap > 0 {
						t.Errorf("for %v nobody had the VIP: %v", gap, all)
					}
					if max(out, outCrashed) > limit+deadServer+slack {
						t.Errorf("the dead server was out of service after %v, on the crashed director after %v, want within %v", out, outCrashed, limit+deadServer)
					}
					if r := w.Client.Get("https://" + lab.SiteName + "/"); r.Err != nil || r.Status != 200 {
						t.Errorf("afterwards: status %d, %v", r.Status, r.Err)
					}
					w.Nginx03.Start()
					well("afterwards")
				})
			}
		}
	}
}

// TestTheHalvesOfADeadMainProcessEnd kills the main process of a master where no
// systemd kills the rest: the halves do what they do at a proper end.
func TestTheHalvesOfADeadMainProcessEnd(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	watched := watchClaims(w.LVS01, w.LVS02)
	w.LVS01.Signal(syscall.SIGKILL)
	killed := time.Now()
	w.Eventually(patience, "lvs-02 the sole owner, and nothing left on lvs-01", func() bool {
		return owners(w.LVS01, w.LVS02) == "lvs-02" && !strings.Contains(table(w.LVS01.Host), lab.VIP)
	})
	took := time.Since(killed)
	all := watched.end()
	t.Logf("handed over and tidied up after %v; claims %v", took, all)
	if gap := without(all); gap > 0 {
		t.Errorf("for %v nobody had the VIP: %v", gap, all)
	}
	if limit := 2*time.Second + slack; took > limit {
		t.Errorf("it took %v, want within %v", took, limit)
	}
	w.LVS01.Wait(patience) //nolint:errcheck // it was killed
	w.LVS01.Start()
	w.Eventually(patience, "lvs-01 master again", func() bool { return isMaster(t, w.LVS01) && owners(w.LVS01, w.LVS02) == "lvs-01" })
}

// TestADirectorHalfThatDoesNotComeBack kills a director half whose configuration
// has become bad.
func TestADirectorHalfThatDoesNotComeBack(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	good := w.LVS01.Text()
	half := w.LVS01.Half("director")
	w.LVS01.Configure("nonsense")
	watched := watchClaims(w.LVS01, w.LVS02)
	half.Kill()
	killed := time.Now()
	w.Eventually(patience, "lvs-02 the sole owner", func() bool { return owners(w.LVS01, w.LVS02) == "lvs-02" })
	t.Logf("handed over after %v", time.Since(killed))
	if took, limit := time.Since(killed), 4*time.Second+slack; took > limit {
		t.Errorf("lvs-02 is the sole owner after %v, want within %v", took, limit)
	}
	if gap := without(watched.end()); gap > 0 {
		t.Errorf("for %v nobody had the VIP", gap)
	}
	if _, err := w.LVS01.TryStatus(); err == nil {
		t.Error("the director half has come back")
	}

	// The only one that is left keeps the address: badly checked is better than
	// not answered.
	if err := w.LVS02.Stop(); err != nil {
		t.Error(err)
	}
	w.Eventually(patience, "lvs-01 the owner again", func() bool { return owners(w.LVS01, w.LVS02) == "lvs-01" })
	w.LVS02.Start()
	w.Eventually(patience, "lvs-02 the sole owner again", func() bool { return owners(w.LVS01, w.LVS02) == "lvs-02" })

	w.LVS01.Configure(good)
	w.Eventually(patience, "lvs-01 master, and well", func() bool {
		return len(unwell(w.LVS01)) == 0 && isMaster(t, w.LVS01) && allUp(t, w.LVS01) && owners(w.LVS01, w.LVS02) == "lvs-01"
	})
}

// TestAnElectorHalfThatDoesNotComeBack kills an elector half that cannot be
// started again.
func TestAnElectorHalfThatDoesNotComeBack(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	socket := filepath.Join(w.LVS01.RuntimeDir(), "elector.sock")
	half := w.LVS01.Half("elector")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(socket, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	half.Kill()
	killed := time.Now()
	w.Eventually(patience, "lvs-02 the sole owner", func() bool { return owners(w.LVS01, w.LVS02) == "lvs-02" })
	t.Logf("given up after %v", time.Since(killed))
	if took, limit := time.Since(killed), 4*time.Second+slack; took > limit {
		t.Errorf("lvs-02 is the sole owner after %v, want within %v", took, limit)
	}
	w.Eventually(patience, "the status to say so", func() bool {
		return slices.ContainsFunc(statusOf(t, w.LVS01).Problems, func(p string) bool { return strings.Contains(p, "the elector half has not answered for") })
	})
	if err := os.RemoveAll(socket); err != nil {
		t.Fatal(err)
	}
	w.Eventually(patience, "lvs-01 master, and well", func() bool {
		return isMaster(t, w.LVS01) && len(unwell(w.LVS01)) == 0 && owners(w.LVS01, w.LVS02) == "lvs-01"
	})
}

// TestTheUnitsPrivilegesSuffice runs lvsd with what the unit leaves it.
func TestTheUnitsPrivilegesSuffice(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01)
	w.LVS01.Edit("vrid ", "track = [{ script = [\"/bin/sh\", \"-c\", \"test $(id -un) = nobody\"] }]\nvrid ")
	w.LVS01.LikeUnit()
	run(t, w.Lab, w.LVS01)
	const rr = 2 // SCHED_RR
	for name, want := range map[string]int{"elector": rr, "director": 0} {
		pid := w.LVS01.Half(name).PID
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(tasks) < 2 {
			t.Fatalf("threads of the %s half: %v, %v", name, tasks, err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err != nil {
				continue // it has ended
			}
			// proc_pid_stat(5): the state is the third field, the policy the 41st.
			fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
			if policy := fields[41-3]; policy != fmt.Sprint(want) {
				t.Errorf("a thread of the %s half has the scheduling policy %s, want %d", name, policy, want)
			}
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.LVS01.Half("elector").PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var locked, resident int
		if _, err := fmt.Sscanf(line, "VmLck: %d kB", &locked); err == nil && locked == 0 {
			t.Error("the memory of the elector half is not locked")
		}
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &resident); err == nil {
			t.Logf("the elector half occupies %d KiB", resident)
			if resident > 64<<10 {
				t.Errorf("the elector half occupies %d KiB", resident)
			}
		}
	}
	if err := w.LVS01.Stop(); err != nil {
		t.Error(err)
	}
	if got := table(w.LVS01.Host); strings.Contains(got, lab.VIP) || w.LVS01.Host.Has(vip) {
		t.Errorf("after the end something of ours is left:\n%s", got)
	}
}
