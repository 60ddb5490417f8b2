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
	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

// run runs a director with these options, lets test look at it, and ends it.
func run(t *testing.T, config *configs.Config, o Options, test func(d *Director)) {
	t.Helper()
	o.Configure = func([]configs.Instance) {}
	o.Report = func(string, map[string]configs.Finding) {}
	o.Log = slog.New(slog.DiscardHandler)
	d, err := New(config, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	d.SetMaster("web", true)
	go func() { ended <- d.Run(ctx) }()
	test(d)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestALoopThatHangsGivesNoSignOfLife reloads from a disk that does not answer.
func TestALoopThatHangsGivesNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signs := 0
		answer := make(chan struct{})
		config := &configs.Config{Path: "lvsd.toml", Director: configs.Director{Name: "lvs-01"}}
		run(t, config, Options{
			Alive: func() { signs++ },
			Load: func() (*configs.Config, error) {
				<-answer
				return config, nil
			},
		}, func(d *Director) {
			expect := func(want int) {
				t.Helper()
				time.Sleep(time.Second)
				synctest.Wait()
				if signs != want {
					t.Errorf("%d signs of life, want %d", signs, want)
				}
			}
			expect(11)
			go d.Reload(t.Context()) //nolint:errcheck // it is asked whether it goes on
			synctest.Wait()
			expect(11)
			close(answer)
			expect(22) // the one that was late, too
		})
	})
}

// TestADirectorThatIsStartedAgainLeavesWhatIsServedOnlyWhileMaster knows that it
// is master before it plans.
func TestADirectorThatIsStartedAgainLeavesWhatIsServedOnlyWhileMaster(t *testing.T) {
	state := filepath.Join(t.TempDir(), "services.json")
	service := web()
	service.Listen = service.Listen[:1]
	service.OnlyWhileMaster, service.Instance, service.Sorry = true, "web", nil
	for i := range service.Real {
		service.Real[i].Check = nil
	}
	config := &configs.Config{
		Path: "lvsd.toml", Director: configs.Director{Name: "lvs-01"},
		Services: []configs.Service{service}, Instances: []configs.Instance{{Name: "web"}},
	}
	// start runs a director over a kernel, and returns what it had done and what
	// there was, and was remembered, before its end.
	start := func(kernel *ipvstest.Kernel) (calls []ipvstest.Call, table ipvs.Table, remembered []byte) {
		synctest.Test(t, func(t *testing.T) {
			run(t, config, Options{
				OpenIPVS:        func() (ipvs.Kernel, error) { return kernel, nil },
				OpenHandover:    func() (Handover, error) { return &connections{}, nil },
				CheckSchedulers: func([]string) error { return nil },
				StateFile:       state,
			}, func(*Director) {
				time.Sleep(time.Second)
				synctest.Wait()
				calls, table = kernel.Calls(), kernel.Table()
				var err error
				if remembered, err = os.ReadFile(state); err != nil {
					t.Fatal(err)
				}
			})
		})
		return calls, table, remembered
	}
	_, table, remembered := start(ipvstest.New())
	if len(table) != 1 {
		t.Fatalf("the table of the first one: %v", table)
	}
	if err := os.WriteFile(state, remembered, 0o644); err != nil { // it has been killed
		t.Fatal(err)
	}
	calls, table, _ := start(ipvstest.New(table...))
	for _, c := range calls {
		if strings.Contains(c.String(), "Delete") || strings.Contains(c.String(), "Add") {
			t.Errorf("the second one did: %v", c)
		}
	}
	if len(table) != 1 {
		t.Errorf("the table of the second one: %v", table)
	}
}
