package lab

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Director is lvsd on a host. All of [Process] is there to stop, kill, freeze and start it again: Signal and Stop go to
// its main process alone, the others to the halves too.
type Director struct {
	*Process

	// Name is the director's name in the configuration, Config the path of its own copy of the configuration file.
	Name, Config string

	program string   // lvsd, "" before the first start
	args    []string // of lvsd run
	under   []string // a command that starts it, if any
	runtime string
}

// Director returns an lvsd on the host, not started, and makes the host one that forwards packets. The folder of the
// configuration file is copied for the director, so that a test can change what is in it.
func (h *Host) Director(name, config string) *Director {
	l := h.lab
	l.Helper()
	// A director that is in one network with its real servers must not tell them of a shorter way.
	h.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.send_redirects=0")
	h.mu.Lock()
	for ifname := range h.cables {
		h.Sysctl("net.ipv4.conf." + ifname + ".send_redirects=0")
	}
	h.mu.Unlock()
	dir := l.folder(name)
	d := &Director{Name: name, Config: filepath.Join(dir, "etc", filepath.Base(config)), runtime: filepath.Join(dir, "run")}
	files, err := os.ReadDir(filepath.Dir(config))
	if err != nil {
		l.Fatalf("host %s: configuration: %v", h.Name, err)
	}
	for _, f := range files {
		if f.Type().IsRegular() && !strings.HasSuffix(f.Name(), ".go") {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(config), f.Name()))
			if err != nil {
				l.Fatalf("host %s: configuration: %v", h.Name, err)
			}
			l.write(filepath.Join(dir, "etc", f.Name()), b)
		}
	}
	d.args = []string{"run", "--config", d.Config, "--name", name, "--runtime-dir", d.runtime, "--log-format", "json"}
	d.Process = h.Process("lvsd")
	return d
}

// Use makes the director run another lvsd binary from its next start on.
func (d *Director) Use(program string) { d.program = program }

// Start starts lvsd and waits until it answers on its control socket.
func (d *Director) Start() {
	l := d.Host.lab
	l.Helper()
	if d.program == "" {
		program, err := LVSD()
		if err != nil {
			l.Fatalf("host %s: no lvsd to run: %v", d.Host.Name, err)
		}
		d.program = program
	}
	command := slices.Concat(d.under, []string{d.program}, d.args)
	d.Process.name, d.Process.args = command[0], command[1:]
	d.Process.Start()
	deadline := time.Now().Add(stopTimeout)
	for {
		_, err := d.TryStatus()
		if err == nil {
			return
		}
		if !d.Running() || time.Now().After(deadline) {
			l.Fatalf("lvsd on %s does not answer: %v\n%s", d.Host.Name, err, strings.Join(d.Lines(), "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TryStatus returns the director's status, or an error if it does not answer. The exit code 1, which says that something
// is not well, is no error if there is a status.
func (d *Director) TryStatus() (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	out, err := d.Lvsd(ctx, "status", "-o", "json", "--runtime-dir", d.runtime)
	if json.Valid(out) && len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// Lvsd runs the director's lvsd binary inside its host with other arguments and returns its standard output.
func (d *Director) Lvsd(ctx context.Context, args ...string) ([]byte, error) {
	return d.Host.Command(ctx, d.program, args...).Output()
}

// Status returns the director's status as lvsd status -o json prints it.
func (d *Director) Status() json.RawMessage {
	d.Host.lab.Helper()
	out, err := d.TryStatus()
	// A machine that is overloaded may not answer in time.
	for begin := time.Now(); err != nil && time.Since(begin) < statusPatience; time.Sleep(100 * time.Millisecond) {
		out, err = d.TryStatus()
	}
	if err != nil {
		d.Host.lab.Fatalf("status of lvsd on %s: %v", d.Host.Name, err)
	}
	return out
}

// statusPatience is how long Status asks again.
const statusPatience = 10 * time.Second

// RuntimeDir returns the folder in which lvsd has its control socket and its memory.
func (d *Director) RuntimeDir() string { return d.runtime }

// Reload tells lvsd to read its configuration again (SIGHUP). It does not wait.
func (d *Director) Reload() {
	d.Host.lab.Helper()
	d.Signal(syscall.SIGHUP)
}

// Edit replaces text in the director's configuration file, pairs of old and new. Each old text must be there.
func (d *Director) Edit(pairs ...string) {
	l := d.Host.lab
	l.Helper()
	text := d.Text()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			l.Fatalf("editing the configuration of %s: there is no %q in it", d.Name, pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	d.Configure(text)
}

// Text returns the director's configuration file.
func (d *Director) Text() string {
	d.Host.lab.Helper()
	b, err := os.ReadFile(d.Config)
	if err != nil {
		d.Host.lab.Fatalf("reading the configuration of %s: %v", d.Name, err)
	}
	return string(b)
}

// Configure replaces the director's configuration file.
func (d *Director) Configure(text string) {
	d.Host.lab.Helper()
	d.Host.lab.write(d.Config, []byte(text))
}

// A LogEntry is a line of lvsd's log.
type LogEntry struct {
	Time    time.Time
	Level   string
	Message string
	Fields  map[string]any // all of the line, time, level and msg too
}

// Log returns what lvsd has logged, over all its starts.
func (d *Director) Log() []LogEntry {
	var all []LogEntry
	for _, line := range d.Lines() {
		if e, ok := ParseLog(line); ok {
			all = append(all, e)
		}
	}
	return all
}

// ParseLog takes a line of lvsd's log apart, and reports whether it is one.
func ParseLog(line string) (LogEntry, bool) {
	e := LogEntry{Fields: map[string]any{}}
	if json.Unmarshal([]byte(line), &e.Fields) != nil {
		return LogEntry{}, false
	}
	e.Level, _ = e.Fields["level"].(string)
	e.Message, _ = e.Fields["msg"].(string)
	when, _ := e.Fields["time"].(string)
	var err error
	e.Time, err = time.Parse(time.RFC3339Nano, when)
	return e, err == nil
}
