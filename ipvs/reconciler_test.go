package ipvs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

// start runs a Reconciler until the test ends, and returns it with the log, which
// is to be read when the Reconciler is idle.
func start(t *testing.T, k ipvs.Kernel, stateFile string) (*ipvs.Reconciler, *bytes.Buffer, context.CancelFunc) {
	t.Helper()
	var log bytes.Buffer
	r, err := ipvs.NewReconciler(k, ipvs.Options{
		StateFile: stateFile,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return r, &log, stop
}

// mustApply sets a table and waits until the kernel shows it.
func mustApply(t *testing.T, r *ipvs.Reconciler, table ipvs.Table) {
	t.Helper()
	r.Set(table)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.Applied(ctx); err != nil {
		t.Fatalf("Applied: %v", err)
	}
}

func wantCalls(t *testing.T, k *ipvstest.Kernel, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, calls(k)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func wantTable(t *testing.T, k *ipvstest.Kernel, want ...ipvs.Service) {
	t.Helper()
	if diff := cmp.Diff(ipvs.Table(want).String(), k.Table().String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestReconcilerAppliesTheLeastChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New(service(web, nat(real1, 1)))
		r, log, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1), nat(real2, 1)), service(dns)})
		wantCalls(t, kernel,
			"AddService UDP 192.168.50.100:53 rr",
			"AddDestination TCP 192.168.50.100:80 192.168.50.23:80 nat 1",
		)
		want := `level=INFO msg="IPVS table applied" services=2 changes=2` + "\n"
		synctest.Wait()
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if s := r.Status(); s.Applied != time.Now() || s.Repairs != 0 || s.Error != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestReconcilerAdoptsWhatMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := ipvs.Table{persistent(service(web, nat(real1, 1)), 300, 24), service(dns)}
		kernel := ipvstest.New(table...)
		r, log, _ := start(t, kernel, "")
		mustApply(t, r, table)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantCalls(t, kernel)
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
	})
}

func TestReconcilerDoesNothingBeforeTheFirstSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		kernel := ipvstest.New()
		r, _, stop := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web)})
		stop()
		kernel.ForgetCalls()

		r, _, _ = start(t, kernel, stateFile)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantCalls(t, kernel)
		if s := r.Status(); !s.Applied.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestReconcilerRepairsWithinItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, log, _ := start(t, kernel, "")
		table := ipvs.Table{service(web, nat(real1, 1), nat(real2, 2)), service(dns)}
		mustApply(t, r, table)
		synctest.Wait()
		log.Reset()

		kernel.Edit(func(ipvs.Table) ipvs.Table { return nil })
		time.Sleep(500*time.Millisecond + time.Nanosecond)
		synctest.Wait()
		wantTable(t, kernel, table...)
		if got := r.Status().Repairs; got != 4 {
			t.Errorf("%d repairs, want 4", got)
		}

		kernel.Edit(func(ipvs.Table) ipvs.Table {
			return ipvs.Table{service(web, nat(real1, 1), nat(real2, 7)), service(dns), service(web6)}
		})
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		wantTable(t, kernel, append(table, service(web6))...)

		time.Sleep(time.Minute)
		synctest.Wait()
		want := `level=WARN msg="the IPVS table was changed by somebody else, repairing" repair="add TCP 192.168.50.100:80 with scheduler rr"
level=WARN msg="the IPVS table was changed by somebody else, repairing" repair="add 192.168.50.22:80 to TCP 192.168.50.100:80 with weight 1, forward nat"
level=WARN msg="the IPVS table was changed by somebody else, repairing" repair="add 192.168.50.23:80 to TCP 192.168.50.100:80 with weight 2, forward nat"
level=WARN msg="the IPVS table was changed by somebody else, repairing" repair="add UDP 192.168.50.100:53 with scheduler rr"
level=WARN msg="the IPVS table was changed by somebody else, repairing" repair="set weight of 192.168.50.23:80 in TCP 192.168.50.100:80 from 7 to 2"
`
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if got := r.Status().Repairs; got != 5 {
			t.Errorf("%d repairs, want 5", got)
		}
	})
}

func TestReconcilerTellsRepairsFromWhatIsNewlyWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1))})
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 2))})
		if got := r.Status().Repairs; got != 0 {
			t.Errorf("%d repairs, want none", got)
		}
		kernel.Edit(func(t ipvs.Table) ipvs.Table { return append(t, service(dns)) })
		kernel.Edit(func(t ipvs.Table) ipvs.Table { t[0].Scheduler = "lc"; return t })
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 3))})
		if got := r.Status().Repairs; got != 1 {
			t.Errorf("%d repairs, want 1 for the scheduler", got)
		}
	})
}

func TestReconcilerRemembersWhatIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		foreign := service(web6, nat("[2001:db8::22]:80", 1))
		kernel := ipvstest.New(foreign)

		// What is to be made is remembered before it is made: the file names the
		// service in the moment in which the kernel is asked for it.
		kernel.SetFault(func(c ipvstest.Call) error {
			if b, err := os.ReadFile(stateFile); c.Method == "AddService" && !bytes.Contains(b, []byte(`"port": 80`)) {
				t.Errorf("state file before %s: %s, %v", c, b, err)
			}
			return nil
		})
		r, _, crash := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1)), service(dns)})
		crash()
		wantTable(t, kernel, service(web, nat(real1, 1)), service(dns), foreign)
		b, err := os.ReadFile(stateFile)
		if err != nil {
			t.Fatal(err)
		}
		want := `{
	"services": [
		{
			"address": "192.168.50.100",
			"port": 80,
			"protocol": "tcp"
		},
		{
			"address": "192.168.50.100",
			"port": 53,
			"protocol": "udp"
		}
	]
}
`
		if diff := cmp.Diff(want, string(b)); diff != "" {
			t.Errorf("state file (-want +got):\n%s", diff)
		}
		kernel.SetFault(nil)

		// The next configuration has no dns.
		r, _, stop := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1))})
		wantTable(t, kernel, service(web, nat(real1, 1)), foreign)
		stop()

		// Somebody else makes dns now: it is not ours any more.
		kernel.Edit(func(t ipvs.Table) ipvs.Table { return append(t, service(dns)) })
		r, _, _ = start(t, kernel, stateFile)
		mustApply(t, r, nil)
		wantTable(t, kernel, service(dns), foreign)
	})
}

func TestReconcilerForgetsWhatItRemovedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web)})
		mustApply(t, r, nil)
		kernel.Edit(func(ipvs.Table) ipvs.Table { return ipvs.Table{service(web)} })
		time.Sleep(time.Minute)
		synctest.Wait()
		wantTable(t, kernel, service(web))
	})
}

func TestReconcilerForgetsWhatSomebodyElseRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		kernel := ipvstest.New()
		r, _, crash := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web), service(dns)})
		crash()
		kernel.Edit(func(ipvs.Table) ipvs.Table { return nil })

		r, _, _ = start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web)})
		kernel.Edit(func(t ipvs.Table) ipvs.Table { return append(t, service(dns)) })
		time.Sleep(time.Minute)
		wantTable(t, kernel, service(web), service(dns))
	})
}

func TestReconcilerWritesItsMemoryOnlyWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		r, _, _ := start(t, ipvstest.New(), stateFile)
		mustApply(t, r, ipvs.Table{service(web)})
		file, err := os.Open(stateFile) // kept open, so that no new file can have its inode
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		before, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1))})
		time.Sleep(time.Minute)
		after, err := os.Stat(stateFile)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) {
			t.Error("the state file was written again")
		}
	})
}

func TestReconcilerTakesABrokenStateFileAsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		if err := os.WriteFile(stateFile, []byte(`{"services": [{"address": "192.168`), 0o600); err != nil {
			t.Fatal(err)
		}
		kernel := ipvstest.New(service(web))
		r, log, stop := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(dns)})
		wantTable(t, kernel, service(web), service(dns))
		stop()
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), stateFile) {
			t.Errorf("log: %s", log)
		}
		start(t, kernel, stateFile) // reads the file that was written over the broken one
	})
}

func TestReconcilerNeedsAReadableStateFile(t *testing.T) {
	if _, err := ipvs.NewReconciler(ipvstest.New(), ipvs.Options{StateFile: t.TempDir()}); err == nil {
		t.Error("a folder is taken as state file")
	}
}

func TestReconcilerServesWithoutItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "run")
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, filepath.Join(folder, "ipvs.json"))
		mustApply(t, r, ipvs.Table{service(web)})
		wantCalls(t, kernel, "AddService TCP 192.168.50.100:80 rr")
		if lists := kernel.Lists(); lists != 1 {
			t.Errorf("listed %d times, want once", lists)
		}
		if s := r.Status(); !strings.Contains(s.Error, "remembering which services are ours") || s.Applied.IsZero() {
			t.Errorf("status %+v", s)
		}

		// It is written as soon as it can be.
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := os.Stat(filepath.Join(folder, "ipvs.json")); err != nil {
			t.Error(err)
		}
		if s := r.Status(); s.Error != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestReconcilerIsNotHeldUpByOneBadService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		missing := fmt.Errorf("scheduler mh: %w: its module ip_vs_mh is not there", ipvs.ErrNoScheduler)
		kernel.SetFault(func(c ipvstest.Call) error {
			if c.Method == "AddService" && c.Service.Scheduler == "mh" {
				return missing
			}
			return nil
		})
		r, log, _ := start(t, kernel, "")
		mustApply(t, r, nil)
		bad := service(web, nat(real1, 1))
		bad.Scheduler = "mh"
		r.Set(ipvs.Table{bad, service(dns, nat("192.168.50.22:53", 1)), service(web6)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := r.Applied(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ipvs.ErrNoScheduler) {
			t.Errorf("Applied: %v", err)
		}
		wantTable(t, kernel, service(dns, nat("192.168.50.22:53", 1)), service(web6))
		if s := r.Status(); !strings.Contains(s.Error, "ip_vs_mh") || time.Since(s.Since) != time.Minute || s.Repairs != 0 || !s.Applied.IsZero() {
			t.Errorf("status %+v", s)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("the error is logged %d times:\n%s", n, log)
		}

		// The module comes.
		kernel.SetFault(nil)
		mustApply(t, r, ipvs.Table{bad, service(dns, nat("192.168.50.22:53", 1)), service(web6)})
		wantTable(t, kernel, bad, service(dns, nat("192.168.50.22:53", 1)), service(web6))
		if s := r.Status(); s.Error != "" || !s.Since.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestReconcilerRefusesWhatTheKernelWouldGarble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1))})

		r.Set(ipvs.Table{service(web, nat("[2001:db8::22]:80", 1)), service(dns)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Applied(ctx); err == nil || !strings.Contains(err.Error(), "TCP 192.168.50.100:80: real server [2001:db8::22]:80: must be of the same address family") {
			t.Errorf("Applied: %v", err)
		}
		// It is ours and not wanted like this, but it serves.
		wantTable(t, kernel, service(web, nat(real1, 1)), service(dns))
	})
}

func TestReconcilerKeepsTheLastRealServerUntilItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1)), service(dns, nat("192.168.50.22:53", 1))})

		kernel.SetFault(func(c ipvstest.Call) error {
			if c.Method == "AddDestination" {
				return syscall.ENOMEM
			}
			return nil
		})
		next := ipvs.Table{service(web, nat(real2, 1)), service(dns, nat("192.168.50.22:53", 0), nat("192.168.50.23:53", 1))}
		r.Set(next)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantTable(t, kernel, service(web, nat(real1, 1)), service(dns, nat("192.168.50.22:53", 1)))

		kernel.SetFault(nil)
		mustApply(t, r, next)
		wantTable(t, kernel, next...)

		// Where none shall be left, the last one goes.
		mustApply(t, r, ipvs.Table{service(web, nat(real2, 0)), service(dns)})
	})
}

func TestReconcilerListsAgainWhenItsPictureIsStale(t *testing.T) {
	tests := []struct {
		name   string
		have   ipvs.Table
		method string
		edit   func(ipvs.Table) ipvs.Table // just before the call of method
		want   ipvs.Table
	}{
		{
			name:   "service added by somebody else",
			method: "AddService",
			edit:   func(t ipvs.Table) ipvs.Table { return append(t, service(web)) },
			want:   ipvs.Table{service(web, nat(real1, 1))},
		},
		{
			name:   "service removed by somebody else",
			have:   ipvs.Table{service(web)},
			method: "AddDestination",
			edit:   func(ipvs.Table) ipvs.Table { return nil },
			want:   ipvs.Table{service(web, nat(real1, 1))},
		},
		{
			name:   "destination added by somebody else",
			have:   ipvs.Table{service(web)},
			method: "AddDestination",
			edit:   func(ipvs.Table) ipvs.Table { return ipvs.Table{service(web, nat(real1, 5))} },
			want:   ipvs.Table{service(web, nat(real1, 1))},
		},
		{
			name:   "destination removed by somebody else",
			have:   ipvs.Table{service(web, nat(real1, 5))},
			method: "UpdateDestination",
			edit:   func(ipvs.Table) ipvs.Table { return ipvs.Table{service(web)} },
			want:   ipvs.Table{service(web, nat(real1, 1))},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kernel := ipvstest.New(tt.have...)
				edited := false
				kernel.SetFault(func(c ipvstest.Call) error {
					if c.Method == tt.method && !edited {
						edited = true
						kernel.Edit(tt.edit)
					}
					return nil
				})
				r, log, _ := start(t, kernel, "")
				begin := time.Now()
				mustApply(t, r, tt.want)
				if d := time.Since(begin); d != 0 {
					t.Errorf("took %s, want no waiting", d)
				}
				wantTable(t, kernel, tt.want...)
				synctest.Wait()
				if strings.Contains(log.String(), "level=ERROR") {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

func TestReconcilerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		begin := time.Now()
		var at []time.Duration
		kernel.SetFault(func(c ipvstest.Call) error {
			if c.Method == "List" {
				at = append(at, time.Since(begin))
				return syscall.ENOBUFS
			}
			return nil
		})
		r, err := ipvs.NewReconciler(kernel, ipvs.Options{Period: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		r.Set(ipvs.Table{service(web)})
		time.Sleep(4 * time.Second)
		synctest.Wait()
		want := []time.Duration{0, 10, 30, 70, 150, 310, 630, 1270, 2270, 3270}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("lists (-want +got):\n%s", diff)
		}
		if s := r.Status(); s.Error != "listing the IPVS table: no buffer space available" || s.Since != begin {
			t.Errorf("status %+v", s)
		}

		// A new Set is tried at once, and with success all is quiet.
		kernel.SetFault(nil)
		mustApply(t, r, ipvs.Table{service(dns)})
		lists := kernel.Lists()
		time.Sleep(5*time.Second - time.Nanosecond)
		synctest.Wait()
		if n := kernel.Lists() - lists; n != 0 {
			t.Errorf("listed %d times within the period", n)
		}
		cancel()
		synctest.Wait()
	})
}

func TestReconcilerNeverWaitsLongerThanItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		kernel.SetFault(func(ipvstest.Call) error { return syscall.ENOBUFS })
		r.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		lists := kernel.Lists()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := kernel.Lists() - lists; n != 120 {
			t.Errorf("listed %d times in a minute, want 120", n)
		}
	})
}

func TestReconcilerTakesTheLatestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		gate := make(chan struct{})
		kernel.SetFault(func(c ipvstest.Call) error {
			if c.Method == "List" {
				<-gate
			}
			return nil
		})
		r, _, _ := start(t, kernel, "")
		r.Set(ipvs.Table{service(web)})
		synctest.Wait()
		r.Set(ipvs.Table{service(dns)})
		r.Set(ipvs.Table{service(web6)})
		close(gate)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Applied(ctx); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, kernel,
			"AddService TCP 192.168.50.100:80 rr",
			"AddService TCP [2001:db8::100]:80 rr",
			"DeleteService TCP 192.168.50.100:80",
		)
	})
}

func TestClearLeavesWhatIsForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stateFile := filepath.Join(t.TempDir(), "ipvs.json")
		kernel := ipvstest.New(service(web6))
		r, _, stop := start(t, kernel, stateFile)
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1)), service(dns)})
		if err := r.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		wantTable(t, kernel, service(web6))
		if b, err := os.ReadFile(stateFile); err != nil || string(b) != "{\n\t\"services\": []\n}\n" {
			t.Errorf("state file: %s, %v", b, err)
		}
	})
}

func TestRunLeavesTheTableWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, stop := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web)})
		stop()
		wantTable(t, kernel, service(web))

		r.Set(nil)
		if err := r.Applied(t.Context()); !errors.Is(err, ipvs.ErrStopped) {
			t.Errorf("Applied: %v", err)
		}
		if _, err := r.List(t.Context()); !errors.Is(err, ipvs.ErrStopped) {
			t.Errorf("List: %v", err)
		}
	})
}

func TestRunEndsBetweenTwoChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, log, stop := start(t, kernel, "")
		kernel.SetFault(func(ipvstest.Call) error { time.Sleep(time.Second); return nil })
		r.Set(ipvs.Table{service(web, nat(real1, 1), nat(real2, 1)), service(dns)})
		time.Sleep(2500 * time.Millisecond)
		begin := time.Now()
		stop()
		if d := time.Since(begin); d != 500*time.Millisecond {
			t.Errorf("Run ended after %s, want to end after the call under way", d)
		}
		wantTable(t, kernel, service(web, nat(real1, 1)))
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
	})
}

func TestListReadsTheKernelLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		r, _, _ := start(t, kernel, "")
		mustApply(t, r, ipvs.Table{service(web, nat(real1, 1))})
		kernel.Edit(func(t ipvs.Table) ipvs.Table {
			t[0].Destinations[0].ActiveConnections = 7
			return append(t, service(web6))
		})
		got, err := r.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		counted := nat(real1, 1)
		counted.ActiveConnections = 7
		if diff := cmp.Diff(ipvs.Table{service(web, counted), service(web6)}.String(), got.String()); diff != "" {
			t.Errorf("List (-want +got):\n%s", diff)
		}

		// Asking while the Reconciler is at work is not asking twice at once.
		kernel.SetFault(func(ipvstest.Call) error { time.Sleep(time.Millisecond); return nil })
		for range 100 {
			if _, err := r.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(7 * time.Millisecond)
			synctest.Wait()
		}
	})
}

func TestListEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvstest.New()
		gate := make(chan struct{})
		defer close(gate)
		kernel.SetFault(func(ipvstest.Call) error { <-gate; return nil })
		r, _, _ := start(t, kernel, "")
		for range 2 { // the first is in the kernel, the second waits for the first
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := r.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("List: %v", err)
			}
			cancel()
		}
	})
}
