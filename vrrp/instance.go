package vrrp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"
)

const (
	// queueLength is how many advertisements may wait for an instance: half a second of a hundred routers that
	// advertise every 10 ms, or a flood.
	queueLength = 512

	// maxTake bounds how long taking addresses may delay the first advertisement, and releasing them the loop.
	maxTake = 100 * time.Millisecond
	// maxFinalRelease bounds the release at the end of Run, when nothing else is waiting.
	maxFinalRelease = time.Second

	// logPause lies between two log lines about packets with the same flaw, and without a rival between two
	// about rivals.
	logPause = time.Minute

	// catchUpLimit and catchUpPause bound and pace the wait for packets that arrived before a timer ran out.
	catchUpLimit = 10 * time.Millisecond
	catchUpPause = 100 * time.Microsecond
)

// Holder puts the virtual addresses of an instance on the interface and takes them off.
type Holder interface {
	// Take puts the addresses on the interface and sends the first round of gratuitous ARP. It is called again
	// while they are held when their set has changed. It returns when all is done or when ctx is done; the work
	// then goes on behind.
	Take(ctx context.Context) error
	// Announce sends gratuitous ARP again, because another router has used the addresses. It must not block.
	Announce()
	// Release takes the addresses off the interface. It returns when that is done or when ctx is done; the work
	// then goes on behind.
	Release(ctx context.Context) error
}

// Options are what an Instance needs besides its configuration.
type Options struct {
	// Name appears in the log and in the Status.
	Name string
	// Holding says that the addresses were on the interface already, left by a daemon that was killed.
	Holding bool
	// OnTransition is called on every change of state. It must not block. May be nil.
	OnTransition func(Transition)
	// Log gets every change of state, at level Info. Nil logs nothing.
	Log *slog.Logger
}

// Instance runs the Machine of one virtual router on a Link. Its methods may be called from any goroutine.
type Instance struct {
	link    *Link
	holder  Holder
	options Options
	log     *slog.Logger
	vrid    uint8

	packets chan heard
	changed chan struct{} // one slot: something below mu, or the state of the link, is new

	// Only Run uses these.
	machine   *Machine
	deadlines [timers]time.Time // zero: not armed
	done      bool
	sendError string // of the last advertisement, "" if it was sent
	warned    map[string]time.Time
	ownFault  string // that this instance has told its group of
	ownGate   string

	mu     sync.Mutex // guards everything that follows
	wanted Config
	fault  string  // set by SetFault
	gate   string  // set by SetGate
	group  *Group  // set by SetGroup
	ending bool    // Run ends, or has ended
	orders []Event // of StepDown and Reclaim
	status Status
	drops  drops
	peers  peers
	logged [dropReasons]time.Time // when drop logged last
}

// heard is a valid advertisement on its way to an instance.
type heard struct {
	advertisement Advertisement
	source        netip.Addr
}

// NewInstance returns an instance that does nothing until Run.
func NewInstance(link *Link, config Config, holder Holder, options Options) *Instance {
	config = config.clone()
	log := options.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Instance{
		link:    link,
		holder:  holder,
		options: options,
		log:     log.With("instance", options.Name, "vrid", config.VRID, "interface", link.name),
		vrid:    config.VRID,
		packets: make(chan heard, queueLength),
		changed: make(chan struct{}, 1),
		machine: NewMachine(config),
		warned:  make(map[string]time.Time),
		wanted:  config,
		status: Status{
			Name: options.Name, Interface: link.name, Config: config,
			State: Initialize, Since: time.Now(), Reason: "not started", Holding: options.Holding,
		},
	}
}

// Configure replaces the configuration of a running instance. State and cadence are kept: a Master's new values are
// in its next advertisement. An unchanged configuration changes nothing. It returns an error, and changes nothing, if
// the configuration is invalid or has another VRID.
func (i *Instance) Configure(config Config) error {
	if err := config.Validate(); err != nil {
		return fmt.Errorf("configuring instance %s: %w", i.options.Name, err)
	}
	if config.VRID != i.vrid {
		return fmt.Errorf("configuring instance %s: vrid %d cannot become %d", i.options.Name, i.vrid, config.VRID)
	}
	i.mu.Lock()
	i.wanted = config.clone()
	i.mu.Unlock()
	i.poke()
	return nil
}

// SetFault says why this router cannot take part, in plain words; "" says that it can again. A Master in Fault
// resigns and lets its addresses go at once.
func (i *Instance) SetFault(reason string) {
	i.mu.Lock()
	i.fault = reason
	i.mu.Unlock()
	i.poke()
}

// SetGate says in plain words why this router must not become Master at present; "" says that it may. A Master stays.
func (i *Instance) SetGate(reason string) {
	i.mu.Lock()
	i.gate = reason
	i.mu.Unlock()
	i.poke()
}

// SetGroup makes the instance one of a group, instead of that which it was in; nil lets it stand alone. From then on the
// others of the group wait for it, even if it does not run yet. It is no longer in the group when it is told to end.
func (i *Instance) SetGroup(g *Group) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ending {
		g = nil
	}
	if g != i.group && i.group != nil {
		i.group.leave(i)
	}
	if g != i.group && g != nil {
		g.report(i, seat{name: i.options.Name, ready: i.status.State == Master})
	}
	i.group = g
	i.poke()
}

// leaveGroup takes the instance out of its group for good, because it ends.
func (i *Instance) leaveGroup() {
	i.mu.Lock()
	i.ending = true
	i.mu.Unlock()
	i.SetGroup(nil)
}

// StepDown has a Master leave the lead to the others, and say so: see [StepDown].
func (i *Instance) StepDown(reason string) { i.order(StepDown{Reason: reason, Resign: true}) }

// Reclaim ends what StepDown began; with now a Backup that outranks the Master takes over without waiting.
func (i *Instance) Reclaim(now bool) { i.order(Reclaim{Now: now}) }

func (i *Instance) order(ev Event) {
	i.mu.Lock()
	i.orders = append(i.orders, ev)
	i.mu.Unlock()
	i.poke()
}

// Status returns a snapshot.
func (i *Instance) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.status
	s.Config = s.Config.clone()
	s.Peers = i.peers.status()
	s.Counters.Dropped = i.drops.counts()
	return s
}

// accepts returns the configuration by which packets are accepted.
func (i *Instance) accepts() Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wanted
}

// Run takes part in the election until ctx is done. Then a Master hands over: it resigns, answers for the addresses
// until its successor was heard, two intervals at most, and lets them go; Run returns after that, with nil. The Link has to
// run on until then. An error means that the instance could not start: its configuration is invalid or
// its VRID is in use on the Link.
func (i *Instance) Run(ctx context.Context) error {
	defer i.leaveGroup()
	if err := i.machine.Config().Validate(); err != nil {
		return fmt.Errorf("starting instance %s: %w", i.options.Name, err)
	}
	if err := i.link.attach(i); err != nil {
		return fmt.Errorf("starting instance %s: %w", i.options.Name, err)
	}
	defer i.link.detach(i)

	if !i.ready(ctx) {
		if i.options.Holding {
			i.release(ctx)
		}
		return nil
	}
	i.refresh(ctx)
	i.step(ctx, Startup{Holding: i.options.Holding}, time.Now())
	i.loop(ctx)
	return nil
}

// ready waits until the link has tried to open its socket, so that an instance does not begin with a fault that is
// none. It returns false if ctx is done first.
func (i *Instance) ready(ctx context.Context) bool {
	for {
		if tried, _, _ := i.link.state(); tried {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-i.changed:
		}
	}
}

// loop serves timers first, then packets and orders: whatever floods in, an advertisement leaves when it is due.
func (i *Instance) loop(ctx context.Context) {
	stop := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !i.done {
		now := time.Now()
		next, at := i.next()
		if !at.IsZero() && !at.After(now) {
			if next == DownTimer {
				i.catchUp(ctx)
				if !i.deadlines[DownTimer].Equal(at) {
					continue
				}
			}
			i.expire(ctx, next, at)
			continue
		}
		if at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(at.Sub(now))
		}
		select {
		case <-timer.C:
		case <-stop:
			stop = nil
			i.leaveGroup()
			i.step(ctx, Shutdown{}, time.Now())
		case <-i.changed:
			i.refresh(ctx)
		case h := <-i.packets:
			// A process that was frozen wakes with both, and the packet may be the first that it sees.
			if at := i.deadlines[AdvertTimer]; !at.IsZero() && !at.After(time.Now()) {
				i.expire(ctx, AdvertTimer, at)
			}
			i.receive(ctx, h)
		}
	}
}

// expire tells the machine that a timer has run out.
func (i *Instance) expire(ctx context.Context, timer Timer, at time.Time) {
	late := time.Since(at)
	i.deadlines[timer] = time.Time{}
	i.late(timer, late)
	i.step(ctx, Expired{Timer: timer, Late: late}, at)
}

// next returns the timer that runs out first, and when; the zero time if none is armed.
func (i *Instance) next() (next Timer, at time.Time) {
	for t, d := range i.deadlines {
		if !d.IsZero() && (at.IsZero() || d.Before(at)) {
			next, at = Timer(t), d
		}
	}
	return next, at
}

// catchUp hears everything that has arrived before the down timer is believed: after a late wake-up of the process
// the Master's advertisements are still in the socket.
func (i *Instance) catchUp(ctx context.Context) {
	for begin := time.Now(); i.link.pending() && time.Since(begin) < catchUpLimit; {
		time.Sleep(catchUpPause)
	}
	for n := len(i.packets); n > 0; n-- {
		i.receive(ctx, <-i.packets)
	}
}

// late counts how late a timer of the election was noticed.
func (i *Instance) late(timer Timer, late time.Duration) {
	if timer != AdvertTimer && timer != DownTimer {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	c := &i.status.Counters
	c.MaxLate = max(c.MaxLate, late)
	if late > i.machine.config.Interval/10 {
		c.Late++
	}
}

// refresh brings the machine to what the link, the group, and those who command this instance say now.
func (i *Instance) refresh(ctx context.Context) {
	_, source, err := i.link.state()
	i.mu.Lock()
	fault, gate, wanted, given := i.fault, i.gate, i.wanted, i.orders
	i.orders = nil
	known := i.status.Source
	if wanted.Source.IsValid() {
		source = wanted.Source
	}
	i.status.Source = source
	i.mu.Unlock()
	if fault == "" && err != nil {
		fault = err.Error()
	}
	now := time.Now()
	if source != known && source.IsValid() {
		i.step(ctx, SourceChanged{source}, now)
	}
	i.step(ctx, Configure{wanted}, now)
	i.ownFault, i.ownGate = fault, gate
	asked := i.report()
	if fault == "" {
		fault = asked.fault
	}
	if gate == "" {
		gate = asked.gate
	}
	if gate != i.machine.gate {
		i.step(ctx, Gate{gate}, now)
	}
	if fault != i.machine.fault {
		if fault == "" {
			i.step(ctx, Recovered{}, now)
		} else {
			i.step(ctx, Failed{fault}, now)
		}
	}
	if asked.leave != "" && i.machine.state == Master {
		i.step(ctx, StepDown{Reason: asked.leave, Resign: asked.resign}, now)
		i.step(ctx, Reclaim{}, now)
	}
	for _, ev := range given {
		i.step(ctx, ev, now)
	}
}

// report tells the group how this instance is, and returns what the group asks of it.
func (i *Instance) report() orders {
	m := i.machine
	s := seat{
		name: i.options.Name, fault: i.ownFault, resigned: m.aside,
		ready: m.state == Master || m.turn != "" && i.ownGate == "",
	}
	s.gone = !s.ready && (m.aside || m.master.IsValid() && !m.bypassed)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.group == nil {
		return orders{}
	}
	i.group.report(i, s)
	return i.group.orders(i)
}

// receive gives an advertisement to the machine.
func (i *Instance) receive(ctx context.Context, h heard) {
	a, config := h.advertisement, i.machine.config
	addresses := sameAddresses(a.Addresses, config.Addresses)
	if !addresses {
		i.warn("addresses", "another router lists other addresses", "source", h.source, "listed", a.Addresses, "configured", config.Addresses)
	}
	if a.Interval != config.Interval {
		i.warn("interval", "another router has another advertisement interval", "source", h.source, "heard", a.Interval, "configured", config.Interval)
	}
	before := i.machine.state
	i.step(ctx, Received{a, h.source}, time.Now())
	if i.count(h, before, addresses) {
		i.rival(h)
	}
}

// count brings the status up to date after an advertisement was heard in the state before. It says whether it came
// from a rival: a router that a new Master has replaced has its last word, and until an interval is over that is
// what it was.
func (i *Instance) count(h heard, before State, addresses bool) (rival bool) {
	a, config := h.advertisement, i.machine.config
	i.mu.Lock()
	defer i.mu.Unlock()
	i.peers.hear(a, h.source)
	s := &i.status
	s.Counters.Received++
	if !addresses {
		s.Counters.AddressMismatches++
	}
	if a.Interval != config.Interval {
		s.Counters.IntervalMismatches++
	}
	if a.Priority == priorityResign {
		s.Counters.PriorityZeroReceived++
	}
	switch {
	case before == Master && i.machine.state == Master:
		if rival = time.Since(s.Since) > config.Interval; rival {
			s.Counters.RivalsHeard++
		}
	case a.Priority != priorityResign:
		s.Master, s.MasterPriority, s.MasterInterval = h.source, a.Priority, a.Interval
	case s.Master == h.source:
		s.Master, s.MasterPriority, s.MasterInterval = netip.Addr{}, 0, 0
	}
	return rival
}

// rival notes that there are two Masters, and logs it once until there has been only one for a while.
func (i *Instance) rival(h heard) {
	i.mu.Lock()
	fresh := !i.status.Rival.IsValid()
	i.status.Rival = h.source
	if fresh {
		i.status.RivalSince = time.Now()
	}
	i.mu.Unlock()
	if fresh {
		i.warn("rival", "another router is master too", "source", h.source, "priority", h.advertisement.Priority)
	}
}

// rivalGone ends that.
func (i *Instance) rivalGone() {
	i.mu.Lock()
	rival, since := i.status.Rival, i.status.RivalSince
	i.status.Rival, i.status.RivalSince = netip.Addr{}, time.Time{}
	i.mu.Unlock()
	if rival.IsValid() {
		i.log.Info("the other master has gone", "source", rival, "after", time.Since(since).Round(time.Millisecond))
	}
}

// step gives one event to the machine and does what it says. Timers count from the moment at.
func (i *Instance) step(ctx context.Context, ev Event, at time.Time) {
	for _, action := range i.machine.Step(ev) {
		switch action := action.(type) {
		case Take:
			i.take(ctx)
		case Announce:
			i.holder.Announce()
		case Release:
			i.release(ctx)
		case Send:
			i.send(action)
		case Arm:
			i.arm(action, at)
		case Shift:
			if d := &i.deadlines[action.Timer]; !d.IsZero() {
				*d = d.Add(action.By)
			}
		case Cancel:
			i.deadlines[action.Timer] = time.Time{}
		case Transition:
			i.transition(action)
		case Done:
			i.done = true
		default:
			panic(fmt.Sprintf("vrrp: unknown action %T", action))
		}
	}
	if !i.machine.suspects {
		i.rivalGone()
	}
	i.report()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status.Config = i.machine.config
	i.status.Holding = i.machine.holding
	i.status.Aside = i.machine.aside
	i.status.Gate = i.machine.gate
	if i.machine.state == Fault {
		i.status.Reason = i.machine.fault
	}
}

// arm starts a timer. If the runner is so late that even the new moment has passed, beats are left out: there is no
// burst, and those that follow keep the cadence.
func (i *Instance) arm(a Arm, at time.Time) {
	deadline := at.Add(a.After)
	if late := time.Since(deadline); late > 0 {
		deadline = deadline.Add((late/a.After + 1) * a.After)
	}
	i.deadlines[a.Timer] = deadline
}

func (i *Instance) take(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(i.machine.config.Interval/2, maxTake))
	defer cancel()
	if err := i.holder.Take(ctx); err != nil {
		i.holderError("taking the addresses", err)
	}
}

func (i *Instance) release(ctx context.Context) {
	limit := min(i.machine.config.Interval/2, maxTake)
	if ctx.Err() != nil {
		limit = maxFinalRelease
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := i.holder.Release(ctx); err != nil {
		i.holderError("releasing the addresses", err)
	}
}

func (i *Instance) holderError(doing string, err error) {
	i.log.Warn(doing, "error", err)
	i.mu.Lock()
	i.status.Counters.HolderErrors++
	i.mu.Unlock()
}

func (i *Instance) send(s Send) {
	config := i.machine.config
	a := Advertisement{
		Version: config.version(), VRID: config.VRID, Priority: s.Priority, Interval: cmp.Or(s.Interval, config.Interval),
		Addresses: config.Addresses, Authentication: authentication(config.Password),
	}
	destinations := config.Peers
	if len(destinations) == 0 {
		destinations = []netip.Addr{groupOf(config.Addresses[0])}
	}
	var errs []error
	for _, to := range destinations {
		a.Checksum = i.rule(to)
		errs = append(errs, i.link.send(a, config.Source, to))
	}
	err := errors.Join(errs...)
	i.mu.Lock()
	if err != nil {
		i.status.Counters.SendErrors++
	} else {
		i.status.Counters.Sent++
		if s.Priority == priorityResign {
			i.status.Counters.PriorityZeroSent++
		}
	}
	i.mu.Unlock()
	if err == nil {
		i.sendError = ""
		return
	}
	if text := err.Error(); text != i.sendError {
		i.sendError = text
		i.log.Warn("advertisement not sent", "error", err)
	}
}

// rule is the rule for the checksum of what is sent to an address.
func (i *Instance) rule(to netip.Addr) Checksum {
	rule, fixed := i.machine.config.Checksum.rule()
	if fixed {
		return rule
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.peers.rule(to)
}

func (i *Instance) transition(t Transition) {
	t.Time = time.Now()
	i.mu.Lock()
	s := &i.status
	s.State, s.Since, s.Reason = t.To, t.Time, t.Reason
	switch t.To {
	case Master:
		s.Counters.MasterTransitions++
		s.Master, s.MasterPriority, s.MasterInterval = s.Source, i.machine.config.Priority, i.machine.config.Interval
	case Initialize, Backup, Fault:
		s.Master, s.MasterPriority, s.MasterInterval = netip.Addr{}, 0, 0
	}
	i.mu.Unlock()
	i.log.Info("state changed", "from", t.From, "to", t.To, "reason", t.Reason)
	if i.options.OnTransition != nil {
		i.options.OnTransition(t)
	}
}

// warn logs at most one line a minute for each key.
func (i *Instance) warn(key, message string, args ...any) {
	if last, ok := i.warned[key]; ok && time.Since(last) < logPause {
		return
	}
	i.warned[key] = time.Now()
	i.log.Warn(message, args...)
}

// poke has Run look at what changed.
func (i *Instance) poke() {
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

// deliver puts an advertisement into the queue; false if that is full.
func (i *Instance) deliver(h heard) bool {
	select {
	case i.packets <- h:
		return true
	default:
		return false
	}
}

// drop counts a packet that the Link or the instance refused, and logs one a minute for each reason.
func (i *Instance) drop(source netip.Addr, err error) {
	reason := reasonOf(err)
	i.mu.Lock()
	i.drops[reason]++
	quiet := time.Since(i.logged[reason]) < logPause
	if !quiet {
		i.logged[reason] = time.Now()
	}
	i.mu.Unlock()
	if !quiet {
		i.log.Warn("dropping VRRP packets", "source", source, "reason", err.Error())
	}
}

// sameAddresses compares two lists as sets.
func sameAddresses(a, b []netip.Addr) bool {
	return maps.Equal(set(a), set(b))
}

func set(addresses []netip.Addr) map[netip.Addr]struct{} {
	m := make(map[netip.Addr]struct{}, len(addresses))
	for _, a := range addresses {
		m[a] = struct{}{}
	}
	return m
}
