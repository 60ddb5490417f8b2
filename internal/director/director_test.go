package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/health"
	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

// realServer is a real server that does what the test says.
type realServer struct {
	mu  sync.Mutex
	err error
}

func (r *realServer) Check(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *realServer) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

var errRefused = errors.New("connect: connection refused")

// scene is a director with two real servers and a kernel in memory.
type scene struct {
	t        *testing.T
	config   *configs.Config
	first    *realServer
	second   *realServer
	kernel   *ipvstest.Kernel
	director *Director

	connections *connections
	lacking     string // a scheduler that the kernel does not have
	load        func() (*configs.Config, error)
	handed      [][]configs.Instance // what the elector was given
	reports     []report             // what it was told

	logMu sync.Mutex
	log   strings.Builder
}

func (s *scene) Write(b []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(b)
}

// lacks is what the kernel says about schedulers.
func (s *scene) lacks(names []string) error {
	if slices.Contains(names, s.lacking) {
		return fmt.Errorf("scheduler %s: %w", s.lacking, ipvs.ErrNoScheduler)
	}
	return nil
}

func TestReloadWithASchedulerThatTheKernelLacksIsRefused(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(2 * time.Second)
		s.lacking = "twos"
		s.config = s.newConfig()
		s.config.Services[0].Scheduler = "twos"
		if err := s.director.Reload(s.t.Context()); !errors.Is(err, ipvs.ErrNoScheduler) {
			s.t.Errorf("Reload returned %v", err)
		}
		s.wait(time.Second)
		if table := s.kernel.Table(); table[0].Scheduler != "wrr" {
			s.t.Errorf("the scheduler became %s", table[0].Scheduler)
		}
	})
}

// config has one service on one port, with an external sorry server: a page
// would need a real listener.
func (s *scene) newConfig() *configs.Config {
	service := web()
	service.Listen = service.Listen[:1]
	service.Sorry = &configs.Sorry{Server: netip.MustParseAddrPort("192.168.50.99:80"), Forward: ipvs.NAT}
	service.Real[0].Check = &health.Check{Checker: s.first}
	service.Real[1].Check = &health.Check{Checker: s.second}
	return &configs.Config{Path: "lvsd.toml", Director: configs.Director{Name: "lvs-01"}, Services: []configs.Service{service}}
}

// play runs a director in a bubble, lets test look at it, and ends it.
func play(t *testing.T, kernel *ipvstest.Kernel, test func(s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, kernel: kernel, first: &realServer{}, second: &realServer{}, connections: &connections{}}
		s.config = s.newConfig()
		s.load = func() (*configs.Config, error) { return s.config, nil }
		d, err := New(s.config, Options{
			Load:      func() (*configs.Config, error) { return s.load() },
			Configure: func(i []configs.Instance) { s.handed = append(s.handed, i) },
			Report: func(notReady string, findings map[string]configs.Finding) {
				s.reports = append(s.reports, report{notReady, findings})
			},
			OpenIPVS: func() (ipvs.Kernel, error) { return kernel, nil },

			OpenHandover: func() (Handover, error) { return s.connections, nil },

			CheckSchedulers: func(names []string) error { return s.lacks(names) },

			Log: slog.New(slog.NewTextHandler(s, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.director = d
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		test(s)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// wait lets virtual time pass and everything settle.
func (s *scene) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *scene) expect(want string) {
	s.t.Helper()
	if diff := cmp.Diff(want, sketch(s.kernel.Table())); diff != "" {
		s.t.Errorf("kernel (-want +got):\n%s", diff)
	}
}

const (
	bothUp    = "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 2"
	secondOut = "192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0"
	allOut    = "192.168.50.22:80 nat 0, 192.168.50.23:80 nat 0, 192.168.50.99:80 nat 1"
)

func TestDeadRealServersAndTheSorryServer(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(2 * time.Second)
		s.expect(bothUp)

		s.second.set(errRefused)
		// At worst the last good check was just now: interval + (fall-1) quick intervals.
		s.wait(health.DefaultInterval + 3*health.DefaultFastInterval)
		s.expect(secondOut)

		s.first.set(errRefused)
		s.wait(health.DefaultInterval + 3*health.DefaultFastInterval)
		s.expect(allOut)

		s.first.set(nil)
		s.wait(health.DefaultInterval + 2*health.DefaultFastInterval)
		s.expect("192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0, 192.168.50.99:80 nat 0")
		s.wait(sorryLeaves)
		s.expect(secondOut)

		s.second.set(nil)
		s.wait(health.DefaultInterval + 2*health.DefaultFastInterval)
		s.expect(bothUp)
	})
}

func TestTheSorryServerIsNotRelievedTwice(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.second.set(errRefused)
		s.wait(2 * time.Second)
		for range 2 { // down, up and down again within the time that a relieved sorry server has
			s.first.set(errRefused)
			s.wait(health.DefaultInterval + 3*health.DefaultFastInterval)
			s.expect(allOut)
			s.first.set(nil)
			s.wait(health.DefaultInterval + 2*health.DefaultFastInterval)
			s.expect("192.168.50.22:80 nat 1, 192.168.50.23:80 nat 0, 192.168.50.99:80 nat 0")
		}
		s.wait(sorryLeaves)
		s.expect(secondOut)
	})
}

func TestStartAdoptsWhatTheKernelServes(t *testing.T) {
	serving := ipvs.Service{Key: vip80, Scheduler: "wrr", Destinations: []ipvs.Destination{
		{Address: netip.MustParseAddrPort("192.168.50.22:80"), Forward: ipvs.NAT, Weight: 1},
		{Address: netip.MustParseAddrPort("192.168.50.23:80"), Forward: ipvs.NAT, Weight: 2},
	}}
	play(t, ipvstest.New(serving), func(s *scene) {
		s.wait(2 * time.Second)
		s.expect(bothUp)
		if calls := s.kernel.Calls(); len(calls) != 0 {
			t.Errorf("the kernel was changed although it was right: %v", calls)
		}
	})
}

func TestEndTakesOutWhatIsOurs(t *testing.T) {
	foreign := ipvs.Service{Key: ipvs.Key{Address: netip.MustParseAddr("10.0.0.1"), Port: 53, Protocol: ipvs.UDP}, Scheduler: "rr"}
	kernel := ipvstest.New(foreign)
	play(t, kernel, func(s *scene) { s.wait(2 * time.Second) })
	if table := kernel.Table(); len(table) != 1 || table[0].Key != foreign.Key {
		t.Errorf("after the end the kernel holds %s, want the foreign service alone", table)
	}
}

func TestReloadWithAChangedWeightIsOneChange(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(2 * time.Second)
		s.kernel.ForgetCalls()
		s.config = s.newConfig()
		s.config.Services[0].Real[1].Weight = 7
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wait(time.Second)
		if diff := cmp.Diff("[UpdateDestination TCP 192.168.50.100:80 192.168.50.23:80 nat 7]", fmt.Sprint(s.kernel.Calls())); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestReloadKeepsVerdicts(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.second.set(errRefused)
		s.wait(2 * time.Second)
		s.expect(secondOut)
		s.kernel.ForgetCalls()
		s.config = s.newConfig()
		s.config.Services[0].Real[1].Check.Interval = 10 * time.Second
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.expect(secondOut)
		if calls := s.kernel.Calls(); len(calls) != 0 {
			t.Errorf("a changed check changed the kernel: %v", calls)
		}
	})
}

func TestReloadThatIsRefusedChangesNothing(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(2 * time.Second)
		s.kernel.ForgetCalls()
		handed := len(s.handed)
		refusal := errors.New(`lvsd.toml:31: service "web": real 3: weight 70000: must be 0 to 65535`)
		s.load = func() (*configs.Config, error) { return nil, refusal }
		if err := s.director.Reload(s.t.Context()); !errors.Is(err, refusal) {
			t.Errorf("Reload returned %v, want %v", err, refusal)
		}
		s.wait(5 * time.Second)
		s.expect(bothUp)
		if calls := s.kernel.Calls(); len(calls) != 0 || len(s.handed) != handed {
			t.Errorf("kernel calls %v, instances handed over %d times more: want none", calls, len(s.handed)-handed)
		}
		status, err := s.director.Status(s.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.Config.Error != refusal.Error() {
			t.Errorf("status says %q, want %q", status.Config.Error, refusal)
		}

		s.load = func() (*configs.Config, error) { return s.config, nil }
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		if status, _ := s.director.Status(s.t.Context()); status.Config.Error != "" {
			t.Errorf("after a good reload the status still says %q", status.Config.Error)
		}
	})
}

func TestReloadAddsAndRemovesServices(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(2 * time.Second)
		other := web()
		other.Name, other.Listen, other.Sorry = "other", []ipvs.Key{vip443}, nil
		other.Real = []configs.RealServer{{Address: netip.MustParseAddr("192.168.50.24"), Weight: 5, Forward: ipvs.NAT}}
		s.config = s.newConfig()
		s.config.Services = append(s.config.Services, other)
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wait(time.Second)
		s.expect(bothUp + " | 192.168.50.24:443 nat 5")
		s.config = &configs.Config{Services: []configs.Service{other}}
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wait(time.Second)
		s.expect("192.168.50.24:443 nat 5")
	})
}

func TestOnlyWhileMaster(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.config = s.newConfig()
		s.config.Services[0].OnlyWhileMaster, s.config.Services[0].Instance = true, "outer"
		if err := s.director.Reload(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wait(2 * time.Second)
		s.expect("")
		s.director.SetMaster("outer", true)
		synctest.Wait()
		s.expect(bothUp)
		s.director.SetMaster("outer", false)
		synctest.Wait()
		s.expect("")
	})
}

func TestStatusLaysThePlanBesideTheKernel(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.second.set(errRefused)
		s.wait(2 * time.Second)
		s.kernel.SetFault(func(c ipvstest.Call) error {
			if c.Method == "List" {
				return nil
			}
			return errors.New("no")
		})
		s.kernel.Edit(func(t ipvs.Table) ipvs.Table {
			t[0].Destinations[0].Weight = 9
			t[0].Destinations[0].ActiveConnections = 3
			return t
		})
		status, err := s.director.Status(s.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first, second := status.Services[0].RealServers[0], status.Services[0].RealServers[1]
		one, nine, zero := 1, 9, 0
		if diff := cmp.Diff([]Destination{{
			Listen: "192.168.50.100:80", Address: "192.168.50.22:80", Forward: "nat",
			Weight: &one, KernelWeight: &nine, ActiveConnections: 3,
		}}, first.Destinations); diff != "" {
			t.Errorf("first real server (-want +got):\n%s", diff)
		}
		if first.State != "up" || second.State != "down" || second.Reason != errRefused.Error() || second.Since.IsZero() {
			t.Errorf("states: %+v, %+v", first, second)
		}
		if diff := cmp.Diff(&zero, second.Destinations[0].Weight); diff != "" {
			t.Errorf("second real server's weight (-want +got):\n%s", diff)
		}
		s.kernel.SetFault(nil)
	})
}

func TestChangesAreLoggedOnce(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.second.set(errRefused)
		s.wait(time.Minute)
		s.logMu.Lock()
		defer s.logMu.Unlock()
		want := `msg="real server changed" service=web real_server=192.168.50.23 from=unknown to=down reason="connect: connection refused"`
		if n := strings.Count(s.log.String(), want); n != 1 {
			t.Errorf("the log has %d lines with %s, want 1:\n%s", n, want, s.log.String())
		}
	})
}

// TestServicesOfAnOlderConfigurationGo starts without any service over what a
// killed daemon left.
func TestServicesOfAnOlderConfigurationGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "services.json")
		kernel := ipvstest.New()
		start := func(config *configs.Config) (kill func()) {
			d, err := New(config, Options{
				Configure:    func([]configs.Instance) {},
				Report:       func(string, map[string]configs.Finding) {},
				OpenIPVS:     func() (ipvs.Kernel, error) { return kernel, nil },
				OpenHandover: func() (Handover, error) { return &connections{}, nil },
				StateFile:    state,
				Log:          slog.New(slog.DiscardHandler),

				CheckSchedulers: func([]string) error { return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if err := d.Run(ctx); err != nil {
					t.Error(err)
				}
			}()
			time.Sleep(2 * time.Second)
			return cancel
		}
		s := &scene{first: &realServer{}, second: &realServer{}}
		left := s.newConfig()
		kill := start(left)
		table := kernel.Table()
		memory, err := os.ReadFile(state)
		if err != nil || len(table) != 1 {
			t.Fatalf("the first daemon made %s and remembers: %v", table, err)
		}
		kill()
		synctest.Wait()

		// As if the first daemon had had no time to clean up.
		kernel = ipvstest.New(table...)
		if err := os.WriteFile(state, memory, 0o644); err != nil {
			t.Fatal(err)
		}
		defer start(&configs.Config{})()
		if left := kernel.Table(); len(left) != 0 {
			t.Errorf("the second daemon left %s", left)
		}
	})
}

func TestNewSaysWhatIPVSLacks(t *testing.T) {
	s := &scene{first: &realServer{}, second: &realServer{}}
	_, err := New(s.newConfig(), Options{
		CheckSchedulers: func([]string) error { return ipvs.ErrNoIPVS },
		Log:             slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("New returned %v, want %v", err, ipvs.ErrNoIPVS)
	}
	if _, err := New(&configs.Config{}, Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Errorf("New with no service: %v", err)
	}
}
