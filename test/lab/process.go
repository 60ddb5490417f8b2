package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end after it was told to. A guest may be slow.
const stopTimeout = 30 * time.Second

// A Cmd is an [exec.Cmd] whose process is started inside a host.
type Cmd struct {
	*exec.Cmd
	host *Host
}

// Command returns a command that runs inside the host. It is the leader of a process group, and is killed when this
// process dies.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, tool(name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	return &Cmd{Cmd: cmd, host: h}
}

// Start starts the command; see [exec.Cmd.Start].
func (c *Cmd) Start() error {
	// A process is born into the namespace of the thread that starts it: no program has to be run to get there.
	var err error
	if e := inNamespace(c.host.ns, func() { err = c.Cmd.Start() }); e != nil {
		return e
	}
	return err
}

// Run starts the command and waits for its end; see [exec.Cmd.Run].
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// CombinedOutput runs the command and returns what it wrote; see [exec.Cmd.CombinedOutput].
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// Output runs the command and returns its standard output. The error holds what it wrote to standard error.
func (c *Cmd) Output() ([]byte, error) {
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	err := c.Run()
	if err != nil && complaint.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.Bytes(), err
}

// Run runs a command inside the host and returns what it wrote. The test fails if the command does.
func (h *Host) Run(name string, args ...string) string {
	h.lab.Helper()
	out, err := h.Command(context.Background(), name, args...).CombinedOutput()
	if err != nil {
		h.lab.Fatalf("host %s: %s %s: %v\n%s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Input runs a command inside the host, like Run, and gives it a text to read.
func (h *Host) Input(text, name string, args ...string) string {
	h.lab.Helper()
	cmd := h.Command(context.Background(), name, args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.lab.Fatalf("host %s: %s %s: %v\n%s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A Process is a daemon of a host, in the foreground of the lab. It can be started again after it has ended.
type Process struct {
	Host *Host

	name string
	args []string
	env  []string

	mu      sync.Mutex
	pid     int
	ended   chan struct{} // closed when the process of pid has ended
	err     error         // how it ended
	lines   []string
	partial []byte
	follow  func(string)
}

// Process returns a daemon that is not started. Its output is in the test's log if the test fails.
func (h *Host) Process(name string, args ...string) *Process {
	p := &Process{Host: h, name: name, args: args}
	h.lab.Cleanup(func() {
		p.Kill()
		if h.lab.Failed() {
			h.lab.Logf("output of %s on %s:\n%s", p.name, h.Name, strings.Join(p.Lines(), "\n"))
		}
	})
	return p
}

// Start starts the process.
func (p *Process) Start() {
	l := p.Host.lab
	l.Helper()
	if p.Running() {
		l.Fatalf("host %s: %s runs already", p.Host.Name, p.name)
	}
	cmd := p.Host.Command(context.Background(), p.name, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout = p
	cmd.Stderr = p
	if err := cmd.Start(); err != nil {
		l.Fatalf("host %s: starting %s: %v", p.Host.Name, p.name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.pid, p.ended = cmd.Process.Pid, ended
	p.mu.Unlock()
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(ended)
	}()
}

// Write takes the output of the process apart into lines.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, b...)
	for {
		line, rest, found := bytes.Cut(p.partial, []byte("\n"))
		if !found {
			return len(b), nil
		}
		p.lines = append(p.lines, string(line))
		if p.follow != nil {
			p.follow(string(line))
		}
		p.partial = append([]byte(nil), rest...)
	}
}

// Lines returns the lines that the process has written, to either of its outputs, over all its starts.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Follow calls f with each line that the process writes from now on. f must not call methods of the process.
func (p *Process) Follow(f func(line string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.follow = f
}

// PID returns the process's id, 0 before its first start.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Running reports whether the process has been started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return false
	}
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// Wait waits for the process's end and returns how it ended, nil for status 0. The test fails if it goes on for longer
// than the limit.
func (p *Process) Wait(limit time.Duration) error {
	p.Host.lab.Helper()
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		p.Host.lab.Fatalf("host %s: %s was not started", p.Host.Name, p.name)
	}
	select {
	case <-ended:
	case <-time.After(limit):
		p.Host.lab.Fatalf("host %s: %s still runs after %s", p.Host.Name, p.name, limit)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Signal sends a signal to the process, not to its children.
func (p *Process) Signal(s syscall.Signal) {
	p.Host.lab.Helper()
	if !p.Running() {
		p.Host.lab.Fatalf("host %s: %s does not run", p.Host.Name, p.name)
	}
	if err := syscall.Kill(p.PID(), s); err != nil {
		p.Host.lab.Fatalf("host %s: sending %s to %s: %v", p.Host.Name, s, p.name, err)
	}
}

// Stop tells the process to end, as systemctl stop does (SIGTERM), and waits until it has. It returns how it ended.
func (p *Process) Stop() error {
	p.Host.lab.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(stopTimeout)
}

// Kill ends the process and its children at once (kill -9) and waits until it is gone. One that does not run is left
// alone.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	p.group(syscall.SIGKILL)
	_ = p.Wait(stopTimeout)
}

// Freeze stops the process and its children where they are (SIGSTOP); the kernel still accepts connections for them.
func (p *Process) Freeze() {
	p.Host.lab.Helper()
	p.group(syscall.SIGSTOP)
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() {
	p.Host.lab.Helper()
	p.group(syscall.SIGCONT)
}

// group sends a signal to the process group.
func (p *Process) group(s syscall.Signal) {
	p.Host.lab.Helper()
	if err := syscall.Kill(-p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.Host.lab.Fatalf("host %s: sending %s to %s: %v", p.Host.Name, s, p.name, err)
	}
}

// Memory returns the bytes of memory that the process occupies (VmRSS).
func (p *Process) Memory() int64 {
	p.Host.lab.Helper()
	return memory(p.Host.lab, p.PID())
}

func memory(l *Lab, pid int) int64 {
	l.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		l.Fatalf("memory of process %d: %v", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64); err == nil {
				return n * 1024
			}
		}
	}
	l.Fatalf("memory of process %d is not told:\n%s", pid, b)
	return 0
}
