package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
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

// TestRunWithAddressesAlone runs on a kernel without IPVS, too.
func TestRunWithAddressesAlone(t *testing.T) {
	runtime := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := inNamespace(t, ctx, "run", "--config", write(t, goodConfig), "--name", "lvs-01", "--runtime-dir", runtime)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var status control.Status
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		var err error
		if status, err = control.Fetch(ctx, filepath.Join(runtime, "control.sock")); err == nil && status.Instances[0].State == "master" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(status.Instances) != 1 || status.Instances[0].State != "master" || !status.Instances[0].Addresses[0].Held || len(status.Problems) != 0 {
		t.Errorf("status: %+v", status)
	}
	cancel()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the end: %v", err)
	}
	if t.Failed() {
		t.Logf("output:\n%s", out.String())
	}
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
