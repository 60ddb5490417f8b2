package scenario

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/test/lab"
)

// foreign puts a service and an address on a director that are none of lvsd's
// business, and returns a function that expects them still to be there.
func foreign(t *testing.T, d *lab.Director) func(when string) {
	t.Helper()
	d.Host.Run("ipvsadm", "-A", "-t", "10.9.9.9:80", "-s", "sh")
	d.Host.Run("ipvsadm", "-a", "-t", "10.9.9.9:80", "-r", "10.9.9.8:80", "-m", "-w", "7")
	d.Host.AddAddress("eth2", "192.168.50.200/24")
	const entry = "TCP  10.9.9.9:80 sh\n  -> 10.9.9.8:80                  Masq    7      0          0         \n"
	return func(when string) {
		t.Helper()
		if got := table(d.Host); !strings.Contains(got, entry) {
			t.Errorf("%s: the foreign service is not as it was:\n%s", when, got)
		}
		if got := fmt.Sprint(d.Host.Addresses("eth2")); !strings.Contains(got, "192.168.50.200/24") {
			t.Errorf("%s: the foreign address has gone: %s", when, got)
		}
	}
}

// TestWhatSomebodyBreaksIsRepaired breaks the kernel's state behind lvsd's back.
func TestWhatSomebodyBreaksIsRepaired(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01)
	run(t, w.Lab, w.LVS01)
	d := w.LVS01
	want := table(d.Host)
	const service = "192.168.50.100:80"
	tests := []struct {
		name   string
		break_ func()
		log    []string // words of the one line that tells of it
	}{
		{"changed weight", func() { d.Host.Run("ipvsadm", "-e", "-t", service, "-r", "192.168.50.22:80", "-m", "-w", "9") }, []string{"192.168.50.22:80", "from 9 to 1"}},
		{"deleted real server", func() { d.Host.Run("ipvsadm", "-d", "-t", service, "-r", "192.168.50.23:80") }, []string{"192.168.50.23:80"}},
		{"changed scheduler", func() { d.Host.Run("ipvsadm", "-E", "-t", service, "-s", "wlc") }, []string{"rr"}},
		{"added real server", func() { d.Host.Run("ipvsadm", "-a", "-t", service, "-r", "192.168.50.99:80", "-m") }, []string{"192.168.50.99:80"}},
		{"deleted service", func() { d.Host.Run("ipvsadm", "-D", "-t", service) }, nil},
		{"flushed table", func() { d.Host.Run("ipvsadm", "-C") }, nil},
	}
	for _, tt := range tests {
		lines := len(d.Lines())
		tt.break_()
		broken := time.Now()
		w.Eventually(patience, tt.name+": repair", func() bool { return table(d.Host) == want })
		if took := time.Since(broken); took > time.Second+slack {
			t.Errorf("%s: repaired after %v, want within a second", tt.name, took)
		}
		if tt.log == nil {
			continue
		}
		time.Sleep(1200 * time.Millisecond) // two more looks of the reconciler
		var told []string
		for _, line := range d.Lines()[lines:] {
			all := strings.Contains(line, "repair")
			for _, word := range tt.log {
				all = all && strings.Contains(line, word)
			}
			if all {
				told = append(told, line)
			}
		}
		if len(told) != 1 {
			t.Errorf("%s: %d lines tell of the repair, want 1: %q", tt.name, len(told), d.Lines()[lines:])
		}
	}

	check := foreign(t, d)
	check("at first")
	d.Host.DeleteAddress("eth2", lab.VIP+"/24")
	deleted := time.Now()
	w.Eventually(patience, "the VIP to come back", func() bool { return d.Host.Has(vip) })
	if took := time.Since(deleted); took > time.Second+slack {
		t.Errorf("the VIP came back after %v, want within a second", took)
	}
	check("after the repairs")
	w.LVS01.Reload()
	time.Sleep(time.Second)
	check("after a reload")
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	check("after the end")
	if got := table(d.Host); strings.Contains(got, lab.VIP) || d.Host.Has(vip) {
		t.Errorf("after the end something of ours is left:\n%s\n%v", got, d.Host.Addresses("eth2"))
	}
}

// keptOpen is a connection to the site that lives through what the test does.
type keptOpen struct {
	t    *testing.T
	conn net.Conn
	read *bufio.Reader
}

func keepOpen(t *testing.T, h *lab.Host, address string) *keptOpen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &keptOpen{t, conn, bufio.NewReader(conn)}
}

// use makes a request on the connection.
func (k *keptOpen) use(when string) {
	k.t.Helper()
	k.conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(k.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", lab.SiteName)
	r, err := http.ReadResponse(k.read, nil)
	if err != nil {
		k.t.Errorf("%s: the connection has died: %v", when, err)
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 302 {
		k.t.Errorf("%s: status %d, %v", when, r.StatusCode, err)
	}
}

// TestKillAndStartAgain kills the daemon, as nobody should, and starts it again.
func TestKillAndStartAgain(t *testing.T) {
	w := lab.New(t).NAT()
	d := w.LVS01
	quick(t, d)
	run(t, w.Lab, d)
	check := foreign(t, d)
	open := keepOpen(t, w.Client, w.Front+":80")
	open.use("before")
	before := w.LVS01.Host.Run("ipvsadm", "-Ln", "--stats")

	d.Kill()
	if !d.Host.Has(vip) {
		t.Error("the address went with the daemon: it should stay")
	}
	open.use("without a daemon")
	d.Start()
	w.Eventually(patience, "master again", func() bool { return isMaster(t, d) && allUp(t, d) })
	open.use("after the start")
	// Counters only grow if the entries were never taken out.
	if after := d.Host.Run("ipvsadm", "-Ln", "--stats"); firstCounters(before) > firstCounters(after) {
		t.Errorf("the table was made anew:\n%s\n%s", before, after)
	}
	check("after the start")

	// Killed again, and started with another configuration.
	d.Kill()
	d.Edit(lab.VIP, "192.168.50.101", `["192.168.50.101:80", "192.168.50.101:443"]`, `["192.168.50.101:443"]`)
	d.Start()
	w.Eventually(patience, "master of the new address", func() bool { return isMaster(t, d) })
	w.Eventually(patience, "the old configuration gone", func() bool {
		return !d.Host.Has(vip) && !strings.Contains(table(d.Host), lab.VIP)
	})
	if got := table(d.Host); !strings.Contains(got, "TCP  192.168.50.101:443 rr") || strings.Contains(got, ":80 rr") {
		t.Errorf("the table of the new configuration:\n%s", got)
	}
	check("after the change")

	// Killed for good: what is left is released by the command of the unit.
	d.Kill()
	if out, err := d.Lvsd(t.Context(), "release", "--runtime-dir", d.RuntimeDir()); err != nil {
		t.Errorf("lvsd release: %v\n%s", err, out)
	}
	if got := table(d.Host); strings.Contains(got, "192.168.50.101") || strings.Contains(fmt.Sprint(d.Host.Addresses("eth2")), ".101") {
		t.Errorf("after lvsd release something is left:\n%s\n%v", got, d.Host.Addresses("eth2"))
	}
	check("after the release")
}

// firstCounters is the number of connections of the first service of ours.
func firstCounters(stats string) int {
	for line := range strings.Lines(stats) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[1] == lab.VIP+":80" {
			var n int
			fmt.Sscan(fields[2], &n) //nolint:errcheck // 0 will do
			return n
		}
	}
	return 0
}

// TestReload changes the configuration of a running director.
func TestReload(t *testing.T) {
	w := lab.New(t).NAT()
	d := w.LVS01
	quick(t, d)
	run(t, w.Lab, d)
	check := foreign(t, d)
	open := keepOpen(t, w.Client, w.Front+":80")
	open.use("before")
	reloads := func() int { return logged(d, "configuration reloaded") }
	reload := func() {
		t.Helper()
		before := reloads()
		d.Reload()
		w.Eventually(patience, "the reload", func() bool { return reloads() > before })
	}
	expect := func(what, want string) {
		t.Helper()
		w.Eventually(patience, what, func() bool { return strings.Contains(table(d.Host), want) })
	}

	// The real server has an entry for each of the two ports: one change each.
	changes := func() int { return logged(d, "IPVS table applied") }
	before, two := changes(), logged(d, "IPVS table applied", `"changes":2`)
	d.Edit(`{ address = "192.168.50.22" }`, `{ address = "192.168.50.22", weight = 5 }`)
	reload()
	expect("the changed weight", "  -> 192.168.50.22:443            Masq    5 ")
	open.use("after the changed weight")
	if changes() != before+1 || logged(d, "IPVS table applied", `"changes":2`) != two+1 {
		t.Errorf("a changed weight was not one change of each entry: %q", d.Lines())
	}

	config, err := os.ReadFile(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	d.Configure(string(config) + `
[service.dns]
listen   = ["192.168.50.100:53"]
protocol = "udp"
real     = [{ address = "192.168.50.22", check = { type = "none" } }]
`)
	reload()
	expect("the added service", "UDP  192.168.50.100:53 ")
	d.Configure(string(config))
	reload()
	w.Eventually(patience, "the removed service to go", func() bool { return !strings.Contains(table(d.Host), "UDP") })
	open.use("after the services")

	// Files that are refused change nothing and are told of.
	testdata := filepath.Join(filepath.Dir(w.ConfigFile("nat.toml")), "testdata")
	d.Host.Run("cp", "-r", testdata+"/.", filepath.Dir(d.Config)) // what they include
	files, err := filepath.Glob(filepath.Join(testdata, "invalid-*.toml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d broken files, %v: want 20 or more", len(files), err)
	}
	// Counters change with the connections, so connections end first.
	open.conn.Close()
	shown := table(d.Host)
	for _, file := range files {
		broken, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		refused := logged(d, "reload refused: the running configuration stays in force")
		d.Configure(string(broken))
		d.Reload()
		w.Eventually(patience, filepath.Base(file)+": the refusal", func() bool {
			return logged(d, "reload refused: the running configuration stays in force") > refused
		})
		if s := statusOf(t, d); s.Config.Error == "" || len(s.Problems) == 0 {
			t.Errorf("%s: the status does not tell of it: %+v", filepath.Base(file), s)
		}
	}
	if diff := cmp.Diff(withoutCounters(shown), withoutCounters(table(d.Host))); diff != "" {
		t.Errorf("broken files changed the table (-before +after):\n%s", diff)
	}
	d.Configure(string(config))
	reload()
	if s := statusOf(t, d); s.Config.Error != "" || len(s.Problems) != 0 {
		t.Errorf("after a good reload: %+v", s)
	}
	check("after all reloads")
	if !isMaster(t, d) || logged(d, "state changed", `"to":"backup"`) > 1 {
		t.Error("the reloads moved the address")
	}
}

// withoutCounters takes the two columns of connections out of a table.
func withoutCounters(table string) string {
	var b strings.Builder
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "  ->") && len(fields) == 6 {
			fields = fields[:4]
		}
		fmt.Fprintln(&b, strings.Join(fields, " "))
	}
	return b.String()
}

// copyOfLVSD returns the path of another binary than the one that runs.
func copyOfLVSD(t *testing.T) string {
	t.Helper()
	path, err := lab.LVSD()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "lvsd")
	if err := os.WriteFile(other, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return other
}

// TestAMissingSchedulerIsNamed starts a director with a scheduler that Debian's
// kernel is not built with.
func TestAMissingSchedulerIsNamed(t *testing.T) {
	l := lab.New(t)
	d := l.Host("lvs-01").Director("lvs-01", l.ConfigFile("nat.toml"))
	d.Edit(`scheduler = "rr"`, `scheduler = "twos"`)
	d.Use(copyOfLVSD(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := d.Lvsd(ctx, "run", "--config", d.Config, "--name", d.Name, "--runtime-dir", d.RuntimeDir())
	if err == nil || !strings.Contains(err.Error(), "scheduler twos") || !strings.Contains(err.Error(), "its module ip_vs_twos is not there") {
		t.Errorf("lvsd run: %v", err)
	}
}
