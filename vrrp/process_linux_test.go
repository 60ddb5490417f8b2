package vrrp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsd/vrrp"
)

// routerVariable has the test binary run as a router of this configuration, in a process that can be frozen and killed.
const routerVariable = "LVSD_VRRP_TEST_ROUTER"

func TestMain(m *testing.M) {
	if text := os.Getenv(routerVariable); text != "" {
		os.Exit(routerMain(text))
	}
	os.Exit(m.Run())
}

// routerMain is the router until SIGTERM. Each line that it writes begins with the time in nanoseconds.
func routerMain(text string) int {
	var c vrrp.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logs := &logBuffer{}
	link := vrrp.NewLink("eth0", func() (vrrp.Conn, error) { return vrrp.Listen("eth0", c.Family(), c.Addresses...) }, logs.logger())
	linkCtx, stopLink := context.WithCancel(context.Background())
	defer stopLink()
	var running sync.WaitGroup
	running.Go(func() { link.Run(linkCtx) })
	i := vrrp.NewInstance(link, c, speaker{}, vrrp.Options{Name: "web", Log: logs.logger(), OnTransition: func(t vrrp.Transition) {
		say(fmt.Sprintf("%s: %s", t.To, t.Reason))
	}})
	if err := i.Run(ctx); err != nil {
		say(err.Error())
		return 1
	}
	stopLink()
	running.Wait()
	for _, line := range logs.lines("level=WARN") {
		say(line)
	}
	status := i.Status()
	say(fmt.Sprintf("dropped %d, rivals %d", len(status.Counters.Dropped), status.Counters.RivalsHeard))
	return 0
}

func say(what string) { fmt.Println(time.Now().UnixNano(), what) }

// speaker is a Holder that writes down what it does.
type speaker struct{}

func (speaker) Take(context.Context) error    { say("take"); return nil }
func (speaker) Announce()                     { say("announce") }
func (speaker) Release(context.Context) error { say("release"); return nil }

// process is such a router.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	read sync.WaitGroup

	mu    sync.Mutex
	lines []saying
	ended bool
}

// saying is a line that it wrote.
type saying struct {
	at   time.Time
	text string
}

// process runs a router in the machine until the end of the test.
func (m *machine) process(c vrrp.Config) *process {
	m.t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		m.t.Fatal(err)
	}
	p := &process{t: m.t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), routerVariable+"="+string(config))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.in(func() { err = p.cmd.Start() })
	if err != nil {
		m.t.Fatal(err)
	}
	p.read.Go(func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			at, text, _ := strings.Cut(scanner.Text(), " ")
			ns, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				continue // not ours
			}
			p.mu.Lock()
			p.lines = append(p.lines, saying{time.Unix(0, ns), text})
			p.mu.Unlock()
		}
	})
	m.t.Cleanup(p.kill)
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("sending %s: %v", s, err)
	}
}

// stop ends it with SIGTERM and waits.
func (p *process) stop() {
	p.t.Helper()
	p.end(syscall.SIGTERM)
}

// kill ends it without a word.
func (p *process) kill() {
	p.t.Helper()
	p.end(syscall.SIGKILL)
}

func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	if p.ended {
		return
	}
	p.ended = true
	p.signal(s)
	p.read.Wait()
	if err := p.cmd.Wait(); err != nil && s == syscall.SIGTERM {
		p.t.Error(err)
	}
}

// said returns what it wrote since a moment, of the lines with this beginning.
func (p *process) said(since time.Time, beginning string) []saying {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []saying
	for _, l := range p.lines {
		if !l.at.Before(since) && strings.HasPrefix(l.text, beginning) {
			lines = append(lines, l)
		}
	}
	return lines
}

// await waits until it has written such a line, and returns the first one.
func (p *process) await(since time.Time, beginning string) saying {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if lines := p.said(since, beginning); len(lines) > 0 {
			return lines[0]
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it does not say %q within 20 seconds, but %v", beginning, p.said(time.Time{}, ""))
		}
	}
}
