package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestTracker plays results, p for passed and f for failed, a second apart, and writes down after each: the
// state (U, D), the number of contrary results if the quick interval applies, and ! if it is worth a report.
func TestTracker(t *testing.T) {
	for _, test := range []struct {
		name       string
		rise, fall int
		results    string
		want       string
	}{
		{"first passed result counts at once", 2, 3, "p", "U!"},
		{"first failed result counts at once", 2, 3, "f", "D!"},
		{"three failures in a row take it down", 2, 3, "pfff", "U! U1 U2 D!"},
		{"two passes in a row bring it up", 2, 3, "fpp", "D! D1 U!"},
		{"a pass in between starts the count anew", 2, 3, "pffpfff", "U! U1 U2 U U1 U2 D!"},
		{"a failure in between starts the count anew", 2, 3, "fpfpp", "D! D1 D D1 U!"},
		{"rise and fall of 1", 1, 1, "pfpf", "U! D! U! D!"},
		{"numbers below 1 are 1", 0, -5, "pfp", "U! D! U!"},
		{"more of the same is quiet", 2, 3, "pppp", "U! U U U"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tracker := NewTracker(test.rise, test.fall)
			var got []string
			for i, result := range test.results {
				var err error
				if result == 'f' {
					err = errors.New("no")
				}
				worth := tracker.Record(noon.Add(time.Duration(i)*time.Second), err)
				v := tracker.Verdict()
				text := strings.ToUpper(v.State.String()[:1])
				if tracker.Quick() {
					text += fmt.Sprint(v.Contrary)
				}
				if worth {
					text += "!"
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestVerdictSaysWhyAndSinceWhen(t *testing.T) {
	tracker := NewTracker(2, 2)
	want := Verdict{Reason: "not checked yet", Latest: "not checked yet"}
	step := func(what string) {
		t.Helper()
		if diff := cmp.Diff(want, tracker.Verdict()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

	step("new")
	tracker.Record(at(0), nil)
	want = Verdict{State: Up, Reason: "passed", Since: at(0), LastCheck: at(0), Latest: "passed"}
	step("first passed")
	tracker.Record(at(1), errors.New("status 503"))
	want.LastCheck, want.Latest, want.Contrary = at(1), "status 503", 1
	step("failing, but still up")
	tracker.Record(at(2), errors.New("connect: connection refused"))
	want = Verdict{State: Down, Reason: "connect: connection refused", Since: at(2), LastCheck: at(2), Latest: "connect: connection refused"}
	step("down for the latest reason")
	tracker.Record(at(3), nil)
	want.LastCheck, want.Latest, want.Contrary = at(3), "passed", 1
	step("passing, but still down for the reason of before")
	tracker.Skip(errors.New("too many open files"))
	want.Latest = "not checked: too many open files"
	step("skipped")
	tracker.Record(at(4), nil)
	want = Verdict{State: Up, Reason: "passed", Since: at(4), LastCheck: at(4), Latest: "passed"}
	step("up again")
}

func TestOtherReasonWhileDownIsReportedButNotInAFlood(t *testing.T) {
	tracker := NewTracker(1, 1)
	now := noon
	var reported []string
	fail := func(reason string) {
		if tracker.Record(now, errors.New(reason)) {
			reported = append(reported, fmt.Sprintf("%v %s", now.Sub(noon), reason))
		}
		if v := tracker.Verdict(); v.Reason != reason || !v.Since.Equal(noon) {
			t.Errorf("after %v: %+v", now.Sub(noon), v)
		}
		now = now.Add(2 * time.Second)
	}
	fail("refused")
	for range 7 {
		fail("timed out")
	}
	for i := range 12 {
		fail(fmt.Sprintf("other %d", i))
	}
	want := []string{"0s refused", "10s timed out", "20s other 2", "30s other 7"}
	if diff := cmp.Diff(want, reported); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestConfigureKeepsTheVerdict(t *testing.T) {
	tracker := NewTracker(2, 3)
	tracker.Record(noon, nil)
	tracker.Record(noon, errors.New("no"))
	tracker.Configure(2, 2)
	if v := tracker.Verdict(); v.State != Up || v.Contrary != 0 || tracker.Quick() {
		t.Errorf("got %+v", v)
	}
	if tracker.Record(noon, errors.New("no")) {
		t.Error("went down after one failure, fall is 2")
	}
	if !tracker.Record(noon, errors.New("no")) {
		t.Error("still up after two failures, fall is 2")
	}
}

// TestTrackerFollowsItsDefinition compares with the definition, which looks back at all results.
func TestTrackerFollowsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(1, 5).Draw(t, "rise"), rapid.IntRange(1, 5).Draw(t, "fall")
		results := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(t, "results")
		tracker := NewTracker(rise, fall)
		up := results[0]
		for i, passed := range results {
			needed := rise
			if up {
				needed = fall
			}
			row := 0 // how many of the latest results are contrary
			for j := i; j >= 0 && results[j] != up; j-- {
				row++
			}
			changes := row >= needed
			if changes {
				up, row = !up, 0
			}

			var err error
			if !passed {
				err = errors.New("no")
			}
			worth := tracker.Record(noon, err)
			want := Down
			if up {
				want = Up
			}
			if got := tracker.Verdict(); got.State != want || got.Contrary != row || worth != (changes || i == 0) {
				t.Fatalf("result %d of %v with rise %d, fall %d: %+v, worth %v", i, results, rise, fall, got, worth)
			}
		}
	})
}
