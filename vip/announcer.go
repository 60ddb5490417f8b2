package vip

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
)

const (
	// writeTimeout bounds the sending of a frame on an interface whose queue
	// does not move.
	writeTimeout = time.Second

	// frozen is how late the Announcer must be to know that the process was
	// stopped or the machine paused.
	frozen = 500 * time.Millisecond
)

var (
	errWithdrawn = errors.New("withdrawn")
	errReplaced  = errors.New("announced anew")
	errStopped   = errors.New("announcer stopped")
)

// AnnouncerOptions are the settings of an Announcer. Zero values stand for the
// defaults.
type AnnouncerOptions struct {
	// Link looks an interface up, as Linux.Link does. It is required.
	Link func(name string) (Link, error)
	// Dial returns a connection that sends whole Ethernet frames on a link. The
	// default is a packet socket.
	Dial func(Link) (net.PacketConn, error)

	Repeat  int           // rounds in a burst; default 5
	Spacing time.Duration // between the rounds of a burst; default 100 ms
	Delay   time.Duration // from the first burst to the second; default 5 s
	Refresh time.Duration // between single rounds after that; default 60 s

	Burst int           // frames sent back to back, over all addresses; default 100
	Pause time.Duration // after so many frames; default 10 ms

	// Log receives what an operator wants to know. Nil discards it.
	Log *slog.Logger
}

// AnnouncerStatus is what an Announcer has done since its start.
type AnnouncerStatus struct {
	Addresses int               // announced at present
	Sent      uint64            // frames
	Errors    uint64            // announcements of an address that could not be sent
	Failing   map[string]string // interfaces whose last round failed, and why
}

// An Announcer tells the neighbours that addresses are on this machine: with
// gratuitous ARP in its request and its reply form for IPv4, with unsolicited
// neighbour advertisements for IPv6.
//
// An announced address is sent in a burst of rounds, in a second burst some
// seconds later for switches and hosts that were not ready for the first, and in
// a single round now and then for as long as it is not withdrawn.
type Announcer struct {
	options AnnouncerOptions
	log     *slog.Logger
	wake    chan struct{} // one slot: the agenda has changed

	mu        sync.Mutex // guards everything up to the blank line
	agenda    agenda
	schedule  map[Address]*announcement // what is in agenda
	order     uint64
	sent      uint64
	errors    uint64
	complaint map[string]string // by interface: the error that has been logged

	// The rest belongs to the goroutine in Run.
	ports  map[string]*port
	burst  int       // frames since the last pause
	last   time.Time // when the last frame was sent
	resume time.Time // when the pause ends
}

// port is the way out through one interface.
type port struct {
	link   Link
	conn   net.PacketConn // nil if there is none
	err    error          // why there is none
	looked time.Time      // when link was looked up
}

// call is an Announce that waits for its first round.
type call struct {
	left   int
	done   chan struct{} // closed when left is 0
	failed map[string]*failure
}

// failure is what went wrong on one interface.
type failure struct {
	count int
	err   error
}

// NewAnnouncer returns an Announcer. It sends nothing before Run is started.
func NewAnnouncer(o AnnouncerOptions) *Announcer {
	if o.Link == nil {
		panic("vip: an Announcer needs a way to look interfaces up")
	}
	if o.Dial == nil {
		o.Dial = listenPacket
	}
	setDefault(&o.Repeat, 5)
	setDefault(&o.Spacing, 100*time.Millisecond)
	setDefault(&o.Delay, 5*time.Second)
	setDefault(&o.Refresh, time.Minute)
	setDefault(&o.Burst, 100)
	setDefault(&o.Pause, 10*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{
		options:   o,
		log:       o.Log,
		wake:      make(chan struct{}, 1),
		schedule:  map[Address]*announcement{},
		complaint: map[string]string{},
		ports:     map[string]*port{},
	}
}

func setDefault[T int | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// offset returns when a round is due, counted from the first.
func (o *AnnouncerOptions) offset(round int) time.Duration {
	switch burst, n := round/o.Repeat, round%o.Repeat; burst {
	case 0:
		return time.Duration(n) * o.Spacing
	case 1:
		return o.Delay + time.Duration(n)*o.Spacing
	default:
		return o.Delay + time.Duration(round-2*o.Repeat+1)*o.Refresh
	}
}

// Announce starts the schedule of the addresses, anew for those which have one,
// and waits until their first round is out. The error names the interfaces on
// which it could not be sent; the rounds to come are tried all the same. When
// ctx is done before the first round is out, that is the error, and the schedule
// goes on as well. Addresses on an interface without ARP are passed over.
func (a *Announcer) Announce(ctx context.Context, addresses []Address) error {
	c := a.start(addresses)
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return c.err() // nobody writes to it any more
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		if c.left == 0 {
			return c.err()
		}
		return fmt.Errorf("announcing %d addresses: %d of them not sent yet: %w", len(addresses), c.left, ctx.Err())
	}
}

// start puts addresses on the agenda. It returns nil if there are none.
func (a *Announcer) start(addresses []Address) *call {
	if len(addresses) == 0 {
		return nil
	}
	now := time.Now()
	c := &call{done: make(chan struct{}), failed: map[string]*failure{}}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, address := range addresses {
		if old := a.schedule[address]; old != nil {
			if old.call == c {
				continue // mentioned twice
			}
			a.drop(old, errReplaced)
		}
		a.order++
		e := &announcement{address: address, start: now, due: now, order: a.order, call: c}
		c.left++
		a.schedule[address] = e
		heap.Push(&a.agenda, e)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return c
}

// Withdraw ends the schedule of the addresses. Once it has returned, no frame
// of theirs is sent any more.
func (a *Announcer) Withdraw(addresses []Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, address := range addresses {
		if e := a.schedule[address]; e != nil {
			a.drop(e, errWithdrawn)
		}
	}
}

// drop takes e off the agenda. The caller holds the mutex.
func (a *Announcer) drop(e *announcement, why error) {
	heap.Remove(&a.agenda, e.at)
	delete(a.schedule, e.address)
	e.out(why)
}

// out tells the one who waits for the first round that it is out, or why not.
func (e *announcement) out(err error) {
	c := e.call
	if c == nil {
		return
	}
	e.call = nil
	if err != nil {
		f := c.failed[e.address.Interface]
		if f == nil {
			f = &failure{err: err}
			c.failed[e.address.Interface] = f
		}
		f.count++
	}
	c.left--
	if c.left == 0 {
		close(c.done)
	}
}

// err returns what went wrong, an error for each interface.
func (c *call) err() error {
	var names []string
	for name := range c.failed {
		names = append(names, name)
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		f := c.failed[name]
		errs = append(errs, fmt.Errorf("announcing %d addresses on %s: %w", f.count, name, f.err))
	}
	return errors.Join(errs...)
}

// Status returns what has been done so far.
func (a *Announcer) Status() AnnouncerStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := AnnouncerStatus{Addresses: len(a.schedule), Sent: a.sent, Errors: a.errors, Failing: map[string]string{}}
	for address := range a.schedule {
		if text := a.complaint[address.Interface]; text != "" {
			s.Failing[address.Interface] = text
		}
	}
	return s
}

// Run sends what is due until ctx ends, and then returns nil.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()

	expected := time.Now() // when this goroutine meant to be here
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(expected) > frozen {
			a.skip(now)
		}
		expected = now

		e, due := a.next(now)
		if e != nil {
			a.send(e, a.port(e))
			continue
		}
		var tick <-chan time.Time
		if !due.IsZero() {
			timer.Reset(time.Until(due))
			tick = timer.C
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-tick:
		}
		expected = time.Now()
		if !due.IsZero() && due.Before(expected) {
			expected = due
		}
	}
	return nil
}

// stop gives up everything that is scheduled.
func (a *Announcer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.schedule {
		a.drop(e, errStopped)
	}
	for name, p := range a.ports {
		p.close()
		delete(a.ports, name)
	}
}

// next returns the announcement to send now, or when to ask again. The zero
// time stands for never, unless the agenda changes.
func (a *Announcer) next(now time.Time) (*announcement, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.agenda) == 0:
		return nil, time.Time{}
	case a.agenda[0].due.After(now):
		return nil, a.agenda[0].due
	case a.resume.After(now):
		return nil, a.resume
	}
	return a.agenda[0], time.Time{}
}

// skip passes over the repetitions that fell into a time in which the process
// did not run. Another director may have taken the addresses over: only the
// election can tell, and announces them anew if they are still this machine's.
func (a *Announcer) skip(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.schedule {
		for e.round > 0 && !e.due.After(now) {
			a.advance(e)
		}
	}
}

// advance schedules the next round of e. The caller holds the mutex.
func (a *Announcer) advance(e *announcement) {
	e.round++
	e.due = e.start.Add(a.options.offset(e.round))
	heap.Fix(&a.agenda, e.at)
}

// port returns the way out for e. The interface is looked up once for each
// round, however many addresses it has, since it may have got another index or
// hardware address. This may take the kernel some time, and is done without
// holding the mutex.
func (a *Announcer) port(e *announcement) *port {
	name := e.address.Interface
	p := a.ports[name]
	if p == nil {
		p = &port{}
		a.ports[name] = p
	}
	if !p.looked.IsZero() && !p.looked.Before(e.due) {
		return p
	}
	p.looked = time.Now()
	link, err := a.options.Link(name)
	if err != nil {
		p.close()
		p.err = err
		return p
	}
	if p.conn != nil && p.link.Index != link.Index {
		p.close()
	}
	p.link, p.err = link, nil
	if p.conn == nil && !link.NoARP {
		p.conn, p.err = a.options.Dial(link)
		if p.err != nil {
			p.conn = nil
		}
	}
	return p
}

func (p *port) close() {
	if p.conn != nil {
		_ = p.conn.Close() // nothing is lost with it
		p.conn = nil
	}
}

// send sends one round of e, if e has not been withdrawn in the meantime, and
// schedules the next. The mutex is held while the frames go out, so that
// Withdraw can promise silence.
func (a *Announcer) send(e *announcement, p *port) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.schedule[e.address] != e {
		return
	}
	n, err := p.send(e.address)
	now := time.Now()
	a.pace(n, now)
	a.sent += uint64(n)
	if err != nil {
		a.errors++
	}
	a.complain(e.address.Interface, err)
	e.out(err)
	a.advance(e)
}

// send sends the frames of one round and returns how many went out.
func (p *port) send(address Address) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.link.NoARP {
		return 0, nil
	}
	frames, err := gratuitous(p.link.HardwareAddr, address.Prefix.Addr(), p.link.Router)
	if err != nil {
		return 0, err
	}
	for n, frame := range frames {
		if err := p.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return n, p.failed(err)
		}
		if _, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
			return n, p.failed(err)
		}
	}
	return len(frames), nil
}

// failed handles an error of the connection. A full queue loses a frame, and the
// next may pass. With any other error the connection is of no more use: the
// interface is gone, or down. The next round opens a new one.
func (p *port) failed(err error) error {
	if !errors.Is(err, syscall.ENOBUFS) {
		p.close()
		p.err = err
	}
	return err
}

// pace counts n frames sent and takes a pause after so many of them that a
// switch or a neighbour could choke on more.
func (a *Announcer) pace(n int, now time.Time) {
	if n == 0 {
		return
	}
	if now.Sub(a.last) >= a.options.Pause {
		a.burst = 0
	}
	a.last = now
	a.burst += n
	if a.burst+framesPerRound > a.options.Burst {
		a.burst = 0
		a.resume = now.Add(a.options.Pause)
	}
}

// complain logs the error of an interface when it is new, and its end.
func (a *Announcer) complain(name string, err error) {
	before := a.complaint[name]
	switch {
	case err == nil && before != "":
		delete(a.complaint, name)
		a.log.Info("addresses are announced again", "interface", name)
	case err != nil && before == "":
		a.complaint[name] = err.Error()
		a.log.Error("addresses cannot be announced, trying again", "interface", name, "error", err)
	}
}
