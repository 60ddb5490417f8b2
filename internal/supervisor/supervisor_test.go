package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slack is how much longer than it should something may take on a loaded
// machine.
const slack = 2 * time.Second

// folder is the environment variable that names the folder in which the halves
// of these tests note what happens to them.
const folder = "LVSD_TEST_FOLDER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(variable) != "":
		os.Exit(beHalf(os.Args[1], os.Args[2]))
	case len(os.Args) > 1 && os.Args[1] == "supervisor":
		s := New(Options{Halves: []Half{{Name: "first", Args: []string{"first", "good"}}}, Ready: func() {}, Log: slog.New(slog.DiscardHandler)})
		s.Run(context.Background()) //nolint:errcheck // it will be killed
	default:
		// The race detector lets a process live on for a second.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
		os.Exit(m.Run())
	}
}

// note writes a line into the file of a half.
func note(name, format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(os.Getenv(folder), name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%d "+format+"\n", append([]any{time.Now().UnixMilli()}, args...)...)
}

// beHalf is the program of a half that behaves in a certain way. It returns the
// exit status.
func beHalf(name, behaviour string) int {
	tie, err := Attach()
	if err != nil {
		panic(err)
	}
	p := tie.Process()
	note(name, "start %d %d %s", os.Getpid(), p.Restarts, p.Reason)
	switch behaviour {
	case "dies":
		return 1
	case "refuses":
		return StatusRefused
	case "refuses-later":
		if tie.Restarted() {
			return StatusRefused
		}
	}
	ctx, end := context.WithCancelCause(context.Background())
	ticking, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer stop()
	running.Go(func() { tie.Run(ticking, end) })
	tie.Alive()
	tie.Ready()
	if !tie.Restarted() && (behaviour == "pauses" || behaviour == "hangs") {
		stop()
		running.Wait()
		time.Sleep(hangLimit / 2)
		if behaviour == "hangs" {
			time.Sleep(time.Hour)
		}
		note(name, "on")
		running.Go(func() { tie.beat(ctx) })
	}
	alive := time.NewTicker(beatPeriod)
	for {
		select {
		case <-alive.C:
			tie.Alive()
		case <-tie.Reload():
			if behaviour == "dies-of-reload" {
				return 1
			}
			note(name, "reload")
			time.Sleep(4 * beatPeriod)
			tie.Reloaded()
		case <-ctx.Done():
			note(name, "end %v", context.Cause(ctx))
			if behaviour == "slow-end" {
				time.Sleep(2 * hangLimit)
			}
			if behaviour == "bad-end" {
				return 1
			}
			note(name, "gone")
			stop()
			running.Wait()
			return 0
		}
	}
}

// scene is a supervisor with halves that behave in a certain way.
type scene struct {
	*Supervisor
	t      *testing.T
	folder string
	ready  chan struct{}
	end    context.CancelFunc
	ended  chan error
}

func play(t *testing.T, halves ...Half) *scene {
	s := &scene{t: t, folder: t.TempDir(), ready: make(chan struct{}), ended: make(chan error, 1)}
	t.Setenv(folder, s.folder)
	s.Supervisor = New(Options{Halves: halves, Ready: func() { close(s.ready) }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(t.Context())
	s.end = cancel
	done := make(chan struct{})
	go func() {
		s.ended <- s.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		s.Kill()
		<-done
	})
	return s
}

func behaving(name, how string) Half { return Half{Name: name, Args: []string{name, how}} }

// event is a line of a file of a half.
type event struct {
	at   time.Time
	text string
}

// events returns what has happened to a half.
func (s *scene) events(name string) []event {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.folder, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var all []event
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at, text, _ := strings.Cut(lines.Text(), " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, event{time.UnixMilli(ms), text})
	}
	return all
}

// starts returns the starts of a half, and the process ids.
func (s *scene) starts(name string) (all []event, pids []int) {
	s.t.Helper()
	for _, e := range s.events(name) {
		var pid int
		if _, err := fmt.Sscanf(e.text, "start %d", &pid); err == nil {
			all = append(all, e)
			pids = append(pids, pid)
		}
	}
	return all, pids
}

// await waits until a condition holds, and returns how long that took.
func (s *scene) await(what string, limit time.Duration, condition func() bool) time.Duration {
	s.t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		took := time.Since(begin)
		switch {
		case condition():
			return took
		case took > limit:
			s.t.Fatalf("%s: not within %v; first: %v; second: %v", what, limit, s.events("first"), s.events("second"))
		}
	}
}

// awaitReady waits until all halves are ready.
func (s *scene) awaitReady() {
	s.t.Helper()
	select {
	case <-s.ready:
	case err := <-s.ended:
		s.t.Fatalf("it ended: %v", err)
	case <-time.After(10 * time.Second):
		s.t.Fatal("never ready")
	}
}

// stop ends the supervisor and returns how.
func (s *scene) stop() error {
	s.t.Helper()
	s.end()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(10 * time.Second):
		s.t.Fatal("it does not end")
		return nil
	}
}

// TestAHalfThatDiesOrHangsIsStartedAgain kills and freezes a half.
func TestAHalfThatDiesOrHangsIsStartedAgain(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		limit  time.Duration
		reason string
	}{
		{syscall.SIGKILL, 0, "killed by signal killed"},
		{syscall.SIGSTOP, stopLimit + 2*beatPeriod, "no sign of life for 2"},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			s := play(t, behaving("first", "good"), behaving("second", "good"))
			s.awaitReady()
			_, pids := s.starts("second")
			if err := syscall.Kill(pids[0], tt.signal); err != nil {
				t.Fatal(err)
			}
			took := s.await("a new process", tt.limit+slack, func() bool {
				all, _ := s.starts("second")
				return len(all) == 2
			})
			t.Logf("a new process after %v", took)
			all, _ := s.starts("second")
			if !strings.Contains(all[1].text, " 1 "+tt.reason) {
				t.Errorf("the new process was told %q, want 1 restart because of %q", all[1].text, tt.reason)
			}
			if all, _ := s.starts("first"); len(all) != 1 {
				t.Errorf("the other half was started again, too: %v", all)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAHalfThatIsOnlySlowLives pauses, as on a processor that somebody else has.
func TestAHalfThatIsOnlySlowLives(t *testing.T) {
	s := play(t, behaving("first", "pauses"))
	s.awaitReady()
	s.await("the end of the pause", 10*time.Second, func() bool { return len(s.events("first")) > 1 })
	time.Sleep(hangLimit)
	if all, _ := s.starts("first"); len(all) != 1 {
		t.Errorf("it was killed: %v", s.events("first"))
	}
}

// TestAHalfThatHangsIsKilled says nothing any more, without being stopped.
func TestAHalfThatHangsIsKilled(t *testing.T) {
	s := play(t, behaving("first", "hangs"))
	s.awaitReady()
	took := s.await("a new process", hangLimit+slack, func() bool {
		all, _ := s.starts("first")
		return len(all) == 2
	})
	if took < hangLimit-2*beatPeriod {
		t.Errorf("it was killed after %v", took)
	}
	if all, _ := s.starts("first"); !strings.Contains(all[1].text, " 1 no sign of life for 2") {
		t.Errorf("the new process was told %q", all[1].text)
	}
}

func TestAHalfThatCannotStartEndsAll(t *testing.T) {
	s := play(t, behaving("first", "good"), behaving("second", "refuses"))
	select {
	case err := <-s.ended:
		s.ended <- nil // for the end of the test
		if !errors.Is(err, ErrRefused) || errors.Is(err, ErrUnclean) {
			t.Errorf("Run returned %v, want %v", err, ErrRefused)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if all, _ := s.starts("second"); len(all) != 1 {
		t.Errorf("it was started again: %v", all)
	}
}

// TestAHalfThatCannotStartAgainIsTriedAgain has run before: its configuration
// has become bad meanwhile, and may become good.
func TestAHalfThatCannotStartAgainIsTriedAgain(t *testing.T) {
	s := play(t, behaving("first", "good"), behaving("second", "refuses-later"))
	s.awaitReady()
	_, pids := s.starts("second")
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.await("the third attempt", slack, func() bool {
		all, _ := s.starts("second")
		return len(all) == 4
	})
	// What the first one left in the kernel is nobody's now.
	if err := s.stop(); !errors.Is(err, ErrUnclean) {
		t.Errorf("Run returned %v, want %v", err, ErrUnclean)
	}
}

// TestTheHalvesEndInOrder has a first half that takes longer than a half may be
// silent, and gives signs of life meanwhile.
func TestTheHalvesEndInOrder(t *testing.T) {
	s := play(t, behaving("first", "slow-end"), behaving("second", "good"))
	s.awaitReady()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	first, second := s.events("first"), s.events("second")
	if texts(first[1:]) != "end told to end, gone" || texts(second[1:]) != "end told to end, gone" {
		t.Fatalf("the halves: %v, %v", first, second)
	}
	if second[1].at.Before(first[2].at) {
		t.Errorf("the second half was told to end %v before the first was gone", first[2].at.Sub(second[1].at))
	}
}

func texts(events []event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.text)
	}
	return strings.Join(all, ", ")
}

func TestAHalfThatDoesNotEndProperlyIsTold(t *testing.T) {
	s := play(t, behaving("first", "bad-end"), behaving("second", "good"))
	s.awaitReady()
	err := s.stop()
	if !errors.Is(err, ErrUnclean) || !strings.Contains(err.Error(), "the first half: exit status 1") {
		t.Errorf("Run returned %v", err)
	}
}

func TestKillDoesNotWait(t *testing.T) {
	s := play(t, behaving("first", "slow-end"), behaving("second", "good"))
	s.awaitReady()
	s.end()
	s.await("the end to begin", slack, func() bool { return len(s.events("first")) == 2 })
	s.Kill()
	select {
	case err := <-s.ended:
		s.ended <- nil
		if !errors.Is(err, ErrUnclean) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(hangLimit):
		t.Error("it waits")
	}
}

func TestReloadWaitsForTheAnswer(t *testing.T) {
	s := play(t, behaving("first", "good"), behaving("second", "dies-of-reload"))
	s.awaitReady()
	begin := time.Now()
	s.Reload(t.Context(), "first")
	if took := time.Since(begin); took < 4*beatPeriod || took > slack {
		t.Errorf("it took %v", took)
	}
	if got := texts(s.events("first")[1:]); got != "reload" {
		t.Errorf("the half has noted: %s", got)
	}
	s.Reload(t.Context(), "second") // it dies, and that is an answer
	s.await("the one that died of it", slack, func() bool {
		all, _ := s.starts("second")
		return len(all) == 2
	})
}

// TestAHalfThatDoesNotComeBackIsAbandoned has a half that dies as soon as it
// is started.
func TestAHalfThatDoesNotComeBackIsAbandoned(t *testing.T) {
	abandoned := make(chan time.Time, 10)
	h := behaving("first", "dies")
	h.Abandon = func() { abandoned <- time.Now() }
	s := play(t, h)
	begin := time.Now()
	select {
	case at := <-abandoned:
		if took := at.Sub(begin); took < abandonAfter || took > abandonAfter+backoffMax+slack {
			t.Errorf("abandoned after %v", took)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("never abandoned")
	}
	all, _ := s.starts("first")
	var pauses []time.Duration
	for n := range all[1:] {
		pauses = append(pauses, all[n+1].at.Sub(all[n].at).Round(50*time.Millisecond))
	}
	want := []time.Duration{0, 100e6, 200e6, 400e6, 800e6}
	for n, p := range pauses[:min(len(pauses), len(want))] {
		if p < want[n]-50e6 || p > want[n]+slack {
			t.Errorf("pauses between the starts: %v, want about %v", pauses, want)
			break
		}
	}
	time.Sleep(2 * backoffMax)
	if len(abandoned) > 0 {
		t.Error("abandoned twice")
	}
}

// TestAnOrphanEnds kills a supervisor.
func TestAnOrphanEnds(t *testing.T) {
	s := &scene{t: t, folder: t.TempDir()}
	cmd := exec.Command(os.Args[0], "supervisor")
	cmd.Env = append(os.Environ(), folder+"="+s.folder)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("the start", 10*time.Second, func() bool {
		all, _ := s.starts("first")
		return len(all) == 1
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // it was killed
	took := s.await("the end of the half", orphanGrace+slack, func() bool { return texts(s.events("first")[1:]) == "end the supervisor has died, gone" })
	if took < orphanGrace {
		t.Errorf("it ended after %v: systemd must have the time to kill it first", took)
	}
}

// TestAHalfInheritsWhatItShould looks at the environment and the files of a
// half.
func TestAHalfInheritsWhatItShould(t *testing.T) {
	kept, err := os.Create(filepath.Join(t.TempDir(), "kept"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Setenv(folder, t.TempDir())
	s := New(Options{Halves: []Half{behaving("first", "good")}, Keep: []*os.File{kept}, Ready: func() {}, Log: slog.New(slog.DiscardHandler)})
	cmd, said, orders, err := s.halves[0].start()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", cmd.Process.Pid, firstKept))
	if err != nil || file != kept.Name() {
		t.Errorf("file descriptor %d of the half is %q, %v: want %s", firstKept, file, err, kept.Name())
	}
	if slices.ContainsFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "NOTIFY_SOCKET=") }) {
		t.Error("the half would talk to systemd")
	}
	orders.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWithoutASupervisor uses what a half that was started by hand has.
func TestWithoutASupervisor(t *testing.T) {
	tie, err := Attach()
	if tie != nil || err != nil {
		t.Fatalf("Attach returned %v, %v", tie, err)
	}
	tie.Alive()
	tie.Ready()
	tie.Reloaded()
	tie.Run(t.Context(), nil)
	if p := tie.Process(); p.PID != os.Getpid() || tie.Restarted() {
		t.Errorf("its process: %+v", p)
	}
}
