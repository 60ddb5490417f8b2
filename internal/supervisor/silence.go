package supervisor

import "time"

// Silence measures for how long somebody has given no sign of life. Time in
// which the one who measures did not run itself does not count: after a pause
// of the machine everybody has been silent, and nobody is dead.
type Silence struct {
	period time.Duration
	heard  time.Time
	looked time.Time
}

// NewSilence returns a Silence that begins now, for somebody who looks once a
// period.
func NewSilence(period time.Duration) *Silence {
	now := time.Now()
	return &Silence{period: period, heard: now, looked: now}
}

// Break notes a sign of life.
func (s *Silence) Break() { s.heard = time.Now() }

// Look returns how long the silence has lasted.
func (s *Silence) Look() time.Duration {
	now := time.Now()
	if now.Sub(s.looked) > 2*s.period {
		s.heard = now
	}
	s.looked = now
	return now.Sub(s.heard)
}
