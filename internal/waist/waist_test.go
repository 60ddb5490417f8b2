package waist

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
	"lvsd/vrrp"
)

// patience is how long something may take that should happen at once.
const patience = 10 * time.Second

// fake is an elector that does what the test says.
type fake struct {
	mu         sync.Mutex
	configured [][]configs.Instance
	reported   []report
	status     []elector.InstanceStatus
}

func (f *fake) SetReport(notReady string, findings map[string]configs.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reported = append(f.reported, report{notReady, findings})
}

func (f *fake) Switchover(_ context.Context, instance string, hold bool) error {
	return fmt.Errorf("instance %s, hold %t", instance, hold)
}

func (f *fake) Configure(instances []configs.Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.configured = append(f.configured, instances)
}

func (f *fake) Status() []elector.InstanceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fake) set(status ...elector.InstanceStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// last is the last configuration that came, and how many did.
func (f *fake) last() ([]configs.Instance, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.configured) == 0 {
		return nil, 0
	}
	return f.configured[len(f.configured)-1], len(f.configured)
}

func instance(name, state string, held bool) elector.InstanceStatus {
	return elector.InstanceStatus{Name: name, State: state, Addresses: []elector.AddressStatus{{Address: "192.168.50.100/24", Held: held}}}
}

// scene is the two ends of a socket.
type scene struct {
	t      *testing.T
	dir    string
	server *Server
	fake   *fake
	client *Client

	mu   sync.Mutex
	told []string // what became of the roles
	log  strings.Builder
}

// Write notes what is logged.
func (s *scene) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *scene) path() string { return filepath.Join(s.dir, "elector.sock") }

func newScene(t *testing.T) *scene { return &scene{t: t, dir: t.TempDir(), fake: &fake{}} }

// serve starts an elector half, and returns how to end it.
func (s *scene) serve(p supervisor.Process) (stop func()) {
	s.t.Helper()
	server, err := Listen(s.path(), ServerOptions{
		Process:    p,
		Memory:     filepath.Join(s.dir, "elector.json"),
		OnDirector: func(string) {},
		Log:        slog.New(slog.NewTextHandler(s, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = server
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, s.fake) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the server: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// connect starts a director half.
func (s *scene) connect() {
	s.client = NewClient(ClientOptions{
		Path: s.path(),
		OnMaster: func(instance string, master bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, fmt.Sprintf("%s %t", instance, master))
		},
		Log: slog.New(slog.NewTextHandler(s, nil)),
	})
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.client.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the client: %v", err)
		}
	})
}

func (s *scene) await(what string, condition func() bool) {
	s.t.Helper()
	for begin := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s: not within %v; told: %q; log:\n%s", what, patience, s.told, s.log.String())
		}
	}
}

// awaitTold waits until the director has been told these roles, and no others.
func (s *scene) awaitTold(want ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("told %q", want), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Equal(s.told, want)
	})
}

func (s *scene) logged(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.log.String(), text)
}

// TestReportAndSwitchover carries what the director half tells and asks for.
func TestReportAndSwitchover(t *testing.T) {
	s := newScene(t)
	stop := s.serve(supervisor.Process{PID: 1})
	s.connect()
	<-s.client.Reached()
	told := map[string]configs.Finding{"service web": {Reason: "no real server is up"}}
	s.client.Report("1 checks have no verdict yet", nil)
	s.client.Report("", told)
	s.await("the report", func() bool {
		s.fake.mu.Lock()
		defer s.fake.mu.Unlock()
		n := len(s.fake.reported)
		return n > 0 && s.fake.reported[n-1].NotReady == "" && maps.Equal(s.fake.reported[n-1].Findings, told)
	})
	if err := s.client.Switchover(t.Context(), "web", true); err == nil || err.Error() != "instance web, hold true" {
		t.Errorf("switchover: %v", err)
	}
	stop()
	s.await("the end of the elector half", func() bool { _, connected, _ := s.client.Peer(); return !connected })
	if err := s.client.Switchover(t.Context(), "web", true); err == nil || err.Error() != "the elector half is away: try again in a moment" {
		t.Errorf("switchover without an elector half: %v", err)
	}
	// A new one is told again.
	s.fake = &fake{}
	s.serve(supervisor.Process{PID: 2})
	s.await("the report to the next elector half", func() bool {
		s.fake.mu.Lock()
		defer s.fake.mu.Unlock()
		return len(s.fake.reported) == 1 && maps.Equal(s.fake.reported[0].Findings, told)
	})
}

// TestTheHalvesFindEachOther starts, ends and starts again each half.
func TestTheHalvesFindEachOther(t *testing.T) {
	s := newScene(t)
	s.connect() // nobody is there yet
	first := examples(t, "nat.toml")
	s.client.Configure(first)
	if got := s.client.Status(); got != nil {
		t.Errorf("a status of nobody: %+v", got)
	}
	s.fake.set(instance("web", "backup", false))
	stop := s.serve(supervisor.Process{PID: 1})
	<-s.client.Reached()
	s.await("the configuration", func() bool { got, _ := s.fake.last(); return reflect.DeepEqual(got, first) })
	if got, err := Recall(filepath.Join(s.dir, "elector.json")); err != nil || !reflect.DeepEqual(got, first) {
		t.Errorf("remembered: %+v, %v", got, err)
	}
	s.awaitTold("web false")
	s.server.OnTransition("web", vrrp.Transition{To: vrrp.Master})
	s.awaitTold("web false", "web true")
	s.fake.set(instance("web", "master", true))
	if diff := cmp.Diff(s.fake.Status(), s.client.Status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if p, connected, _ := s.client.Peer(); p.PID != 1 || !connected {
		t.Errorf("the peer: %+v, connected: %v", p, connected)
	}
	second := examples(t, "dr.toml")
	s.client.Configure(second)
	s.await("the second configuration", func() bool { got, _ := s.fake.last(); return reflect.DeepEqual(got, second) })

	stop()
	s.await("the end", func() bool { _, connected, _ := s.client.Peer(); return !connected })
	if got := s.client.Status(); len(got) != 1 || got[0].State != "master" {
		t.Errorf("the last status: %+v", got)
	}
	_, before := s.fake.last()
	// The new one finds the address, and nothing changes for the director.
	s.fake.set(instance("web", "backup", true))
	s.serve(supervisor.Process{PID: 2, Restarts: 1})
	s.await("the configuration again", func() bool {
		got, n := s.fake.last()
		return n == before+1 && reflect.DeepEqual(got, second)
	})
	s.await("the new process", func() bool { p, connected, _ := s.client.Peer(); return connected && p.Restarts == 1 })
	time.Sleep(3 * rolesPause)
	s.awaitTold("web false", "web true")
	// Somebody else was quicker: no change of state tells of that.
	s.fake.set(instance("web", "backup", false))
	s.awaitTold("web false", "web true", "web false")
}

// TestANewDirectorHalfReplacesTheOld has two of them, of which one hangs.
func TestANewDirectorHalfReplacesTheOld(t *testing.T) {
	s := newScene(t)
	s.serve(supervisor.Process{})
	old, err := net.Dial("unix", s.path())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := bufio.NewReader(old).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.connect()
	<-s.client.Reached()
	old.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, err := old.Read(make([]byte, 4096)); err != nil {
			if !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the old connection ended with %v", err)
			}
			break
		}
	}
	if _, connected, _ := s.client.Peer(); !connected {
		t.Error("the new one went with it")
	}
}

// TestNonsenseEndsTheConnection sends what no director half would.
func TestNonsenseEndsTheConnection(t *testing.T) {
	for _, tt := range []struct{ name, text, log string }{
		{"no JSON", "nonsense\n", "reading a message: invalid character"},
		{"another type", `{"type":"reboot","body":{}}` + "\n", `there is no type`},
		{"the wrong way", `{"type":"pong","body":{}}` + "\n", "the director half has sent a pong"},
		{"no end", strings.Repeat("x", maxLine+1), "more than 4194304 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.serve(supervisor.Process{})
			c, err := net.Dial("unix", s.path())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go c.Write([]byte(tt.text)) //nolint:errcheck // the server hangs up
			c.SetReadDeadline(time.Now().Add(patience))
			for err == nil {
				_, err = c.Read(make([]byte, 4096))
			}
			if os.IsTimeout(err) {
				t.Error("the connection goes on")
			}
			s.await("a line in the log", func() bool { return s.logged(tt.log) })
			s.connect() // and the next one is served
			<-s.client.Reached()
		})
	}
}

// TestHalfAMessageIsNone ends a connection in the middle of a message, as a crash
// does.
func TestHalfAMessageIsNone(t *testing.T) {
	s := newScene(t)
	s.serve(supervisor.Process{})
	c, err := net.Dial("unix", s.path())
	if err != nil {
		t.Fatal(err)
	}
	line, err := encode(configure{})
	if err != nil {
		t.Fatal(err)
	}
	c.Write(line[:len(line)-1]) //nolint:errcheck // the server reads
	c.Close()
	s.await("the end", func() bool { return s.logged("the connection has ended") })
	if _, n := s.fake.last(); n != 0 {
		t.Error("it was taken for a whole one")
	}
}

// TestADirectorHalfThatDoesNotReadHoldsNobodyUp is told of more changes than
// there is room for.
func TestADirectorHalfThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	s := newScene(t)
	s.serve(supervisor.Process{})
	c, err := net.Dial("unix", s.path())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 * queueLength {
			s.server.OnTransition("web", vrrp.Transition{To: vrrp.Master})
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the elector waits for it")
	}
	s.connect()
	<-s.client.Reached()
}

// TestTheDirectorHalfIsMissed looks at when the elector is told that nobody
// checks the real servers.
func TestTheDirectorHalfIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		begin := time.Now()
		s := &Server{
			log:   slog.New(slog.DiscardHandler),
			heard: make(chan struct{}, 1),
			options: ServerOptions{OnDirector: func(reason string) {
				told = append(told, fmt.Sprintf("%v: %q", time.Since(begin), reason))
			}},
		}
		ctx, cancel := context.WithCancel(t.Context())
		go s.watch(ctx)
		time.Sleep(2 * time.Second)
		s.heard <- struct{}{}
		time.Sleep(5 * time.Second)
		s.heard <- struct{}{}
		time.Sleep(2950 * time.Millisecond)
		cancel()
		synctest.Wait()
		want := []string{`5.1s: "the director half is gone"`, `7s: ""`}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// TestRolesAfterACrash looks at what a director is told by an elector half that
// was started again.
func TestRolesAfterACrash(t *testing.T) {
	for _, tt := range []struct {
		name     string
		before   map[string]bool
		roles    []role
		patience bool
		decided  bool
		told     []string
	}{
		{"a new director", nil, []role{{Instance: "web", State: "backup", Held: true}}, true, true, []string{"web false"}},
		{"still master", map[string]bool{"web": true}, []role{{Instance: "web", State: "master", Held: true}}, true, true, nil},
		{"finds its addresses", map[string]bool{"web": true}, []role{{Instance: "web", State: "backup", Held: true}}, true, false, nil},
		{"has lost them", map[string]bool{"web": true}, []role{{Instance: "web", State: "backup"}}, true, true, []string{"web false"}},
		{"in fault", map[string]bool{"web": true}, []role{{Instance: "web", State: "fault", Held: true}}, true, true, []string{"web false"}},
		{"was backup", map[string]bool{"web": false}, []role{{Instance: "web", State: "master", Held: true}}, true, true, []string{"web true"}},
		{"does not know it yet", map[string]bool{"web": true}, nil, true, false, nil},
		{"does not know it at all", map[string]bool{"web": true}, nil, false, true, []string{"web false"}},
		{"does not know a backup", map[string]bool{"web": false}, nil, true, true, nil},
	} {
		var told []string
		c := NewClient(ClientOptions{OnMaster: func(instance string, master bool) { told = append(told, fmt.Sprintf("%s %t", instance, master)) }})
		for name, master := range tt.before {
			c.master[name] = master
		}
		if decided := c.applyRoles(tt.roles, tt.patience); decided != tt.decided || !slices.Equal(told, tt.told) {
			t.Errorf("%s: decided %v, told %q; want %v, %q", tt.name, decided, told, tt.decided, tt.told)
		}
	}
}

func TestTheSocketIsForRootAlone(t *testing.T) {
	s := newScene(t)
	if err := os.WriteFile(s.path(), nil, 0o666); err != nil { // something that was left
		t.Fatal(err)
	}
	stop := s.serve(supervisor.Process{})
	if info, err := os.Stat(s.path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	stop()
	if _, err := os.Stat(s.path()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after the end: %v", err)
	}
}
