package health

import "time"

// ReasonPeriod is how far apart reports are at least that only say that a server is down for another reason
// than before.
const ReasonPeriod = 10 * time.Second

// Tracker turns the results of the checks of one server into a verdict. The first result counts at once,
// whichever it is; after that it takes rise passed checks in a row to come up and fall failed ones in a row to
// go down. It has no clock and is not safe for use by several goroutines.
type Tracker struct {
	rise, fall int
	verdict    Verdict
	reported   Verdict // as of the latest Record that returned true
}

// NewTracker returns a tracker of a server that no check has looked at. Numbers below 1 have the effect of 1.
func NewTracker(rise, fall int) *Tracker {
	t := &Tracker{verdict: Verdict{Reason: NotChecked, Latest: NotChecked}}
	t.Configure(rise, fall)
	return t
}

// Configure changes what it takes to come up and to go down. The verdict stays, results that contradicted it
// so far are forgotten.
func (t *Tracker) Configure(rise, fall int) {
	t.rise, t.fall = rise, fall
	t.verdict.Contrary = 0
}

// Verdict returns the verdict as of the latest result.
func (t *Tracker) Verdict() Verdict { return t.verdict }

// Quick says whether the quick interval applies: the latest results contradict the verdict, but were not enough
// to change it.
func (t *Tracker) Quick() bool { return t.verdict.Contrary > 0 }

// Record takes the result of a check that ended at now; nil means that it passed. It says whether the verdict is
// worth a report: always when the state changed, and when a down server has another reason than was reported
// last, but that at most once in [ReasonPeriod], so that a server that fails differently every time is no flood.
func (t *Tracker) Record(now time.Time, err error) bool {
	v := &t.verdict
	v.LastCheck = now
	result, needed := Up, t.rise
	v.Latest = Passed
	if err != nil {
		result, needed = Down, t.fall
		v.Latest = clean(err).Error()
	}

	if result == v.State {
		v.Contrary = 0
		v.Reason = v.Latest
		if v.Reason == t.reported.Reason || now.Sub(t.reported.LastCheck) < ReasonPeriod {
			return false
		}
		t.reported = *v
		return true
	}
	v.Contrary++
	if v.State != Unknown && v.Contrary < needed {
		return false
	}
	v.State, v.Reason, v.Since, v.Contrary = result, v.Latest, now, 0
	t.reported = *v
	return true
}

// Skip notes that a check could not be made for a reason of our own. It says nothing about the server, so only
// Latest of the verdict changes.
func (t *Tracker) Skip(err error) {
	t.verdict.Latest = "not checked: " + clean(err).Error()
}
