package control

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/internal/director"
	"lvsd/internal/elector"
	"lvsd/vip"
	"lvsd/vip/viptest"
	"lvsd/vrrp"
)

var now = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)

func weight(n int) *int { return &n }

// example is a status with everything in it.
func example() Status {
	return Status{
		Version:   "1.0",
		PID:       4711,
		StartedAt: now.Add(-26 * time.Hour),
		Halves: []HalfStatus{
			{
				Name: "elector", PID: 4713, Since: now.Add(-3 * time.Second),
				Restarts: 2, RestartedAt: now.Add(-3 * time.Second), RestartReason: "killed by signal killed",
			},
			{Name: "director", PID: 4712, Since: now.Add(-26 * time.Hour)},
		},
		Instances: []elector.InstanceStatus{{
			Name: "web", Interface: "eth2", VRID: 51, Priority: 150, EffectivePriority: 90, Version: 3, AdvertInterval: 1, State: "master",
			Group: "both", Waiting: "held back by an operator", Held: true, Rival: "192.168.50.33", RivalSince: now,
			Peers: []elector.PeerStatus{{Address: "192.168.50.32", Priority: 100, AdvertInterval: 1, HeardAt: now, Received: 3, Checksum: "message"}},
			Since: now.Add(-90 * time.Second), Reason: "no master heard",
			Addresses: []elector.AddressStatus{
				{Address: "192.168.50.100/24", Interface: "eth2", Held: true, RepairedAt: now, Differed: "removed by ip (pid 812)"},
				{Address: "192.168.50.101/24", Interface: "eth2"},
			},
		}},
		Status: director.Status{
			Director: "lvs-01",
			Directors: []director.DirectorStatus{
				{Name: "lvs-01", Address: "192.168.50.31", Priority: 150},
				{Name: "lvs-02", Priority: 100},
			},
			Config: director.ConfigStatus{File: "lvsd.toml", LoadedAt: now.Add(-time.Hour), Error: "lvsd.toml:3: no"},
			IPVS:   &director.TableStatus{Error: "no such scheduler"},
			Services: []director.ServiceStatus{{
				Name: "web", Protocol: "TCP", Scheduler: "rr", State: director.ServiceSorry, Listen: []string{"192.168.50.100:80"},
				RealServers: []director.RealServerStatus{
					{
						Address: "192.168.50.22", State: "down", Reason: "connect: connection refused", Since: now.Add(-5 * time.Second), Weight: 1,
						Destinations: []director.Destination{{
							Listen: "192.168.50.100:80", Address: "192.168.50.22:80", Forward: "nat",
							Weight: weight(0), KernelWeight: weight(0), ActiveConnections: 2, InactiveConnections: 7,
						}},
					},
					{
						Address: "192.168.50.23", State: "unknown", Reason: "not checked yet", Weight: 2,
						Destinations: []director.Destination{{Listen: "192.168.50.100:80", Address: "192.168.50.23:80", Forward: "nat"}},
					},
				},
				Sorry: []director.Destination{{
					Listen: "192.168.50.100:80", Address: "192.168.50.100:40001", Forward: "nat",
					Weight: weight(1), KernelWeight: weight(1), ActiveConnections: 1,
				}},
			}},
		},
	}
}

func TestWrite(t *testing.T) {
	s := example()
	s.Problems = problems(s, now)
	var b bytes.Buffer
	if err := Write(&b, s, now); err != nil {
		t.Fatal(err)
	}
	want := `director lvs-01, lvsd 1.0, pid 4711, up 26h0m0s
configuration lvsd.toml, loaded 1h0m0s ago

DIRECTOR  ADDRESS        PRIORITY
lvs-01    192.168.50.31  150 (this one)
lvs-02    -              100

INSTANCE  INTERFACE  VRID  PRIORITY  STATE   SINCE  REASON                                     ADDRESSES
web       eth2       51    150 (90)  master  1m30s  no master heard; held back by an operator  192.168.50.100/24* 192.168.50.101/24

SERVICE  PROTOCOL  SCHEDULER  STATE  LISTEN
web      TCP       rr         sorry  192.168.50.100:80
  REAL SERVER           STATE    SINCE  FORWARD  WEIGHT  KERNEL  ACTIVE  INACTIVE  REASON
  192.168.50.22:80      down     5s     nat      0       0       2       7         connect: connection refused
  192.168.50.23:80      unknown  -      nat      -       -       0       0         not checked yet
  192.168.50.100:40001  sorry    -      nat      1       1       1       0         no real server is up

PROBLEM: the elector half was restarted 2 times, last 3s ago: killed by signal killed
PROBLEM: the last reload was refused: lvsd.toml:3: no
PROBLEM: instance "web" is held back by an operator: lvsd switchover web ends that
PROBLEM: instance "web": 192.168.50.33 is master too, for 0s
PROBLEM: instance "web" is master, but 192.168.50.101/24 is not on eth2
PROBLEM: the IPVS table cannot be brought in line: no such scheduler
PROBLEM: service "web": no real server is up, the sorry server answers
PROBLEM: service "web": real server 192.168.50.22 is down: connect: connection refused
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// TestNamesAreStable breaks when a name in the JSON of "lvsd status -o json"
// changes: programs read it.
func TestNamesAreStable(t *testing.T) {
	s := example()
	s.Problems = problems(s, now)
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(b)+"\n"); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// newServer runs a server over a director and an elector that have nothing to do.
func newServer(t *testing.T, path string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kernel := viptest.NewKernel("eth0")
	electing, err := elector.New(elector.Options{
		Network:      network{kernel},
		Announcer:    vip.NewAnnouncer(vip.AnnouncerOptions{Link: kernel.Link, Dial: (&viptest.Wire{}).Dial}),
		OnTransition: func(string, vrrp.Transition) {},
		Log:          log,
	})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := director.New(&configs.Config{Path: "lvsd.toml", Director: configs.Director{Name: "lvs-01"}}, director.Options{
		Configure: func([]configs.Instance) {},
		Report:    func(string, map[string]configs.Finding) {},
		Log:       log,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := Listen(path, Options{Version: "1.0", Elector: electing, Director: serving, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- serving.Run(ctx) }()
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is still there after the end: %v", err)
		}
	})
}

type network struct{ *viptest.Kernel }

func (network) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestSwitchover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	newServer(t, path)
	err := Switchover(t.Context(), path, "web", true)
	if want := "asking lvsd for a switchover on " + path + `: 409 Conflict: there is no instance "web": there are none`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestFetch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	newServer(t, path)
	s, err := Fetch(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Director != "lvs-01" || s.Version != "1.0" || s.PID != os.Getpid() || len(s.Problems) != 0 {
		t.Errorf("status: %+v", s)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, want only root", info.Mode())
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	newServer(t, path)
	_, err := Listen(path, Options{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "another lvsd answers on it") {
		t.Errorf("a second Listen returned %v", err)
	}
}

func TestASocketThatWasLeftIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	newServer(t, path)
	if _, err := Fetch(t.Context(), path); err != nil {
		t.Error(err)
	}
}

func TestFetchSaysThatNobodyAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	_, err := Fetch(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("Fetch returned %v", err)
	}
}

// TestFetchSaysThatTheDaemonHangs has a daemon that is connected to, by the
// kernel, and does not answer.
func TestFetchSaysThatTheDaemonHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	hangs, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Fetch(ctx, path)
	if err == nil || !strings.Contains(err.Error(), path+": no answer in time: it hangs") {
		t.Errorf("Fetch returned %v", err)
	}
}

func TestWhatIsSaidOfAHalf(t *testing.T) {
	restarted := HalfStatus{Name: "elector", Restarts: 1, RestartedAt: now.Add(-3 * time.Second), RestartReason: "killed by signal killed"}
	again := restarted
	again.Restarts = 2
	old := restarted
	old.RestartedAt = now.Add(-restartMatters)
	away := restarted
	away.AwaySince = now.Add(-2 * time.Second)
	for _, tt := range []struct {
		half HalfStatus
		want string
	}{
		{HalfStatus{Name: "elector"}, ""},
		{restarted, "the elector half was restarted 3s ago: killed by signal killed"},
		{again, "the elector half was restarted 2 times, last 3s ago: killed by signal killed"},
		{old, ""},
		{away, "the elector half has not answered for 2s: what is told of it is old"},
	} {
		if got := tt.half.problem(now); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.half, got, tt.want)
		}
	}
}

// TestNonsenseOnTheSocket sends what no client of ours would.
func TestNonsenseOnTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	newServer(t, path)
	for _, nonsense := range []string{"", "\x00\xff\x00", "GET /nothing HTTP/1.0\r\n\r\n", "POST /status HTTP/1.0\r\n\r\n", "GET /status HTTP/1.0\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(nonsense)) //nolint:errcheck // the server may have hung up
		c.Close()
	}
	if _, err := Fetch(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// TestEveryNameIsDocumented looks for each name of the JSON in status.md.
func TestEveryNameIsDocumented(t *testing.T) {
	text, err := os.ReadFile("status.md")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	var look func(any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+name+"[]`") {
					t.Errorf("%s is not in status.md", name)
				}
				look(inner)
			}
		case []any:
			for _, inner := range v {
				look(inner)
			}
		}
	}
	look(document)
}
