package lab

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// LoadOptions change how a load makes its requests. The zero value is fine.
type LoadOptions struct {
	Timeout time.Duration // for a whole request, 3 s if zero

	// Connect is how long the kernels may take for the connection, without a limit of its own if zero. Less than a
	// second counts a lost packet as a loss, before TCP sends again, and does not mistake a busy machine for one: an
	// answer takes processes, a connection does not.
	Connect time.Duration

	Host string // the Host header and the TLS server name, the URL's host if empty

	// Once makes a redirect a result of its own instead of following it.
	Once bool
}

// A Result is what came of one request.
type Result struct {
	Sent    time.Time     // when it was due
	Latency time.Duration // from when it was due to the last byte of the answer, or to the error
	Status  int
	Body    string // its first line
	Err     error
}

// A Load makes requests at a steady rate, each on a new connection, whether earlier ones were answered or not.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	results Results
}

// Load starts requesting a URL from the host.
func (h *Host) Load(url string, perSecond float64, o LoadOptions) *Load {
	client := h.HTTPClient()
	client.Timeout = 3 * time.Second
	if o.Timeout > 0 {
		client.Timeout = o.Timeout
	}
	transport := client.Transport.(*http.Transport)
	if o.Connect > 0 {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, o.Connect)
			defer cancel()
			return h.Dial(ctx, network, address)
		}
	}
	if o.Host != "" {
		transport.TLSClientConfig.ServerName = o.Host
	}
	if o.Once {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel}
	l.done.Go(func() {
		pace(ctx, perSecond, func(due time.Time) {
			l.done.Go(func() {
				r := get(context.Background(), client, url, o.Host, due)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.results = append(l.results, r)
			})
		})
	})
	h.lab.Cleanup(func() { l.Stop() })
	return l
}

// pace calls f at a steady rate until ctx ends, with the time at which each call was due. A call that is late does not
// move the later ones.
func pace(ctx context.Context, perSecond float64, f func(due time.Time)) {
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) * float64(time.Second) / perSecond))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		if ctx.Err() != nil {
			return
		}
		f(due)
	}
}

// Results returns the results of the requests that have ended so far, in the order in which they were due.
func (l *Load) Results() Results {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := slices.Clone(l.results)
	slices.SortFunc(r, func(a, b Result) int { return a.Sent.Compare(b.Sent) })
	return r
}

// Stop makes no more requests, waits for the answers to those that were made, and returns all results.
func (l *Load) Stop() Results {
	l.cancel()
	l.done.Wait()
	return l.Results()
}

// get makes one request.
func get(ctx context.Context, client *http.Client, url, host string, due time.Time) (r Result) {
	r.Sent = due
	defer func() { r.Latency = time.Since(due) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		r.Err = err
		return r
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		r.Err = err
		return r
	}
	defer resp.Body.Close()
	r.Status = resp.StatusCode
	body := bufio.NewReader(resp.Body)
	line, err := body.ReadString('\n')
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if err != nil && err != io.EOF {
		r.Err = err
	}
	r.Body = strings.TrimSpace(line)
	return r
}

// Results are results in the order in which the requests were due.
type Results []Result

// Between returns the results of the requests that were due in [from, to).
func (r Results) Between(from, to time.Time) Results {
	var some Results
	for _, x := range r {
		if !x.Sent.Before(from) && x.Sent.Before(to) {
			some = append(some, x)
		}
	}
	return some
}

// Lost returns the results of the requests that got no answer, or not to its end. An answer of any status is one.
func (r Results) Lost() Results {
	var lost Results
	for _, x := range r {
		if x.Err != nil {
			lost = append(lost, x)
		}
	}
	return lost
}

// Bodies counts the answers by the first line of their bodies.
func (r Results) Bodies() map[string]int {
	n := map[string]int{}
	for _, x := range r {
		if x.Err == nil {
			n[x.Body]++
		}
	}
	return n
}

// Statuses counts the answers by status.
func (r Results) Statuses() map[int]int {
	n := map[int]int{}
	for _, x := range r {
		if x.Err == nil {
			n[x.Status]++
		}
	}
	return n
}

// Outages returns the times in which every request was lost.
func (r Results) Outages() []Outage {
	return outages(len(r), func(i int) (time.Time, bool) { return r[i].Sent, r[i].Err == nil })
}

// An Outage is a time in which everything was lost.
type Outage struct {
	From time.Time // when the first probe that was lost was sent
	To   time.Time // when the next one that was answered was sent, or the last one of all
	Lost int
}

// Duration returns how long the outage was.
func (o Outage) Duration() time.Duration { return o.To.Sub(o.From) }

// outages finds the outages in n probes, of which at tells when they were sent and whether they were answered.
func outages(n int, at func(i int) (time.Time, bool)) []Outage {
	var all []Outage
	open := false
	for i := range n {
		sent, answered := at(i)
		switch {
		case !answered && !open:
			all = append(all, Outage{From: sent, To: sent, Lost: 1})
			open = true
		case !answered:
			all[len(all)-1].Lost++
			all[len(all)-1].To = sent
		case open:
			all[len(all)-1].To = sent
			open = false
		}
	}
	return all
}

// Longest returns the longest of some outages, the zero Outage if there is none.
func Longest(all []Outage) Outage {
	var longest Outage
	for _, o := range all {
		if o.Duration() >= longest.Duration() {
			longest = o
		}
	}
	return longest
}
