package director

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/configs"
	"lvsd/ipvs/ipvstest"
)

func TestReadNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "priority")
	if got := readNumber(path); got.Number != 0 || !got.Up || !strings.Contains(got.Reason, "no such file") {
		t.Errorf("a missing file: %+v", got)
	}
	for text, want := range map[string]configs.Finding{
		"20\n":     {Up: true, Number: 20},
		" -254 ":   {Up: true, Number: -254},
		"99999":    {Up: true, Number: numberLimit},
		"-99999":   {Up: true, Number: -numberLimit},
		"":         {Up: true, Reason: "EOF"},
		"ten":      {Up: true, Reason: `"ten" is no number`},
		"20 and 3": {Up: true, Reason: `"20 and 3" is no number`},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readNumber(path); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestTrackedFileIsReadTwiceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "priority")
		changed := 0
		ts := newTrackers(slog.New(slog.DiscardHandler), func() { changed++ })
		ctx, cancel := context.WithCancel(t.Context())
		track := configs.Track{File: path, Weight: 1}
		other := track
		other.Weight = 2
		ts.set(ctx, []configs.Track{track, other, {Interface: "eth0"}, {Service: "web"}})
		synctest.Wait()
		if n := len(ts.findings()); n != 1 || changed != 1 {
			t.Errorf("%d findings, told %d times, want one each: the two tracks look at one file", n, changed)
		}
		if err := os.WriteFile(path, []byte("20"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filePeriod)
		synctest.Wait()
		if got := ts.findings()[track.Key()]; got.Number != 20 || changed != 2 {
			t.Errorf("%+v, told %d times", got, changed)
		}
		ts.set(ctx, nil)
		if n := len(ts.findings()); n != 0 {
			t.Errorf("%d findings, want none: nothing is tracked", n)
		}
		cancel()
		ts.running.Wait()
	})
}

// script writes an executable that only root can change.
func script(t *testing.T, text string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: scripts, which must belong to root, and this is another user")
	}
	folder, err := os.MkdirTemp("/var/lib", "lvsd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func trackOf(path string, args ...string) configs.Track {
	return configs.Track{Script: append([]string{path}, args...), Interval: time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 2, User: "nobody"}
}

func TestRunScript(t *testing.T) {
	path := script(t, `case $1 in
ok) [ "$(id -un)" = nobody ] && [ "$#" = 2 ] && [ "$2" = 'a; b' ] && [ -z "$HOME" ] ;;
slow) sleep 60 & echo $! > "$2"; wait ;;
*) exit 3 ;;
esac`)
	if why := runScript(t.Context(), trackOf(path, "ok", "a; b")); why != "" {
		t.Errorf("a script that ends well: %s", why)
	}
	if why := runScript(t.Context(), trackOf(path, "fail")); why != "exit status 3" {
		t.Errorf("a script that fails: %q", why)
	}
	child := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(child, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for at := child; at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o777); at == filepath.Dir(child) && err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(at) == os.TempDir() {
			break
		}
	}
	slow := trackOf(path, "slow", child)
	slow.Timeout = 300 * time.Millisecond
	begin := time.Now()
	if why := runScript(t.Context(), slow); why != "did not end within 300ms" || time.Since(begin) > 10*time.Second {
		t.Errorf("a script that hangs: %q after %v", why, time.Since(begin))
	}
	b, err := os.ReadFile(child)
	if err != nil || len(b) == 0 {
		t.Fatalf("its child is not known: %q, %v", b, err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the child of the script that hangs lives on")
		}
	}
}

func TestScriptsThatOthersCanChangeAreRefused(t *testing.T) {
	path := script(t, "exit 0")
	for _, damage := range []struct {
		name, want string
		do, undo   func() error
	}{
		{"writable", " can be written by others than root: chmod go-w", func() error { return os.Chmod(path, 0o777) }, func() error { return os.Chmod(path, 0o755) }},
		{"in a writable folder", " can be written by others than root: chmod go-w", func() error { return os.Chmod(filepath.Dir(path), 0o777) }, func() error { return os.Chmod(filepath.Dir(path), 0o755) }},
		{"of another user", " belongs to another user than root: change its owner", func() error { return os.Chown(path, 65534, 0) }, func() error { return os.Chown(path, 0, 0) }},
	} {
		if err := damage.do(); err != nil {
			t.Fatal(err)
		}
		if why := runScript(t.Context(), trackOf(path)); !strings.HasPrefix(why, "refused: /") || !strings.HasSuffix(why, damage.want) {
			t.Errorf("%s: %q, want refused: ...%s", damage.name, why, damage.want)
		}
		if err := damage.undo(); err != nil {
			t.Fatal(err)
		}
	}
	if why := runScript(t.Context(), trackOf(path)); why != "" {
		t.Errorf("repaired: %q", why)
	}
	if why := runScript(t.Context(), trackOf(path+"x")); !strings.HasPrefix(why, "refused: ") || !strings.Contains(why, "no such file") {
		t.Errorf("missing: %q", why)
	}
	nobody := trackOf(path)
	nobody.User = "nobody-of-that-name"
	if why := runScript(t.Context(), nobody); why != "refused: user: unknown user nobody-of-that-name" {
		t.Errorf("unknown user: %q", why)
	}
}

// The first result counts at once, later ones after rise or fall in a row.
func TestRiseAndFallOfAScript(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	if err := os.Chmod(filepath.Dir(state), 0o755); err != nil {
		t.Fatal(err)
	}
	path := script(t, `[ -e "$1" ]`)
	news := make(chan struct{}, 100)
	ts := newTrackers(slog.New(slog.DiscardHandler), func() { news <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	track := trackOf(path, state)
	track.User = "root"
	track.Interval = 100 * time.Millisecond
	ts.set(ctx, []configs.Track{track})
	expect := func(up bool) {
		t.Helper()
		select {
		case <-news:
		case <-time.After(20 * time.Second):
			t.Fatal("no finding")
		}
		if got := ts.findings()[track.Key()]; got.Up != up {
			t.Errorf("%+v, want up %t", got, up)
		}
	}
	expect(false)
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(true)
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	expect(false)
	cancel()
	ts.running.Wait()
}

// The elector is told when the director is ready, and whether a service is served.
func TestReports(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		service := configs.Track{Service: "web", Weight: -50}
		s.config = s.newConfig()
		s.config.Instances = []configs.Instance{{Name: "outer", Interface: "eth2", VRID: 51, AdvertInterval: time.Second, Track: []configs.Track{service}}}
		if err := s.director.Reload(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.wait(5 * time.Second)
		if first := s.reports[0]; first.notReady != "2 checks have no verdict yet" {
			s.t.Errorf("the first report: %+v", first)
		}
		expect := func(want configs.Finding) {
			s.t.Helper()
			last := s.reports[len(s.reports)-1]
			if got := last.findings[service.Key()]; last.notReady != "" || got != want {
				s.t.Errorf("the last report: %+v, want ready and %+v", last, want)
			}
		}
		expect(configs.Finding{Up: true})
		s.first.set(errRefused)
		s.wait(5 * time.Second)
		expect(configs.Finding{Up: true})
		s.second.set(errRefused)
		s.wait(5 * time.Second)
		expect(configs.Finding{Reason: "no real server is up"})
		n := len(s.reports)
		s.wait(time.Minute)
		if len(s.reports) != n {
			s.t.Errorf("%d reports more, though nothing has changed", len(s.reports)-n)
		}
		s.first.set(nil)
		s.wait(5 * time.Second)
		expect(configs.Finding{Up: true})
	})
}
