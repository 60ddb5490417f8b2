package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Unit does with a [Director] what systemd does with lvsd.service, as the file in the folder init says: when the main
// process has ended or is silent for too long it kills what is left (KillMode=mixed, WatchdogSignal=SIGKILL), runs
// ExecStopPost, and starts lvsd again.
type Unit struct {
	director *Director
	restart  time.Duration // RestartSec
	watchdog time.Duration // WatchdogSec
	socket   *net.UnixConn

	stop    chan struct{}
	stopped sync.WaitGroup

	mu       sync.Mutex
	heard    time.Time // the last sign of the main process, zero before it is ready
	restarts int
}

// Unit puts a director that does not run under the care of a unit, and starts it. It waits until it is ready.
func (d *Director) Unit() *Unit {
	l := d.Host.lab
	l.Helper()
	u := &Unit{director: d, stop: make(chan struct{})}
	settings := unitSettings(l)
	u.restart, u.watchdog = unitDuration(l, settings, "RestartSec"), unitDuration(l, settings, "WatchdogSec")
	path := filepath.Join(filepath.Dir(d.runtime), "notify")
	var err error
	if u.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		l.Fatalf("unit of %s: %v", d.Name, err)
	}
	d.env = append(d.env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC="+strconv.FormatInt(u.watchdog.Microseconds(), 10))
	d.Start()
	u.stopped.Go(u.listen)
	u.stopped.Go(u.care)
	l.Cleanup(u.Close)
	return u
}

// Restarts returns how often the unit has started the director again.
func (u *Unit) Restarts() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.restarts
}

// RestartDelay is how long the unit waits before it starts the director again, WatchdogLimit how long the main process
// may be silent.
func (u *Unit) RestartDelay() time.Duration  { return u.restart }
func (u *Unit) WatchdogLimit() time.Duration { return u.watchdog }

// Close ends the care for the director, which runs on.
func (u *Unit) Close() {
	select {
	case <-u.stop:
		return
	default:
	}
	close(u.stop)
	u.socket.Close()
	u.stopped.Wait()
}

// listen hears what the main process says of itself.
func (u *Unit) listen() {
	b := make([]byte, 4096)
	for {
		n, err := u.socket.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("READY=1")) || bytes.Contains(b[:n], []byte("WATCHDOG=1")) {
			u.mu.Lock()
			u.heard = time.Now()
			u.mu.Unlock()
		}
	}
}

// care starts the director again whenever it has ended.
func (u *Unit) care() {
	for {
		result := u.await()
		if result == "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		post := u.director.Host.Command(ctx, u.director.program, "release", "--systemd", "--runtime-dir", u.director.runtime)
		post.Env = append(os.Environ(), "SERVICE_RESULT="+result)
		out, err := post.CombinedOutput()
		cancel()
		if err != nil {
			u.director.Host.lab.Logf("ExecStopPost of %s: %v\n%s", u.director.Name, err, out)
		}
		select {
		case <-time.After(u.restart):
		case <-u.stop:
			return
		}
		u.mu.Lock()
		u.heard = time.Time{}
		u.restarts++
		u.mu.Unlock()
		u.director.Process.Start()
	}
}

// LikeUnit gives the director, from its next start on, no more privileges than the unit does: its capabilities and its
// limits.
func (d *Director) LikeUnit() {
	l := d.Host.lab
	l.Helper()
	settings := unitSettings(l)
	var keep []string
	for _, c := range strings.Fields(settings["CapabilityBoundingSet"]) {
		keep = append(keep, "+"+strings.ToLower(strings.TrimPrefix(c, "CAP_")))
	}
	if len(keep) == 0 || settings["LimitRTPRIO"] == "" || settings["LimitMEMLOCK"] != "infinity" {
		l.Fatalf("the unit does not say what privileges lvsd has: %v", settings)
	}
	d.under = []string{
		"prlimit", "--rtprio=" + settings["LimitRTPRIO"], "--memlock=unlimited",
		"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all," + strings.Join(keep, ","),
	}
}

// await waits for the end of the main process and returns what systemd calls it, "" when the care has ended.
func (u *Unit) await() (result string) {
	p := u.director.Process
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			p.mu.Lock()
			err := p.err
			p.mu.Unlock()
			var exit *exec.ExitError
			switch {
			case err == nil:
				return "success"
			case errors.As(err, &exit) && exit.Exited():
				return "exit-code"
			}
			return "signal"
		case <-ticker.C:
			// The process counts as ended when its output has, too: the halves share it.
			if syscall.Kill(p.PID(), 0) != nil {
				_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
			}
			u.mu.Lock()
			silent := !u.heard.IsZero() && time.Since(u.heard) > u.watchdog
			u.mu.Unlock()
			if silent {
				_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
				<-ended
				return "watchdog"
			}
		case <-u.stop:
			return ""
		}
	}
}

// unitSettings reads lvsd.service of this module.
func unitSettings(l *Lab) map[string]string {
	l.Helper()
	b, err := os.ReadFile(filepath.Join(l.module(), "init", "lvsd.service"))
	if err != nil {
		l.Fatalf("reading the unit: %v", err)
	}
	settings := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), "="); found && !strings.HasPrefix(name, "#") {
			settings[name] = value
		}
	}
	return settings
}

func unitDuration(l *Lab, settings map[string]string, name string) time.Duration {
	l.Helper()
	d, err := time.ParseDuration(settings[name])
	if err != nil || d <= 0 {
		l.Fatalf("the unit says %s=%s: %v", name, settings[name], err)
	}
	return d
}
