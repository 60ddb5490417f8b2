package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// stopLimit is how long a half that the kernel says to be stopped may give no
	// sign of life, which it does four times in that time.
	stopLimit = 200 * time.Millisecond

	// hangLimit is stopLimit for a half that is not stopped. It may wait for a
	// processor or for a disk, or, as virtual machines do, for a processor that
	// waits itself: then to kill it would only do harm.
	hangLimit = 2 * time.Second

	// firstLimit is hangLimit before the first sign: a program is read from a
	// disk. It is given at once then, and is none of the work, see startLimit.
	firstLimit = 30 * time.Second

	// A half that has died is started again at once, unless it has lived for
	// less than shortLife: then after backoffMin, twice as long the next time, up
	// to backoffMax.
	shortLife  = 5 * time.Second
	backoffMin = 100 * time.Millisecond
	backoffMax = time.Second

	// abandonAfter is how long a half that dies again and again may leave its
	// work unattended, see Half.Abandon.
	abandonAfter = 3 * time.Second
)

// StatusRefused is the exit status of a half that cannot start, and has said
// why: to start it again would not help.
const StatusRefused = 3

// Half says what one of the processes is.
type Half struct {
	Name string
	Args []string // of the program

	// Abandon gives up what the half holds. It is called while no process of the
	// half runs, when none has been ready for three seconds. May be nil.
	Abandon func()
}

// half is one of the processes, over all its lives.
type half struct {
	Half
	supervisor *Supervisor
	stop       chan struct{}        // closed when it is to end
	reload     chan chan<- struct{} // orders to reload, each with what is closed when that is done
	ended      chan struct{}        // closed when it is gone for good
	err        error                // why; to be read when ended is closed

	// The rest belongs to run.
	process   Process   // the present one; without its PID
	ready     bool      // the present process has said so
	lost      time.Time // when the last process that was ready has died
	abandoned bool      // since then
	backoff   time.Duration
}

// run starts the half, again and again, until it is told to end.
func (h *half) run() {
	defer close(h.ended)
	h.lost = time.Now()
	for {
		h.process.Since = time.Now()
		h.ready = false
		how := h.live()
		if h.told() {
			h.err = how.unclean(h.Name)
			return
		}
		if how.status == StatusRefused && !h.supervisor.begun() {
			h.err = ErrRefused
			return
		}
		if h.ready {
			h.lost, h.abandoned = time.Now(), false
		}
		if time.Since(h.process.Since) > shortLife {
			h.backoff = 0
		}
		h.supervisor.options.Log.Error("a half of lvsd has ended and is started again", "half", h.Name,
			"pid", how.pid, "reason", how.String(), "restarts", h.process.Restarts+1, "pause", h.backoff)
		select {
		case <-time.After(h.backoff):
		case <-h.stop:
		}
		h.backoff = min(max(2*h.backoff, backoffMin), backoffMax)
		h.abandon()
		if h.told() {
			h.err = how.unclean(h.Name) // nobody has taken with it what it left
			return
		}
		h.process.Restarts++
		h.process.RestartedAt = time.Now()
		h.process.Reason = how.String()
	}
}

// told says whether the half is to end.
func (h *half) told() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

// abandon gives up what the half holds when it has not come back for too long.
func (h *half) abandon() {
	if h.abandoned || h.Abandon == nil || time.Since(h.lost) < abandonAfter {
		return
	}
	h.abandoned = true
	h.supervisor.options.Log.Error("a half of lvsd does not come back: what it holds is given up", "half", h.Name,
		"since", h.lost)
	h.Abandon()
}

// death is how a process has ended.
type death struct {
	pid    int
	status int            // exit status
	signal syscall.Signal // what has killed it, 0 if nothing has
	hung   time.Duration  // how long it had given no sign of life, if it was killed for that
	err    error          // why it could not even be started
}

func (d death) String() string {
	switch {
	case d.err != nil:
		return d.err.Error()
	case d.hung != 0:
		return fmt.Sprintf("no sign of life for %s", d.hung.Round(time.Millisecond))
	case d.signal != 0:
		return "killed by signal " + d.signal.String()
	}
	return fmt.Sprintf("exit status %d", d.status)
}

// unclean says why something may be left that a half takes with it when it ends
// as it should.
func (d death) unclean(name string) error {
	if d.err == nil && d.hung == 0 && d.signal == 0 && d.status == 0 {
		return nil
	}
	return fmt.Errorf("%w: the %s half: %s", ErrUnclean, name, d)
}

// live starts a process and watches it until it has ended.
func (h *half) live() death {
	cmd, said, orders, err := h.start()
	if err != nil {
		return death{err: err}
	}
	defer orders.Close()
	heard := make(chan byte)
	go func() {
		defer close(heard)
		for {
			var b [1]byte
			if n, err := said.Read(b[:]); n == 0 || err != nil {
				return
			}
			heard <- b[0]
		}
	}()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState says how
		close(ended)
	}()

	hung := h.watch(cmd.Process, heard, ended, orders)
	<-ended
	said.Close()
	for range heard { //nolint:revive // nobody listens any more
	}
	d := death{pid: cmd.Process.Pid, status: cmd.ProcessState.ExitCode(), hung: hung}
	if state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && state.Signaled() {
		d.signal = state.Signal()
	}
	return d
}

// start starts a process.
func (h *half) start() (cmd *exec.Cmd, said, orders *os.File, err error) {
	o := h.supervisor.options
	text, err := json.Marshal(life{Supervisor: os.Getpid(), Started: h.supervisor.started, Process: h.process, Kept: len(o.Keep)})
	if err != nil {
		return nil, nil, nil, err
	}
	said, says, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer says.Close()
	listens, orders, err := os.Pipe()
	if err != nil {
		said.Close()
		return nil, nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer listens.Close()

	// The program may have been replaced meanwhile: the halves are of the same
	// build as their supervisor in any case.
	cmd = exec.Command("/proc/self/exe", h.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = append([]*os.File{says, listens}, o.Keep...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), forSupervisor), variable+"="+string(text))
	if err := cmd.Start(); err != nil {
		said.Close()
		orders.Close()
		return nil, nil, nil, fmt.Errorf("starting the %s half: %w", h.Name, err)
	}
	return cmd, said, orders, nil
}

// forSupervisor picks what systemd tells its main process alone.
func forSupervisor(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" || name == "WATCHDOG_PID"
}

// watch passes orders on to a process, and kills it when it hangs. It returns
// when the process has ended; or when it was killed because it hung, with the
// time for which it had given no sign of life.
func (h *half) watch(process *os.Process, heard <-chan byte, ended <-chan struct{}, orders io.Writer) (hung time.Duration) {
	ticker := time.NewTicker(beatPeriod)
	defer ticker.Stop()
	silence, limit := NewSilence(beatPeriod), firstLimit
	stop, kill := h.stop, h.supervisor.kill
	var reloading []chan<- struct{}
	defer func() { closeAll(reloading) }()
	give := func(order byte) {
		if _, err := orders.Write([]byte{order}); err != nil && !errors.Is(err, syscall.EPIPE) {
			h.supervisor.options.Log.Warn("giving an order", "half", h.Name, "error", err)
		}
	}
	for {
		select {
		case b, ok := <-heard:
			if !ok {
				heard = nil // it is about to end, or gives no sign of life any more
				continue
			}
			silence.Break()
			limit = hangLimit
			switch b {
			case sayReady:
				h.ready = true
				h.supervisor.heardReady(h)
			case sayReloaded:
				closeAll(reloading)
				reloading = nil
			}
		case <-ticker.C:
			quiet := silence.Look()
			if quiet > limit || quiet > stopLimit && stopped(process.Pid) {
				_ = process.Kill()
				return quiet
			}
		case done := <-h.reload:
			reloading = append(reloading, done)
			give(orderReload)
		case <-stop:
			stop = nil
			give(orderEnd)
		case <-kill:
			kill = nil
			_ = process.Kill()
		case <-ended:
			return 0
		}
	}
}

func closeAll(channels []chan<- struct{}) {
	for _, c := range channels {
		close(c)
	}
}
