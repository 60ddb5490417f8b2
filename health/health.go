// Package health finds out whether real servers serve, and says why not in plain words.
//
// A [Checker] looks once; [TCP], [TLS] and [HTTP] are the kinds there are. A [Tracker] turns the results of
// one server into a [Verdict] (rise, fall), without a clock or a goroutine of its own. A [Monitor] runs many
// checks on their intervals and reports verdicts that changed.
//
// The replies of a real server are not trusted: whatever it sends, and however slowly, a check ends by the
// deadline of its context, holds a bounded amount of memory, and gives a reason that is short and printable.
package health

import (
	"context"
	"fmt"
	"time"
)

// What a [Check] gets where it says nothing itself.
const (
	DefaultInterval     = 2 * time.Second        // from the start of one check to the start of the next
	DefaultFastInterval = 200 * time.Millisecond // the same while the results contradict the verdict
	DefaultTimeout      = time.Second            // for the whole check: connecting, asking and reading
	DefaultRise         = 2                      // passed checks in a row until a down server is up
	DefaultFall         = 3                      // failed checks in a row until an up server is down
)

// What a reply may take from us at most.
const (
	// MaxReply is how many bytes of a reply a [TCP] check reads while it looks for what it expects.
	MaxReply = 64 << 10
	// MaxHeader is how many bytes the status line and the headers of an HTTP reply may have, interim
	// replies (1xx) included.
	MaxHeader = 64 << 10
	// MaxBody is how many bytes the body of an HTTP reply may have. A larger one fails the check.
	MaxBody = 1 << 20
	// MaxReason is how many bytes a reason may have; a longer one is cut and ends in "...".
	MaxReason = 512
	// maxQuote is how many bytes of a reason may be a piece of a reply, its quotes and escapes included.
	maxQuote = 200
)

// Checker looks at one real server, once. Check returns nil if the server passed; the text of an error is the
// reason why it did not, in plain words. Check returns by the deadline of ctx and soon after ctx is cancelled.
type Checker interface {
	Check(ctx context.Context) error
}

// Check is a [Checker] and when to run it. Checks are compared with [reflect.DeepEqual], so a Checker should be
// plain data. Numbers and durations that are not positive stand for the defaults above.
type Check struct {
	Checker      Checker
	Interval     time.Duration // from start to start
	FastInterval time.Duration // from start to start while results contradict the verdict; at most Interval
	Timeout      time.Duration // of one check, absolute
	Rise, Fall   int
}

func (c Check) withDefaults() Check {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.FastInterval <= 0 {
		c.FastInterval = DefaultFastInterval
	}
	c.FastInterval = min(c.FastInterval, c.Interval)
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Rise <= 0 {
		c.Rise = DefaultRise
	}
	if c.Fall <= 0 {
		c.Fall = DefaultFall
	}
	return c
}

// State says whether a real server counts as serving.
type State uint8

// The states of a real server.
const (
	Unknown State = iota // no check has ended yet
	Up
	Down
)

func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns the word for the state, as String does. It never fails.
func (s State) MarshalText() ([]byte, error) {
	return []byte(s.String()), nil
}

// Reasons that do not come from a failed check.
const (
	Passed     = "passed"
	NotChecked = "not checked yet"
)

// Verdict is what is known of a real server.
type Verdict struct {
	State  State
	Reason string    // why: of the latest failed check if Down, [Passed] if Up, [NotChecked] if Unknown
	Since  time.Time // when State began; zero if Unknown

	LastCheck time.Time // when the latest check ended; zero if none has
	Latest    string    // how it ended: [Passed], or the reason why it failed
	// Contrary is how many checks in a row, the latest included, contradicted State without changing it
	// yet: a server that is Up with Contrary 1 of fall 3 is failing, and Latest says why.
	Contrary int
}

// Report says that the verdict on a real server changed.
type Report struct {
	ID      string
	Verdict Verdict
}
