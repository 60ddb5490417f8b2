package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsd/internal/control"
)

// asProgram makes the test binary the program itself.
const asProgram = "LVSD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	// What a test starts of its own executable is the program: lvsd run does so.
	os.Setenv(asProgram, "1")
	os.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector lets a process live on for a second
	os.Exit(m.Run())
}

// inNamespace returns a command that runs the program in a network namespace of
// its own, which has an interface eth2.
func inNamespace(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("NOT TESTED: network namespaces need root")
	}
	const setUp = `set -e
ip link add eth2 type veth peer name port
ip link set port up
ip link set eth2 up
ip address add 192.168.50.31/24 dev eth2
exec "$0" "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", setUp, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// TestRunWithABadFile runs three processes, of which one cannot start.
func TestRunWithABadFile(t *testing.T) {
	cmd := exec.Command(os.Args[0], "run", "--config", write(t, badConfig), "--runtime-dir", t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != exitProblem || strings.Count(stderr.String(), "\n") != 2 ||
		!strings.Contains(stderr.String(), `lvsd.toml:4: vrrp "web": vrid 256: must be 1 to 255`) || stdout.Len() != 0 {
		t.Errorf("lvsd run: %v, stdout:\n%s\nstderr:\n%s\nwant exit code 1 and the two problems", err, stdout.String(), stderr.String())
	}
}

// running is lvsd run in a network namespace of its own.
type running struct {
	*exec.Cmd
	t       *testing.T
	runtime string
	out     bytes.Buffer
	cancel  context.CancelFunc
}

func startDaemon(t *testing.T, config string, args ...string) *running {
	t.Helper()
	d := &running{t: t, runtime: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	d.cancel = cancel
	d.Cmd = inNamespace(t, ctx, append([]string{"run", "--config", write(t, config), "--name", "lvs-01", "--runtime-dir", d.runtime}, args...)...)
	d.Stdout, d.Stderr = &d.out, &d.out
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// await waits for a status that is as it should be.
func (d *running) await(what string, limit time.Duration, good func(control.Status) bool) control.Status {
	d.t.Helper()
	var last control.Status
	var err error
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(5 * time.Millisecond) {
		var now control.Status
		if now, err = control.Fetch(d.t.Context(), socketPath(d.runtime)); err == nil {
			if last = now; good(last) {
				return last
			}
		}
	}
	d.t.Fatalf("%s: not within %v: %v, status %+v", what, limit, err, last)
	return last
}

// stop ends the daemon as systemctl stop does.
func (d *running) stop() {
	d.t.Helper()
	d.cancel()
	if err := d.Wait(); err != nil && d.ProcessState.ExitCode() != 0 {
		d.t.Errorf("the end: %v", err)
	}
	if d.t.Failed() {
		d.t.Logf("output:\n%s", d.out.String())
	}
}

func isMaster(s control.Status) bool {
	return len(s.Instances) == 1 && s.Instances[0].State == "master" && s.Instances[0].Addresses[0].Held
}

// TestRunWithAddressesAlone runs on a kernel without IPVS, too.
func TestRunWithAddressesAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		halves int
	}{
		{"three processes", nil, 2},
		{"one process", []string{"--one-process"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := startDaemon(t, goodConfig, tt.args...)
			defer d.stop()
			s := d.await("master", 30*time.Second, isMaster)
			if len(s.Problems) != 0 || len(s.Halves) != tt.halves || s.PID != d.Process.Pid {
				t.Errorf("status: %+v", s)
			}
			reloaded := s.Config.LoadedAt
			if err := d.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			d.await("the reload", 10*time.Second, func(s control.Status) bool { return s.Config.LoadedAt.After(reloaded) })
		})
	}
}

// TestAHalfComesBack kills and freezes each half. The addresses stay where they
// are all the while.
func TestAHalfComesBack(t *testing.T) {
	d := startDaemon(t, strings.Replace(goodConfig, "vrid ", "advert_interval = \"200ms\"\nvrid ", 1))
	defer func() {
		d.stop()
		if n := strings.Count(d.out.String(), "addresses changed"); n != 2 {
			t.Errorf("the addresses changed %d times, want only at the start and at the end:\n%s", n, d.out.String())
		}
	}()
	d.await("master", 30*time.Second, isMaster)
	const slack = 2 * time.Second
	for n, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		for i, name := range []string{electorHalf, directorHalf} {
			before := d.await("well", 10*time.Second, isMaster)
			if err := syscall.Kill(before.Halves[i].PID, sig); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			after := d.await(name+" back", time.Second+slack, func(s control.Status) bool {
				return isMaster(s) && s.Halves[i].Restarts == n+1 && s.Halves[i].AwaySince.IsZero()
			})
			t.Logf("%s of the %s half: back after %v: %v", sig, name, time.Since(begin).Round(time.Millisecond), after.Problems)
			if h := after.Halves[i]; h.Name != name || h.PID == before.Halves[i].PID || h.RestartReason == "" {
				t.Errorf("%s of the %s half: %+v became %+v", sig, name, before.Halves[i], h)
			}
		}
	}
}

// TestOnlyOneDaemonRunsInAFolder looks at the lock, which a daemon that hangs
// holds, too.
func TestOnlyOneDaemonRunsInAFolder(t *testing.T) {
	runtime := t.TempDir()
	lock, err := takeRuntime(runtime)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "release"} {
		var stdout, stderr bytes.Buffer
		code := run([]string{command, "--runtime-dir", runtime}, &stdout, &stderr)
		if code != exitProblem || !strings.Contains(stderr.String(), "another lvsd runs there; stop that one first") {
			t.Errorf("lvsd %s: exit code %d, %s", command, code, stderr.String())
		}
	}
	time.AfterFunc(lockPatience/2, func() { lock.Close() }) // the processes of a killed daemon go one by one
	again, err := takeRuntime(runtime)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestReleaseWaitsForADaemonThatComesBack looks at what the unit's ExecStopPost
// does after different ends.
func TestReleaseWaitsForADaemonThatComesBack(t *testing.T) {
	const notice = "the daemon is about to be started again"
	for _, tt := range []struct {
		result string
		args   []string
		waits  bool
	}{
		{"signal", []string{"--systemd"}, true},
		{"exit-code", []string{"--systemd"}, true},
		{"success", []string{"--systemd"}, false},
		{"timeout", []string{"--systemd"}, false},
		{"signal", nil, false},
	} {
		cmd := exec.Command(os.Args[0], append([]string{"release", "--runtime-dir", t.TempDir()}, tt.args...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1", "SERVICE_RESULT="+tt.result)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), notice) != tt.waits {
			t.Errorf("result %s, arguments %q: %v, output %q", tt.result, tt.args, err, out)
		}
	}
}

// TestRunWithAServiceNeedsIPVS can only be shown on a kernel that has none.
func TestRunWithAServiceNeedsIPVS(t *testing.T) {
	if exec.Command("modprobe", "-n", "ip_vs").Run() == nil {
		t.Skip("NOT TESTED: this machine has the module ip_vs")
	}
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		t.Skip("NOT TESTED: this kernel has IPVS")
	}
	config := write(t, goodConfig+`
[service.web]
listen = ["192.168.50.100:80"]
real   = [{ address = "192.168.50.22" }]
`)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := inNamespace(t, ctx, "run", "--config", config, "--name", "lvs-01", "--runtime-dir", t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	const want = "this kernel has no IPVS: its module ip_vs is not loaded and cannot be loaded"
	if cmd.ProcessState.ExitCode() != exitProblem || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) {
		t.Errorf("lvsd run: %v, stderr:\n%s\nwant exit code 1 and one line with %q", err, stderr.String(), want)
	}
}
