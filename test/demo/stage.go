package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"lvsd/test/lab"
)

// Who answers a request.
const (
	node1 = "node1"
	node2 = "node2"
	sorry = "sorry"
	lost  = "lost"
)

// stage shows what happens, second by second, and keeps the score.
type stage struct {
	w     *lab.Web
	start time.Time
	load  *lab.Load
	shown time.Time // up to when the results have been shown

	mu    sync.Mutex // guards notes
	notes []note     // what has happened and is not yet shown

	acts []*act
}

// note is a line about something that happened.
type note struct {
	at   time.Time
	text string
}

// act is one event and what was promised for it.
type act struct {
	name, promise string
	at, end       time.Time
	bound         time.Duration // how long requests may be lost
	broken        string        // how the promise was broken
}

// counts says how many requests were answered by whom.
type counts map[string]int

func only(who string) func(counts) bool {
	return func(c counts) bool { return len(c) == 1 && c[who] > 0 }
}

func both(c counts) bool { return len(c) == 2 && c[node1] > 0 && c[node2] > 0 }

func newStage(w *lab.Web) *stage {
	s := &stage{w: w}
	for _, d := range []*lab.Director{w.LVS01, w.LVS02} {
		d.Follow(func(line string) {
			if words := inWords(line); words != "" {
				s.note(time.Now(), "            "+d.Name+": "+words)
			}
		})
	}
	return s
}

// inWords tells a line of lvsd's log for people, or nothing if it is of no
// interest here.
func inWords(line string) string {
	e, ok := lab.ParseLog(line)
	if !ok {
		return line
	}
	field := func(name string) string { return fmt.Sprint(e.Fields[name]) }
	switch e.Message {
	case "state changed":
		return fmt.Sprintf("instance %s: %s -> %s (%s)", field("instance"), field("from"), field("to"), field("reason"))
	case "real server changed":
		return fmt.Sprintf("real server %s: %s -> %s (%s)", field("real_server"), field("from"), field("to"), field("reason"))
	case "service changed":
		return fmt.Sprintf("service %s: %s -> %s", field("service"), field("from"), field("to"))
	}
	if e.Level == "INFO" {
		return ""
	}
	return e.Level + " " + line
}

func (s *stage) note(at time.Time, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, note{at, text})
}

// open starts the client.
func (s *stage) open() {
	s.show(time.Now())
	s.start = time.Now()
	s.shown = s.start
	s.load = s.w.Client.Load("https://"+lab.SiteName+"/", perSecond, lab.LoadOptions{Connect: 900 * time.Millisecond, Timeout: 5 * time.Second})
	fmt.Println("\n  time   master  node1 node2 sorry  lost")
}

// act does something and begins to keep its score.
func (s *stage) act(name, promise string, bound time.Duration, do func()) {
	s.end()
	a := &act{name: name, promise: promise, at: time.Now(), bound: bound}
	s.acts = append(s.acts, a)
	s.note(a.at, fmt.Sprintf("%s >>> %s", s.clock(a.at), name))
	do()
}

// end ends the act that is on.
func (s *stage) end() {
	if len(s.acts) > 0 {
		s.acts[len(s.acts)-1].end = time.Now()
	}
}

// expect says what the last stretch of the act that is on must look like.
func (s *stage) expect(stretch time.Duration, right func(counts) bool) {
	// Requests of this moment may still be under way, so look at those before.
	time.Sleep(time.Second)
	to := time.Now().Add(-time.Second)
	c := count(s.load.Results().Between(to.Add(-stretch), to))
	if !right(c) {
		s.acts[len(s.acts)-1].broken = fmt.Sprintf("answers at the end: %v", c)
	}
}

// watch shows what happens for a while, a line a second.
func (s *stage) watch(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		// A second is shown when its last request has ended, one way or another.
		time.Sleep(time.Until(s.shown.Add(2 * time.Second)))
		c := count(s.load.Results().Between(s.shown, s.shown.Add(time.Second)))
		s.shown = s.shown.Add(time.Second)
		s.show(s.shown)
		fmt.Printf("%s %8s %6d%6d%6d%6d  %s\n", s.clock(s.shown), s.master(), c[node1], c[node2], c[sorry], c[lost], bar(c))
	}
}

// show shows the notes of what happened before a time.
func (s *stage) show(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.notes) > 0 && s.notes[0].at.Before(until) {
		fmt.Println(s.notes[0].text)
		s.notes = s.notes[1:]
	}
}

func (s *stage) clock(t time.Time) string {
	return fmt.Sprintf("%5.0fs", t.Sub(s.start).Seconds())
}

// bar draws a letter for each request: 1 and 2 for the nodes, s for the sorry
// page, and a point for a request that was lost.
func bar(c counts) string {
	return strings.Repeat("1", c[node1]) + strings.Repeat("2", c[node2]) + strings.Repeat("s", c[sorry]) + strings.Repeat(".", c[lost])
}

// master names the directors that have the VIP.
func (s *stage) master() string {
	var names []string
	for _, d := range []*lab.Director{s.w.LVS01, s.w.LVS02} {
		if d.Running() && d.Host.Has(netip.MustParseAddr(lab.VIP)) {
			names = append(names, d.Name)
		}
	}
	if names == nil {
		return "nobody"
	}
	return strings.Join(names, "+")
}

func count(results lab.Results) counts {
	c := make(counts)
	for _, r := range results {
		switch {
		case r.Err != nil:
			c[lost]++
		case r.Body == lab.Node1Page:
			c[node1]++
		case r.Body == lab.Node2Page:
			c[node2]++
		case r.Status == 503:
			c[sorry]++
		default:
			c[fmt.Sprintf("status %d", r.Status)]++
		}
	}
	return c
}

// close ends the client.
func (s *stage) close() {
	s.end()
	s.load.Stop()
	s.show(time.Now())
}

// summary prints the score and reports whether all promises were kept.
func (s *stage) summary() bool {
	results := s.load.Results()
	fmt.Printf("\n%-22s %-24s %13s %13s %10s  %s\n", "event", "what then", "requests lost", "served again", "promised", "")
	kept := true
	for _, a := range s.acts {
		gone := lostDuring(results, a)
		var after time.Duration
		if len(gone) > 0 {
			last := slices.MaxFunc(gone, func(a, b lab.Result) int { return a.Sent.Compare(b.Sent) })
			after = max(0, last.Sent.Sub(a.at)) + time.Duration(float64(time.Second)/perSecond)
		}
		verdict := "kept"
		switch {
		case a.broken != "":
			verdict = "BROKEN: " + a.broken
		case a.bound == 0 && len(gone) > 0:
			verdict = "BROKEN: nothing should be lost"
		case after > a.bound+slack:
			verdict = "BROKEN: it took too long"
		}
		kept = kept && verdict == "kept"
		fmt.Printf("%-22s %-24s %13d %13s %10s  %s\n", a.name, a.promise, len(gone), seconds(after), seconds(a.bound), verdict)
		if verdict == "kept" {
			continue
		}
		for _, r := range gone {
			fmt.Printf("  %4.1f s after, for %.1f s: %v\n", r.Sent.Sub(a.at).Seconds(), r.Latency.Seconds(), r.Err)
		}
	}
	total := len(results)
	fmt.Printf("\n%d requests, %d lost.\n", total, len(results.Lost()))
	return kept
}

// lostDuring returns the requests that an act has cost: they ended in it, even
// if they began shortly before.
func lostDuring(results lab.Results, a *act) lab.Results {
	return slices.DeleteFunc(results.Lost(), func(r lab.Result) bool {
		ended := r.Sent.Add(r.Latency)
		return ended.Before(a.at) || !ended.Before(a.end)
	})
}

// seconds prints a duration as it is promised: at once, or within so many
// seconds.
func seconds(d time.Duration) string {
	if d == 0 {
		return "at once"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
