package vip_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// rig is a Reconciler that runs on a fake kernel, inside a bubble.
type rig struct {
	*testing.T
	kernel   *viptest.Kernel
	r        *vip.Reconciler
	log      *logbook
	repaired []string // what the hook was told, one entry a call
	stop     func()
}

// run starts a Reconciler. Without events it gets none from the kernel; then
// only its period makes it look.
func run(t *testing.T, k *viptest.Kernel, events bool, o vip.Options) *rig {
	t.Helper()
	g := &rig{T: t, kernel: k, log: &logbook{}}
	o.Log = g.log.logger()
	o.Repaired = func(a []vip.Address) { g.repaired = append(g.repaired, fmt.Sprint(a)) }
	r, err := vip.NewReconciler(k, o)
	if err != nil {
		t.Fatal(err)
	}
	g.r = r
	ctx, cancel := context.WithCancel(context.Background())
	var wake <-chan struct{}
	if events {
		wake = k.Wake()
	}
	ended := make(chan error)
	go func() { ended <- r.Run(ctx, wake) }()
	g.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return g
}

func (g *rig) calls(want ...string) {
	g.Helper()
	if diff := cmp.Diff(want, g.kernel.Calls(), comparePrefixes); diff != "" {
		g.Errorf("calls (-want +got):\n%s", diff)
	}
}

func (g *rig) shows(want string) {
	g.Helper()
	if diff := cmp.Diff(want, g.kernel.String()); diff != "" {
		g.Errorf("kernel (-want +got):\n%s", diff)
	}
}

var (
	vips    = viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/32", "2001:db8::100/64")
	dip     = viptest.Addresses("eth0", "10.0.0.31/24")[0]
	hold    = vip.Desired{Held: vips, Known: vips}
	letGo   = vip.Desired{Known: vips}
	never   = time.Hour // a period that does not get in the way
	onlyDIP = "eth0             UP             10.0.0.31/24 \n"
	allUp   = "eth0             UP             10.0.0.31/24 10.0.0.100/24 10.0.0.101/32 2001:db8::100/64 \n"
)

func director() *viptest.Kernel {
	k := viptest.NewKernel("eth0")
	k.Put(dip)
	return k
}

func TestAddressesAreTakenAndReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		start := time.Now()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.shows(allUp)
		g.calls("add 10.0.0.100/24 on eth0", "add 10.0.0.101/32 on eth0", "add 2001:db8::100/64 on eth0")
		if diff := cmp.Diff(vip.Status{Held: vips}, g.r.Status(), comparePrefixes); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		if err := g.r.Apply(t.Context(), letGo); err != nil {
			t.Fatal(err)
		}
		g.shows(onlyDIP)
		if spent := time.Since(start); spent != 0 {
			t.Errorf("waited %v", spent)
		}
		if g.repaired != nil {
			t.Errorf("told as repaired: %v", g.repaired)
		}
	})
}

// Until it is told what to hold, lvsd knows of nothing that is too much.
func TestNothingIsTouchedBeforeTheFirstWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "addresses.json")
		writeState(t, state, vips)
		k := director()
		for _, a := range vips {
			k.Put(a)
		}
		g := run(t, k, true, vip.Options{StateFile: state})
		defer g.stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		g.shows(allUp)

		g.r.Set(vip.Desired{})
		synctest.Wait()
		g.shows(onlyDIP)
	})
}

func TestWhatMatchesIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		for _, a := range vips {
			k.Put(a)
		}
		g := run(t, k, true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.calls()
		g.shows(allUp)
	})
}

// The addresses of an earlier configuration, which a killed process left behind,
// go; a foreign one in the same subnet does not.
func TestStaleAddressOfAnEarlierConfigurationIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "run", "addresses.json")
		k := director()
		foreign := viptest.Addresses("eth0", "10.0.0.200/24")[0]
		k.Put(foreign)

		g := run(t, k, true, vip.Options{StateFile: state})
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.stop() // and the addresses stay
		g.calls("add 10.0.0.100/24 on eth0", "add 10.0.0.101/32 on eth0", "add 2001:db8::100/64 on eth0")

		g = run(t, k, true, vip.Options{StateFile: state})
		if err := g.r.Apply(t.Context(), vip.Desired{Held: vips[1:2], Known: vips[1:2]}); err != nil {
			t.Fatal(err)
		}
		g.stop()
		g.calls("delete 10.0.0.100/24 on eth0", "delete 2001:db8::100/64 on eth0")
		g.shows("eth0             UP             10.0.0.31/24 10.0.0.200/24 10.0.0.101/32 \n")
		if diff := cmp.Diff(vips[1:2], readState(t, state), comparePrefixes); diff != "" {
			t.Errorf("remembered (-want +got):\n%s", diff)
		}
	})
}

// Once it is gone, an address is forgotten: who adds it later by other means
// keeps it.
func TestReleasedAddressIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "addresses.json")
		g := run(t, director(), true, vip.Options{StateFile: state})
		for _, d := range []vip.Desired{hold, letGo} {
			if err := g.r.Apply(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		g.stop()
		if got := readState(t, state); len(got) != 0 {
			t.Fatalf("still remembered: %v", got)
		}
		g.kernel.Calls()

		g.kernel.Put(vips[0])
		g = run(t, g.kernel, true, vip.Options{StateFile: state})
		defer g.stop()
		if err := g.r.Apply(t.Context(), vip.Desired{}); err != nil {
			t.Fatal(err)
		}
		g.calls()
	})
}

// A crash right after the address was added must find it in the file.
func TestAddressIsRememberedBeforeItIsAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "addresses.json")
		k := director()
		var at []vip.Address
		k.Fail(func(op viptest.Op, _ vip.Address) error {
			if op == viptest.OpAdd && at == nil {
				at = readState(t, state)
			}
			return nil
		})
		g := run(t, k, true, vip.Options{StateFile: state})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vips, at, comparePrefixes); diff != "" {
			t.Errorf("remembered at the first add (-want +got):\n%s", diff)
		}
	})
}

func TestUnusableMemoryIsSurvivedAndSaidOnce(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct{ name, path, said string }{
		{"missing", filepath.Join(folder, "none"), ""}, // as at the very first start
		{"empty", file("empty", ""), "unusable"},
		{"cut short", file("cut", `{"addresses": [{"interface": "eth0", "pre`), "unusable"},
		{"no prefix", file("noprefix", `{"addresses": [{"interface": "eth0"}]}`), "unusable"},
		{"bad prefix", file("badprefix", `{"addresses": [{"interface": "eth0", "prefix": "10.0.0.100/99"}]}`), "unusable"},
		{"a folder", folder, "unusable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := run(t, director(), true, vip.Options{StateFile: tt.path})
				if err := g.r.Apply(t.Context(), hold); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				g.stop()
				g.shows(allUp)
				if tt.said == "" {
					if said := g.log.lines("memory"); len(said) != 0 {
						t.Errorf("said %q", said)
					}
				} else if n := len(g.log.lines(tt.said)); n != 1 {
					t.Errorf("said %d times", n)
				}
				if tt.path == folder {
					if n := len(g.log.lines("cannot be remembered")); n != 1 {
						t.Errorf("that it cannot be written was said %d times", n)
					}
				} else if diff := cmp.Diff(vips, readState(t, tt.path), comparePrefixes); diff != "" {
					t.Errorf("remembered now (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTakenAddressIsPutBackByEvent(t *testing.T) {
	bubble(t, "FLT-05", func(t *testing.T) {
		g := run(t, director(), true, vip.Options{Period: never})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		g.kernel.Calls()
		g.kernel.Take(vips[0])
		g.kernel.Take(vips[2])
		synctest.Wait()
		g.calls("add 10.0.0.100/24 on eth0", "add 2001:db8::100/64 on eth0")
		if diff := cmp.Diff([]string{"[10.0.0.100/24 on eth0 2001:db8::100/64 on eth0]"}, g.repaired); diff != "" {
			t.Errorf("told as repaired (-want +got):\n%s", diff)
		}
		if n := g.r.Status().Repairs; n != 2 {
			t.Errorf("%d repairs counted", n)
		}
		want := `level=WARN msg="address put back" address=10.0.0.100/24 interface=eth0 differed="was missing"`
		if got := g.log.lines("put back", "10.0.0.100/24"); len(got) != 1 || got[0] != want {
			t.Errorf("logged %q\nwant   %q", got, want)
		}
		if n := len(g.log.lines("put back")); n != 2 {
			t.Errorf("%d repairs logged", n)
		}
	})
}

// An event may be lost: the period finds it, within a second by default.
func TestTakenAddressIsPutBackByPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), false, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.kernel.Calls()
		g.kernel.Take(vips[1])
		time.Sleep(500*time.Millisecond - 1)
		synctest.Wait()
		g.calls()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		g.calls("add 10.0.0.101/32 on eth0")
	})
}

// What this machine does not hold must not be on it, whoever puts it there.
func TestIntruderIsRemovedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), letGo); err != nil {
			t.Fatal(err)
		}
		g.kernel.Put(vips[0])
		time.Sleep(time.Second)
		synctest.Wait()
		g.calls("delete 10.0.0.100/24 on eth0")
		if n := len(g.log.lines("removed again", "10.0.0.100/24", "though this machine does not hold it")); n != 1 {
			t.Errorf("logged %d times", n)
		}
		if g.repaired != nil || g.r.Status().Repairs != 1 {
			t.Errorf("told as put back: %v; repairs %d", g.repaired, g.r.Status().Repairs)
		}
	})
}

// Additions come before removals: an address that changes its interface or its
// prefix length is never away.
func TestAdditionsComeBeforeRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		k.AddLink("eth1")
		g := run(t, k, true, vip.Options{})
		defer g.stop()
		old := viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/24")
		moved := join(viptest.Addresses("eth1", "10.0.0.100/24"), viptest.Addresses("eth0", "10.0.0.101/32"))
		for _, d := range []vip.Desired{{Held: old}, {Held: moved, Known: old}} {
			g.kernel.Calls()
			if err := g.r.Apply(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		g.calls(
			"add 10.0.0.100/24 on eth1", "add 10.0.0.101/32 on eth0",
			"delete 10.0.0.100/24 on eth0", "delete 10.0.0.101/24 on eth0",
		)
	})
}

// Of IPv6 the kernel takes an address only once per interface, whatever its
// prefix length: there the old one makes room, and only there.
func TestIPv6PrefixLengthIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		deletes := 0
		g.kernel.Fail(func(op viptest.Op, _ vip.Address) error {
			if op == viptest.OpDelete {
				deletes++
			}
			return nil
		})
		old := viptest.Addresses("eth0", "2001:db8::1/64", "2001:db8::2/64", "2001:db8::3/64")
		wider := viptest.Addresses("eth0", "2001:db8::1/128", "2001:db8::2/128")
		for _, d := range []vip.Desired{{Held: old}, {Held: wider, Known: old}} {
			g.kernel.Calls()
			deletes = 0
			if err := g.r.Apply(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if deletes != 3 {
			t.Errorf("%d deletions tried", deletes)
		}
		g.calls(
			"delete 2001:db8::1/64 on eth0", "add 2001:db8::1/128 on eth0",
			"delete 2001:db8::2/64 on eth0", "add 2001:db8::2/128 on eth0",
			"delete 2001:db8::3/64 on eth0",
		)
	})
}

// A foreign address that is in the way is not touched; it is an error that an
// operator can read, and the other addresses do not wait for it.
func TestForeignAddressInTheWayIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := director()
		k.Put(viptest.Addresses("eth0", "2001:db8::100/128")[0])
		g := run(t, k, true, vip.Options{})
		defer g.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := g.r.Apply(ctx, hold)
		const words = "adding 2001:db8::100/64 to eth0: file exists"
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("Apply: %v", err)
		}
		if err := g.r.Status().Err; err == nil || err.Error() != words {
			t.Errorf("status: %v", err)
		}
		g.shows("eth0             UP             10.0.0.31/24 2001:db8::100/128 10.0.0.100/24 10.0.0.101/32 \n")
		if n := len(g.log.lines(words)); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

// EEXIST and EADDRNOTAVAIL mean that somebody was quicker: look again at once.
func TestStalePictureIsLookedAtAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		op    viptest.Op
		first vip.Desired
		race  func(*viptest.Kernel) // somebody else, between the list and the change
		errno syscall.Errno
		wish  vip.Desired
		shows string
	}{
		{"add", viptest.OpAdd, letGo, func(k *viptest.Kernel) { k.Put(vips[0]) }, syscall.EEXIST, hold, allUp},
		{"delete", viptest.OpDelete, hold, func(k *viptest.Kernel) { k.Take(vips[0]) }, syscall.EADDRNOTAVAIL, letGo, onlyDIP},
		{"delete, ESRCH", viptest.OpDelete, hold, func(k *viptest.Kernel) { k.Take(vips[0]) }, syscall.ESRCH, letGo, onlyDIP},
		{"delete, no interface", viptest.OpDelete, hold, func(k *viptest.Kernel) { k.Take(vips[0]) }, 0, letGo, onlyDIP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := run(t, director(), false, vip.Options{Period: never})
				defer g.stop()
				if err := g.r.Apply(t.Context(), tt.first); err != nil {
					t.Fatal(err)
				}
				lists, raced := 0, false
				g.kernel.Fail(func(op viptest.Op, a vip.Address) error {
					switch {
					case op == viptest.OpAddresses:
						lists++
					case op == tt.op && a == vips[0] && !raced:
						raced = true
						tt.race(g.kernel)
						if tt.errno == 0 {
							return vip.ErrNoLink
						}
						return tt.errno
					}
					return nil
				})
				start := time.Now()
				if err := g.r.Apply(t.Context(), tt.wish); err != nil {
					t.Fatal(err)
				}
				g.shows(tt.shows)
				if spent := time.Since(start); spent > 0 {
					t.Errorf("waited %v", spent)
				}
				if lists < 2 {
					t.Errorf("listed %d times", lists)
				}
				if errs := g.log.lines("level=ERROR"); errs != nil {
					t.Errorf("logged %q", errs)
				}
			})
		})
	}
}

func TestRetriesBackOffFrom10msTo1s(t *testing.T) {
	for _, op := range []viptest.Op{viptest.OpAddresses, viptest.OpAdd} {
		t.Run(string(op), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := director()
				var tries []time.Duration
				start := time.Now()
				k.Fail(func(o viptest.Op, _ vip.Address) error {
					if o != op {
						return nil
					}
					tries = append(tries, time.Since(start))
					return syscall.ENOBUFS
				})
				g := run(t, k, false, vip.Options{Period: never})
				defer g.stop()
				one := vip.Desired{Held: vips[:1]}
				g.r.Set(one)
				time.Sleep(3500 * time.Millisecond)
				synctest.Wait()
				ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
				want := []time.Duration{0, ms(10), ms(30), ms(70), ms(150), ms(310), ms(630), ms(1270), ms(2270), ms(3270)}
				if diff := cmp.Diff(want, tries); diff != "" {
					t.Errorf("tries (-want +got):\n%s", diff)
				}
				if n := len(g.log.lines("level=ERROR")); n != 1 {
					t.Errorf("said %d times", n)
				}
				if s := g.r.Status(); !errors.Is(s.Err, syscall.ENOBUFS) || !s.Since.Equal(start) {
					t.Errorf("status: %v since %v", s.Err, s.Since)
				}

				// A new wish is tried at once, and in vain begins anew.
				tries, start = nil, time.Now()
				g.r.Set(one)
				time.Sleep(50 * time.Millisecond)
				synctest.Wait()
				if diff := cmp.Diff(want[:3], tries); diff != "" {
					t.Errorf("tries of the next wish (-want +got):\n%s", diff)
				}

				// A success ends it all.
				k.Fail(nil)
				if err := g.r.Apply(t.Context(), one); err != nil {
					t.Fatal(err)
				}
				if s := g.r.Status(); s.Err != nil || !s.Since.IsZero() {
					t.Errorf("status afterwards: %v since %v", s.Err, s.Since)
				}
				if n := len(g.log.lines("as wanted again")); n != 1 {
					t.Errorf("the end was said %d times", n)
				}
			})
		})
	}
}

// A list that was cut short must never make an address look missing or stale.
func TestNothingChangesOnAnIncompleteList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.kernel.Calls()
		g.kernel.Fail(func(op viptest.Op, _ vip.Address) error {
			if op == viptest.OpAddresses {
				return errors.New("interrupted")
			}
			return nil
		})
		g.r.Set(letGo)
		time.Sleep(time.Minute)
		synctest.Wait()
		g.calls()
		if s := g.r.Status(); s.Err == nil || s.Err.Error() != "looking at the kernel: interrupted" || len(s.Held) != len(vips) {
			t.Errorf("status %+v", s)
		}
		g.kernel.Fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		g.shows(onlyDIP)
	})
}

func TestMissingInterfaceDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		lost := viptest.Addresses("eth9", "10.9.0.1/24", "10.9.0.2/24", "10.9.0.3/24", "10.9.0.4/24", "10.9.0.5/24")
		start := time.Now()
		err := g.r.Apply(t.Context(), vip.Desired{Held: join(lost, vips)})
		if spent := time.Since(start); spent != 0 {
			t.Errorf("waited %v for an interface that is not there", spent)
		}
		g.shows(allUp)

		var applied *vip.ApplyError
		if !errors.As(err, &applied) || !errors.Is(err, vip.ErrNoLink) {
			t.Fatalf("Apply: %v", err)
		}
		if diff := cmp.Diff(lost, applied.Missing, comparePrefixes); diff != "" {
			t.Errorf("missing (-want +got):\n%s", diff)
		}
		const words = "addresses not in place: 10.9.0.1/24 on eth9, 10.9.0.2/24 on eth9, 10.9.0.3/24 on eth9 and 2 more: no such interface: eth9"
		if err.Error() != words {
			t.Errorf("Apply: %v\nwant:  %v", err, words)
		}
		s := g.r.Status()
		if !errors.Is(s.Err, vip.ErrNoLink) || !cmp.Equal(lost, s.Missing, comparePrefixes) || !cmp.Equal(vips, s.Held, comparePrefixes) {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		if n := len(g.log.lines("level=ERROR")); n != 1 {
			t.Errorf("said %d times", n)
		}

		g.kernel.AddLink("eth9")
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if s := g.r.Status(); s.Err != nil || len(s.Missing) > 0 {
			t.Errorf("after the interface came: %+v", s)
		}
		if diff := cmp.Diff([]string{fmt.Sprint(lost)}, g.repaired); diff != "" {
			t.Errorf("told as come late (-want +got):\n%s", diff)
		}
	})
}

func TestInterfaceDeletedAndMadeAgain(t *testing.T) {
	bubble(t, "FLT-09", func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		g.kernel.RemoveLink("eth0")
		time.Sleep(time.Minute)
		g.kernel.AddLink("eth0")
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		g.shows("eth0             UP             10.0.0.100/24 10.0.0.101/32 2001:db8::100/64 \n")
		if len(g.repaired) != 1 {
			t.Errorf("told as repaired: %v", g.repaired)
		}
	})
}

// More than five repairs in ten seconds are a fight: from then on once a second,
// and said once. When it is over, repairs are quick again.
func TestFightBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		g.kernel.Calls()
		start := time.Now()
		var back []time.Duration
		for time.Since(start) < 5*time.Second {
			if g.kernel.Has(vips[0]) {
				g.kernel.Take(vips[0])
			}
			for !g.kernel.Has(vips[0]) {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			back = append(back, time.Since(start).Round(10*time.Millisecond))
		}
		quick, slow := 0, 0
		for i := range back[1:] {
			switch gap := back[i+1] - back[i]; {
			case gap <= 20*time.Millisecond:
				quick++
			case gap == time.Second:
				slow++
			default:
				t.Errorf("repair %d came after %v", i+1, gap)
			}
		}
		if quick != 5 || slow < 4 {
			t.Errorf("repairs at %v", back)
		}
		if n := len(g.log.lines("again and again", "10.0.0.100/24")); n != 1 {
			t.Errorf("the fight was said %d times", n)
		}
		if n := len(g.log.lines("put back")); n != 5 {
			t.Errorf("%d repairs logged", n)
		}
		if s := g.r.Status(); len(s.Fought) != 1 || s.Fought[0] != vips[0] || s.Err != nil {
			t.Errorf("status %+v", s)
		}

		// Others are not held back meanwhile.
		g.kernel.Take(vips[0])
		g.kernel.Take(vips[1])
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if !g.kernel.Has(vips[1]) || g.kernel.Has(vips[0]) {
			t.Errorf("while fighting over %s:\n%s", vips[0], g.kernel)
		}

		time.Sleep(12 * time.Second)
		if s := g.r.Status(); len(s.Fought) != 0 {
			t.Errorf("still fought over: %v", s.Fought)
		}
		g.kernel.Take(vips[0])
		synctest.Wait()
		if !g.kernel.Has(vips[0]) {
			t.Error("repairs stayed slow")
		}
	})
}

// The same holds for one who puts an address on again and again.
func TestFightWithAnIntruderBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), letGo); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for time.Since(start) < 5*time.Second {
			if !g.kernel.Has(vips[0]) {
				g.kernel.Put(vips[0])
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(g.kernel.Calls()); n < 9 || n > 11 {
			t.Errorf("removed %d times in 5 s", n)
		}
		if n := len(g.log.lines("again and again", "10.0.0.100/24")); n != 1 {
			t.Errorf("the fight was said %d times", n)
		}
	})
}

// A fight does not slow a takeover down.
func TestWishIsNotHeldBackByAFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			g.kernel.Take(vips[0])
			synctest.Wait()
		}
		if g.kernel.Has(vips[0]) {
			time.Sleep(20 * time.Millisecond)
			g.kernel.Take(vips[0])
			synctest.Wait()
		}
		for _, d := range []vip.Desired{letGo, hold} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := g.r.Apply(ctx, d); err != nil {
				t.Error(err)
			}
			cancel()
		}
	})
}

func TestApplyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		g.kernel.Fail(func(op viptest.Op, a vip.Address) error {
			if op == viptest.OpAdd && a == vips[1] || op == viptest.OpDelete {
				return syscall.ENOMEM
			}
			return nil
		})
		apply := func(d vip.Desired) error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			return g.r.Apply(ctx, d)
		}
		err := apply(hold)
		const words = "addresses not in place: 10.0.0.101/32 on eth0: adding 10.0.0.101/32 to eth0: cannot allocate memory (context deadline exceeded)"
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOMEM) || err.Error() != words {
			t.Errorf("Apply: %v\nwant:  %v", err, words)
		}
		err = apply(vip.Desired{Known: vips[:1]})
		if err == nil || !strings.HasPrefix(err.Error(), "addresses not removed: 10.0.0.100/24 on eth0, 2001:db8::100/64 on eth0: removing 10.0.0.100/24 from eth0: cannot allocate memory; ") {
			t.Errorf("Apply: %v", err)
		}
		g.kernel.Fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		g.shows(onlyDIP) // the work has gone on behind
	})
}

func TestApplyWithoutRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := vip.NewReconciler(director(), vip.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Apply(ctx, hold); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Apply: %v", err)
		}
	})
}

// Of wishes that come quicker than the kernel works, the latest wins, and those
// who wait for an earlier one are not left waiting.
func TestLatestWishWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		errs := make(chan error, 100)
		for i := range 100 {
			d := hold
			if i%2 == 1 {
				d = letGo
			}
			go func() { errs <- g.r.Apply(t.Context(), d) }()
		}
		for range 100 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		g.r.Set(hold)
		g.r.Set(letGo)
		synctest.Wait()
		g.shows(onlyDIP)
	})
}

// A storm of events of other addresses costs a look every 10 ms, not one each.
func TestEventStormIsSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{Period: never})
		defer g.stop()
		if err := g.r.Apply(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		lists := 0
		g.kernel.Fail(func(op viptest.Op, _ vip.Address) error {
			if op == viptest.OpAddresses {
				lists++
			}
			return nil
		})
		other := viptest.Addresses("eth0", "172.16.0.1/16")[0]
		for range 1000 {
			g.kernel.Put(other)
			g.kernel.Take(other)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if lists < 90 || lists > 110 {
			t.Errorf("listed %d times in a second", lists)
		}
	})
}

func TestClosedWakeChannelDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := vip.NewReconciler(director(), vip.Options{})
		if err != nil {
			t.Fatal(err)
		}
		wake := make(chan struct{})
		close(wake)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.Set(hold)
		if err := r.Run(ctx, wake); err != nil {
			t.Error(err)
		}
	})
}

func TestReconcilerRefusesImpossibleOptions(t *testing.T) {
	if _, err := vip.NewReconciler(nil, vip.Options{}); err == nil {
		t.Error("no kernel was accepted")
	}
	if _, err := vip.NewReconciler(director(), vip.Options{Period: -1}); err == nil {
		t.Error("a negative period was accepted")
	}
}

// What the caller does with its slices afterwards is its own affair.
func TestWishIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, director(), true, vip.Options{})
		defer g.stop()
		d := vip.Desired{Held: join(vips)}
		if err := g.r.Apply(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		d.Held[0].Prefix = netip.MustParsePrefix("10.0.0.99/24")
		g.r.Status().Held[1] = d.Held[0]
		time.Sleep(time.Minute)
		synctest.Wait()
		g.shows(allUp)
	})
}

func writeState(t *testing.T, path string, addresses []vip.Address) {
	t.Helper()
	var b strings.Builder
	for i, a := range addresses {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"interface": %q, "prefix": %q}`, a.Interface, a.Prefix)
	}
	if err := os.WriteFile(path, []byte(`{"addresses": [`+b.String()+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readState(t *testing.T, path string) []vip.Address {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var state struct{ Addresses []vip.Address }
	if err := json.Unmarshal(b, &state); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return state.Addresses
}
