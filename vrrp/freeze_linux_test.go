package vrrp_test

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"lvsd/vrrp"
)

// atOnce runs tests at the same time: they sleep for most of it.
func atOnce(t *testing.T, tests map[string]func(t *testing.T)) {
	t.Helper()
	done := make(chan struct{})
	for name, test := range tests {
		go func() {
			defer func() { done <- struct{}{} }()
			t.Run(name, test)
		}()
	}
	for range tests {
		<-done
	}
}

// late is how much later than exact something may be on a machine that has other work.
const late = 250 * ms

// Processes that are stopped and go on again, and that are killed. How late a machine that has other work sees it does
// not matter here; what must not happen must not happen at all.
func TestFrozenAndKilledProcesses(t *testing.T) {
	t.Parallel()
	interval := 200 * ms
	at := func(priority uint8) vrrp.Config {
		c := config(priority)
		c.Interval = interval
		return c
	}
	a1, b1, b2 := host(1).String(), host(2).String(), host(2).String()
	atOnce(t, map[string]func(t *testing.T){
		// Frozen until another one has taken over, and better than that: it listens first, says it once, and is
		// answered by the last word of the other one.
		"TMR-11 a better master": func(t *testing.T) {
			a, b := cable(t)
			s := b.sniff()
			high := a.process(at(150))
			high.await(time.Time{}, "master")
			low := b.process(at(100))
			low.await(time.Time{}, "backup")
			time.Sleep(2 * interval)
			high.signal(syscall.SIGSTOP)
			took := low.await(time.Time{}, "master")
			time.Sleep(1200*ms - time.Since(took.at))
			thawed := time.Now()
			high.signal(syscall.SIGCONT)
			gave := low.await(took.at, "backup")
			time.Sleep(3 * interval)
			if d := gave.at.Sub(thawed); d < vrrp.SkewTime(150, interval) || d > interval+late {
				t.Errorf("the other one yields after %s, want the skew time %s", d, vrrp.SkewTime(150, interval))
			}
			heard := s.heard()
			first := slices.IndexFunc(heard, func(a advert) bool { return a.source == a1 && a.at.After(thawed) })
			if d := heard[first].at.Sub(thawed); d < vrrp.SkewTime(150, interval) {
				t.Errorf("it says something after %s, want it to listen for %s", d, vrrp.SkewTime(150, interval))
			}
			// One to assert itself, one in answer to the last word of the other one.
			n := 0
			for _, a := range heard[first:] {
				if a.source == a1 && a.at.Sub(heard[first].at) < interval/2 {
					n++
				}
			}
			if n > 2 {
				t.Errorf("%d advertisements at once", n)
			}
			if got := high.said(thawed, "announce"); len(got) == 0 || len(got) > 3 {
				t.Errorf("announced %d times", len(got))
			}
			if got := reigns(heard); !slices.Equal(got, []string{a1, b1, a1}) {
				t.Errorf("masters: %v%s", got, chronicle(heard))
			}
		},
		// Frozen until a better one has taken over: it says nothing but its last word.
		"TMR-11 a worse master": func(t *testing.T) {
			a, b := cable(t)
			s := b.sniff()
			low := a.process(at(100))
			low.await(time.Time{}, "master")
			low.signal(syscall.SIGSTOP)
			high := b.process(at(150))
			high.await(time.Time{}, "master")
			time.Sleep(2 * interval)
			thawed := time.Now()
			low.signal(syscall.SIGCONT)
			gave := low.await(thawed, "backup")
			if d := gave.at.Sub(thawed); d > interval+late {
				t.Errorf("it yields after %s", d)
			}
			time.Sleep(3 * interval)
			n := 0
			for _, a := range s.heard() {
				if a.source == a1 && a.at.After(thawed) {
					n++
				}
			}
			if n > 1 {
				t.Errorf("%d advertisements after the freeze, want the last word only%s", n, chronicle(s.heard()))
			}
			if got := high.said(thawed, "backup"); len(got) != 0 {
				t.Errorf("the better one has yielded: %v", got)
			}
		},
		// A Backup that was frozen while the Master went on.
		"TMR-12": func(t *testing.T) {
			a, b := cable(t)
			s := b.sniff()
			high := a.process(at(150))
			high.await(time.Time{}, "master")
			low := b.process(at(100))
			low.await(time.Time{}, "backup")
			time.Sleep(2 * interval)
			low.signal(syscall.SIGSTOP)
			time.Sleep(1300 * ms)
			low.signal(syscall.SIGCONT)
			time.Sleep(3 * interval)
			if got := low.said(time.Time{}, "master"); len(got) != 0 {
				t.Errorf("it became master: %v", got)
			}
			if got := reigns(s.heard()); !slices.Equal(got, []string{a1}) {
				t.Errorf("masters: %v%s", got, chronicle(s.heard()))
			}
		},
		// A Master that is killed: three intervals and the skew time after its last word there is another one.
		"TMR-14": func(t *testing.T) {
			const interval = 100 * ms
			a, b := cable(t)
			s := b.sniff()
			c := config(150)
			c.Interval = interval
			high := a.process(c)
			high.await(time.Time{}, "master")
			c.Priority = 100
			low := b.process(c)
			low.await(time.Time{}, "backup")
			time.Sleep(5 * interval)
			high.kill()
			s.await(t, "takeover", func(a advert) bool { return a.source == b2 })
			heard := s.heard()
			first := slices.IndexFunc(heard, func(a advert) bool { return a.source == b2 })
			if d, want := heard[first].at.Sub(heard[first-1].at), vrrp.MasterDownInterval(100, interval); d < want-ms || d > want+late {
				t.Errorf("%s after the last advertisement, want %s", d, want)
			}
		},
	})
}

// Whatever else the machine does, the advertisements leave at a cadence that does not drift.
func TestCadenceUnderLoad(t *testing.T) {
	t.Run("TMR-13 on the real kernel", func(t *testing.T) {
		const interval, count = 50 * ms, 60
		a, b := cable(t)
		s := b.sniff()
		c := config(255)
		c.Interval = interval
		for range 2 {
			burner := exec.Command("nice", "-n", "10", "sh", "-c", "while :; do :; done")
			if err := burner.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				burner.Process.Kill()
				burner.Wait()
			}()
		}
		p := a.process(c)
		p.await(time.Time{}, "master")
		time.Sleep(count*interval + interval/2)
		heard := s.heard()
		if n := len(heard); n < count*3/4 || n > count+3 {
			t.Fatalf("%d advertisements, want %d", n, count)
		}
		// Some are late, but that does not add up: the last ones come at the same phase as the first ones.
		phase := func(adverts []advert) time.Duration {
			var phases []time.Duration
			for _, a := range adverts {
				d := a.at.Sub(heard[0].at)
				phases = append(phases, d-d.Round(interval))
			}
			slices.Sort(phases)
			return phases[len(phases)/2]
		}
		if first, last := phase(heard[:15]), phase(heard[len(heard)-15:]); (last - first).Abs() > 5*ms {
			t.Errorf("the cadence has drifted from %s to %s", first, last)
		}
	})
}
