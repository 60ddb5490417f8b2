package director

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"lvsd/configs"
)

// filePeriod lies between two looks at a tracked file.
const filePeriod = 500 * time.Millisecond

// trackers watch the scripts and files that instances track. An equal one is
// watched once.
type trackers struct {
	log     *slog.Logger
	changed func() // a finding is new; must not block

	running sync.WaitGroup

	mu  sync.Mutex          // guards what follows
	all map[string]*tracker // by the keys of their tracks
}

// tracker is one of them.
type tracker struct {
	cancel context.CancelFunc
	found  *configs.Finding // nil: nothing is known yet
}

func newTrackers(log *slog.Logger, changed func()) *trackers {
	return &trackers{log: log, changed: changed, all: make(map[string]*tracker)}
}

// set watches the scripts and files among some tracks, and no others.
func (ts *trackers) set(ctx context.Context, tracks []configs.Track) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	wanted := make(map[string]bool)
	for _, t := range tracks {
		if t.File == "" && len(t.Script) == 0 {
			continue
		}
		key := t.Key()
		wanted[key] = true
		if ts.all[key] != nil {
			continue
		}
		watching, cancel := context.WithCancel(ctx)
		one := &tracker{cancel: cancel}
		ts.all[key] = one
		ts.running.Go(func() {
			if t.File != "" {
				ts.watchFile(watching, one, t)
			} else {
				ts.watchScript(watching, one, t)
			}
		})
	}
	for key, one := range ts.all {
		if !wanted[key] {
			one.cancel()
			delete(ts.all, key)
		}
	}
}

// findings returns what is known of all of them.
func (ts *trackers) findings() map[string]configs.Finding {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all := make(map[string]configs.Finding)
	for key, one := range ts.all {
		if one.found != nil {
			all[key] = *one.found
		}
	}
	return all
}

// note keeps what was found, and says so if it is new.
func (ts *trackers) note(one *tracker, t configs.Track, f configs.Finding) {
	ts.mu.Lock()
	before := one.found
	one.found = &f
	ts.mu.Unlock()
	if before != nil && *before == f {
		return
	}
	ts.log.Info("tracked", "what", t.String(), "up", f.Up, "reason", f.Reason, "number", f.Number)
	ts.changed()
}

func (ts *trackers) watchFile(ctx context.Context, one *tracker, t configs.Track) {
	ticker := time.NewTicker(filePeriod)
	defer ticker.Stop()
	for {
		ts.note(one, t, readNumber(t.File))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// numberLimit bounds the number in a tracked file: no priority is beyond it.
const numberLimit = 1000

// maxNumber bounds how much of a tracked file is read, in bytes.
const maxNumber = 64

// readNumber returns the number in a file. One that is missing or has no number
// counts as 0.
func readNumber(path string) configs.Finding {
	file, err := os.Open(path)
	if err != nil {
		return configs.Finding{Up: true, Reason: err.Error()}
	}
	defer file.Close()
	b := make([]byte, maxNumber)
	n, err := file.Read(b)
	if err != nil {
		return configs.Finding{Up: true, Reason: err.Error()}
	}
	text := strings.TrimSpace(string(b[:n]))
	number, err := strconv.Atoi(text)
	if err != nil {
		return configs.Finding{Up: true, Reason: fmt.Sprintf("%q is no number", text)}
	}
	return configs.Finding{Up: true, Number: max(-numberLimit, min(number, numberLimit))}
}

// watchScript runs a script at its interval. Its first result counts at once.
func (ts *trackers) watchScript(ctx context.Context, one *tracker, t configs.Track) {
	ticker := time.NewTicker(t.Interval)
	defer ticker.Stop()
	known, up := false, false
	run := 0 // results in a row that contradict what is known
	for {
		why := runScript(ctx, t)
		if ctx.Err() != nil {
			return
		}
		limit := t.Fall
		if why == "" {
			limit = t.Rise
		}
		if run++; up == (why == "") {
			run = 0
		}
		if !known || run >= limit {
			known, up, run = true, why == "", 0
			ts.note(one, t, configs.Finding{Up: up, Reason: why})
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
