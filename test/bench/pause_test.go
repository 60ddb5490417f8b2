package bench

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pauses are the times in which a processor did not run what goes before
// everything else: a virtual machine stands still when its host runs others. No
// daemon can be in time then.
type pauses struct {
	limit time.Duration
	stop  chan struct{}
	done  sync.WaitGroup

	mu  sync.Mutex
	all []pause
}

type pause struct{ from, to time.Time }

// watchPauses looks out for pauses longer than a limit, on each processor with a
// thread that sleeps most of the time and goes before everything else.
func watchPauses(b *testing.B, limit time.Duration) *pauses {
	b.Helper()
	p := &pauses{limit: limit, stop: make(chan struct{})}
	for cpu := range runtime.NumCPU() {
		p.done.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends with its privilege
			attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}
			if err := unix.SchedSetAttr(0, attr, 0); err != nil {
				b.Errorf("watching for pauses: %v", err)
				return
			}
			var only unix.CPUSet
			only.Set(cpu)
			if err := unix.SchedSetaffinity(0, &only); err != nil {
				b.Errorf("watching for pauses: %v", err)
				return
			}
			p.watch()
		})
	}
	return p
}

func (p *pauses) watch() {
	const period = 2 * time.Millisecond
	sleep := unix.NsecToTimespec(period.Nanoseconds())
	for {
		select {
		case <-p.stop:
			return
		default:
		}
		from := time.Now()
		_ = unix.Nanosleep(&sleep, nil) // the runtime's own timers may be served by another thread
		if to := time.Now(); to.Sub(from)-period > p.limit {
			p.mu.Lock()
			p.all = append(p.all, pause{from, to})
			p.mu.Unlock()
		}
	}
}

// end returns the pauses.
func (p *pauses) end() []pause {
	close(p.stop)
	p.done.Wait()
	return p.all
}

// excused says whether something that was heard of at a moment may come of a
// pause: on a busy machine it may be heard of late.
func excused(at time.Time, all []pause) bool {
	const news = 250 * time.Millisecond
	return slices.ContainsFunc(all, func(p pause) bool { return at.After(p.from) && at.Before(p.to.Add(news)) })
}
