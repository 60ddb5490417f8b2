package supervisor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 50 * time.Millisecond
		s := NewSilence(period)
		look := func(want time.Duration) {
			t.Helper()
			if got := s.Look(); got != want {
				t.Errorf("silent for %v, want %v", got, want)
			}
		}
		for n := range 5 {
			look(time.Duration(n) * period)
			time.Sleep(period)
		}
		s.Break()
		look(0)
		time.Sleep(2 * period)
		look(2 * period) // a tick that is late
		time.Sleep(10 * time.Second)
		look(0) // the machine has slept
		time.Sleep(period)
		look(period)
	})
}

// TestAHalfIsSilentWhenItsWorkIs looks at the signs of life of a half whose work
// hangs.
func TestAHalfIsSilentWhenItsWorkIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said atomic.Int64
		begin := time.Now()
		tie := &Tie{begin: begin, says: func(byte) { said.Store(int64(time.Since(begin))) }}
		go tie.beat(t.Context())
		last := func(want time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := time.Duration(said.Load()); got != want {
				t.Errorf("after %v: the last sign of life was after %v, want %v", time.Since(begin), got, want)
			}
		}
		time.Sleep(startLimit - time.Second)
		last(startLimit - time.Second) // it is still starting
		tie.Alive()
		time.Sleep(workLimit - beatPeriod)
		last(startLimit - time.Second + workLimit - beatPeriod)
		time.Sleep(workLimit)
		last(startLimit - time.Second + workLimit) // the first look came a period after the sign
		tie.Alive()
		time.Sleep(beatPeriod)
		last(time.Since(begin))
		time.Sleep(2 * workLimit)
		tie.ending.Store(true)
		time.Sleep(beatPeriod)
		last(time.Since(begin)) // the end may take its time
	})
}
