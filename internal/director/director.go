package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lvsd/configs"
	"lvsd/health"
	"lvsd/ipvs"
)

// sorryLeaves is how long a relieved sorry server stays in the table with
// weight 0: the answers that it has begun are finished by then.
const sorryLeaves = 5 * time.Second

// clearTimeout bounds how long the end of the daemon waits for the kernel to
// give up the table.
const clearTimeout = 5 * time.Second

// alivePeriod lies between two signs of life, see Options.Alive.
const alivePeriod = 100 * time.Millisecond

// Options are what a director needs from outside.
type Options struct {
	// Load reads the configuration again for a reload.
	Load func() (*configs.Config, error)

	// Configure hands the VRRP instances of a new configuration to the
	// elector. It must not block.
	Configure func([]configs.Instance)

	// OpenIPVS opens the kernel's table. It is called when the first
	// configuration with a service comes.
	OpenIPVS func() (ipvs.Kernel, error)

	// CheckSchedulers tells which of the schedulers the kernel lacks.
	CheckSchedulers func([]string) error

	// OpenHandover opens what the kernel does for connections that outlive a
	// change of master. It is called after OpenIPVS.
	OpenHandover func() (Handover, error)

	// StateFile is where the reconciler remembers which services are ours.
	StateFile string

	// Report tells the elector why this director does not serve yet, "" if it does,
	// and what was found out about what is tracked, by the keys of the tracks. It
	// must not block.
	Report func(notReady string, findings map[string]configs.Finding)

	// Alive, if set, is called ten times a second by the loop, so that somebody
	// else can notice when it hangs. It must not block.
	Alive func()

	Log *slog.Logger
}

// Director is the half of lvsd that serves: it checks the real servers and
// programs IPVS. See the package comment.
type Director struct {
	options Options
	log     *slog.Logger
	mailbox *mailbox
	monitor *health.Monitor

	// What follows belongs to the loop.
	model       model
	pages       pages
	table       *ipvs.Reconciler        // nil until there is a service
	keeper      *keeper                 // nil until there is a table
	start       func()                  // runs table and keeper
	state       map[string]ServiceState // what was last logged for each service
	sorryTimers map[string]*time.Timer  // for the services in model.sorryLeaving
	roleTimers  map[string]*time.Timer  // for the instances in model.master or model.leaving
	reload      ConfigStatus
	trackers    *trackers
	track       func()  // watches what the configuration tracks
	told        *report // what the elector was told last
	ready       bool    // the elector was told once that the director serves
	await       func()  // waits for the table
	awaited     bool    // it was called
}

// New returns a director for the configuration. If it names a service, the
// kernel's IPVS table is opened and read; the error says what is missing when
// the kernel has none.
func New(config *configs.Config, o Options) (*Director, error) {
	d := &Director{
		options: o,
		log:     o.Log,
		mailbox: newMailbox(),
		model: model{
			master:       make(map[string]bool),
			sorryLeaving: make(map[string]bool),

			settled: make(map[string]bool),
			leaving: make(map[string]bool),
		},
		pages:       pages{log: o.Log, servers: make(map[pageID]*pageServer)},
		state:       make(map[string]ServiceState),
		sorryTimers: make(map[string]*time.Timer),
		roleTimers:  make(map[string]*time.Timer),
		reload:      ConfigStatus{File: config.Path, LoadedAt: time.Now()},
	}
	d.trackers = newTrackers(o.Log, func() { d.mailbox.put(tracked{}) })
	d.monitor = health.NewMonitor(func(r health.Report) { d.mailbox.put(reported{r}) }, o.Log)
	if err := d.prepare(config); err != nil {
		return nil, err
	}
	d.model.config = config
	return d, nil
}

// prepare sees to it that the kernel can do what the configuration wants.
func (d *Director) prepare(config *configs.Config) error {
	schedulers := make(map[string]bool)
	for _, s := range config.Services {
		schedulers[s.Scheduler] = true
	}
	if len(schedulers) > 0 {
		if err := d.options.CheckSchedulers(slices.Sorted(maps.Keys(schedulers))); err != nil {
			return err
		}
	}
	return d.openTable(config)
}

// openTable opens the kernel's IPVS table if it is not open and either the
// configuration needs it or a killed daemon may have left something in it, and
// notes which destinations are in service.
func (d *Director) openTable(config *configs.Config) error {
	needed := len(config.Services) > 0
	if _, err := os.Stat(d.options.StateFile); d.table != nil || !needed && err != nil {
		return nil
	}
	kernel, err := d.options.OpenIPVS()
	switch {
	case err != nil && !needed:
		return nil // nothing can have been left there
	case err != nil:
		return err
	}
	have, err := kernel.List()
	if err != nil {
		kernel.Close()
		return fmt.Errorf("listing the kernel's IPVS table: %w", err)
	}
	table, err := ipvs.NewReconciler(kernel, ipvs.Options{StateFile: d.options.StateFile, Log: d.log})
	if err != nil {
		kernel.Close()
		return err
	}
	connections, err := d.options.OpenHandover()
	if err != nil {
		kernel.Close()
		return err
	}
	d.model.adopted = weights(have)
	d.table = table
	d.keeper = newKeeper(connections, d.log)
	if d.start != nil {
		d.start()
	}
	return nil
}

func weights(table ipvs.Table) map[ipvs.Key]map[netip.AddrPort]int {
	all := make(map[ipvs.Key]map[netip.AddrPort]int)
	for _, s := range table {
		all[s.Key] = make(map[netip.AddrPort]int)
		for _, d := range s.Destinations {
			all[s.Key][d.Address] = d.Weight
		}
	}
	return all
}

// Run serves until ctx ends. Then it takes what is ours out of the kernel's
// table and returns.
func (d *Director) Run(ctx context.Context) error {
	defer d.pages.close()
	// The reconciler outlives ctx: it has to clear the table.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	// The keeper ends before the table is cleared: it tells the successor of the
	// last connections.
	keeping, stopKeeping := context.WithCancel(running)
	defer stopKeeping()
	var kept sync.WaitGroup
	d.start = func() {
		table, keeper := d.table, d.keeper
		g.Go(func() error { return table.Run(running) })
		kept.Go(func() { keeper.run(keeping) })
	}
	if d.table != nil {
		d.start()
	}
	checks, stopChecks := context.WithCancel(running)
	defer stopChecks()
	g.Go(func() error { return d.monitor.Run(checks) })

	tracking, stopTracking := context.WithCancel(running)
	defer d.trackers.running.Wait()
	defer stopTracking()
	d.track = func() { d.trackers.set(tracking, tracksOf(d.model.config)) }
	d.await = func() { g.Go(func() error { d.awaitTable(running); return nil }) }

	var alive <-chan time.Time
	if d.options.Alive != nil {
		ticker := time.NewTicker(alivePeriod)
		defer ticker.Stop()
		alive = ticker.C
		d.options.Alive()
	}
	// Who is master may be known already: the first plan must not take out what
	// is served only while master.
	for _, ev := range d.mailbox.take() {
		d.apply(ev)
	}
	d.adopt(d.model.config)
	for {
		select {
		case <-alive:
			d.options.Alive()
		case <-d.mailbox.wake:
			for _, ev := range d.mailbox.take() {
				d.apply(ev)
			}
			d.replan()
		case <-ctx.Done():
			stopChecks()
			stopKeeping()
			kept.Wait()
			err := d.clear(running)
			stop()
			return errors.Join(err, g.Wait())
		}
	}
}

// clear takes what is ours out of the kernel's table.
func (d *Director) clear(ctx context.Context) error {
	if d.table == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	if err := d.table.Clear(ctx); err != nil {
		return fmt.Errorf("clearing the IPVS table: %w", err)
	}
	return nil
}

// adopt makes a configuration the one in force. What it has in common with the
// one before goes on undisturbed.
func (d *Director) adopt(config *configs.Config) {
	d.model.config = config
	checks := make(map[string]health.Check)
	verdicts := make(map[string]health.Verdict)
	for _, s := range config.Services {
		for _, real := range s.Real {
			if real.Check == nil {
				continue
			}
			name := checkName(s.Name, real)
			checks[name] = *real.Check
			verdicts[name] = d.model.verdicts[name]
		}
	}
	d.model.verdicts = verdicts
	var err error
	if d.model.pages, err = d.pages.set(config.Services); err != nil {
		d.log.Error("starting the sorry page", "error", err)
	}
	d.monitor.Set(checks)
	d.track()
	d.options.Configure(config.Instances)
	d.replan()
}

// replan derives the table from the model and hands it to the reconciler.
func (d *Director) replan() {
	d.followServices()
	if d.table != nil {
		d.table.Set(plan(d.model))
		d.keeper.set(planHandover(d.model))
	}
	d.tell()
}

// followServices notices which services have lost their last real server or
// got one back, since the last plan.
func (d *Director) followServices() {
	states := make(map[string]ServiceState)
	for _, s := range d.model.config.Services {
		now := stateOf(d.model, s)
		states[s.Name] = now
		before, known := d.state[s.Name]
		if !known {
			before = ServiceStarting
		}
		if before == now {
			continue
		}
		d.log.Info("service changed", "service", s.Name, "from", before, "to", now)
		if before == ServiceSorry && now == ServiceUp {
			d.model.sorryLeaving[s.Name] = true
			d.sorryTimers[s.Name] = time.AfterFunc(sorryLeaves, func() { d.mailbox.put(sorryLeft{s.Name}) })
		}
		if now == ServiceSorry && d.model.sorryLeaving[s.Name] {
			d.sorryTimers[s.Name].Stop()
			delete(d.model.sorryLeaving, s.Name)
		}
	}
	d.state = states
}

// Reload asks for the configuration to be read again. The error is that of the
// new configuration; the running one then goes on unchanged.
func (d *Director) Reload(ctx context.Context) error {
	done := make(chan error, 1)
	d.mailbox.put(reloadRequested{done})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetMaster notes whether this director is master of a VRRP instance. It does
// not block.
func (d *Director) SetMaster(instance string, master bool) {
	d.mailbox.put(roleChanged{instance, master})
}

func (d *Director) apply(ev event) {
	switch ev := ev.(type) {
	case reported:
		d.applyReport(ev.report)
	case roleChanged:
		d.applyRole(ev)
	case settledDown:
		d.model.settled[ev.instance] = d.model.master[ev.instance]
	case left:
		delete(d.model.leaving, ev.instance)
	case tracked: // the new finding is told when all is planned anew
	case tableApplied:
		d.ready = true
	case sorryLeft:
		delete(d.model.sorryLeaving, ev.service)
	case reloadRequested:
		ev.done <- d.applyReload()
	case viewRequested:
		ev.reply <- d.view()
	}
}

// applyRole notes who is master, and for how long that may matter to the
// connections.
func (d *Director) applyRole(ev roleChanged) {
	before := d.model.master[ev.instance]
	if before == ev.master {
		return
	}
	d.model.master[ev.instance] = ev.master
	if t := d.roleTimers[ev.instance]; t != nil {
		t.Stop()
	}
	delete(d.model.settled, ev.instance)
	delete(d.model.leaving, ev.instance)
	if ev.master {
		d.roleTimers[ev.instance] = time.AfterFunc(settleTime, func() { d.mailbox.put(settledDown{ev.instance}) })
		return
	}
	d.model.leaving[ev.instance] = true
	d.roleTimers[ev.instance] = time.AfterFunc(d.leaveTime(ev.instance), func() { d.mailbox.put(left{ev.instance}) })
}

// leaveTime is how long after the end of its mastership a director may still
// have the addresses of an instance and so make connections that its successor
// has to be told of: two advertisement intervals, the second of half a second
// at least, and the time that the addresses linger, see package vrrp.
func (d *Director) leaveTime(instance string) time.Duration {
	const linger = time.Second
	for _, i := range d.model.config.Instances {
		if i.Name == instance {
			return 2*i.AdvertInterval + linger
		}
	}
	return linger
}

func (d *Director) applyReport(r health.Report) {
	before, configured := d.model.verdicts[r.ID]
	if !configured {
		return // of a check that a reload has just removed
	}
	d.model.verdicts[r.ID] = r.Verdict
	if before.State == r.Verdict.State {
		return
	}
	service, server := d.find(r.ID)
	d.log.Info("real server changed", "service", service, "real_server", server,
		"from", before.State, "to", r.Verdict.State, "reason", r.Verdict.Reason)
}

// find tells which service and real server a check is for.
func (d *Director) find(check string) (service, server string) {
	for _, s := range d.model.config.Services {
		for _, real := range s.Real {
			if checkName(s.Name, real) == check {
				return s.Name, realServerName(real)
			}
		}
	}
	return "", check
}

func (d *Director) applyReload() error {
	config, err := d.options.Load()
	if err == nil {
		err = d.prepare(config)
	}
	if err != nil {
		d.reload.Error = err.Error()
		d.reload.FailedAt = time.Now()
		d.log.Error("reload refused: the running configuration stays in force", "error", err)
		return err
	}
	d.reload = ConfigStatus{File: config.Path, LoadedAt: time.Now()}
	d.adopt(config)
	d.log.Info("configuration reloaded", "file", config.Path,
		"instances", len(config.Instances), "services", len(config.Services))
	return nil
}

// view is a copy of the model for somebody outside the loop.
func (d *Director) view() view {
	return view{
		config:   d.model.config,
		verdicts: maps.Clone(d.model.verdicts),
		master:   maps.Clone(d.model.master),
		adopted:  d.model.adopted,
		pages:    d.model.pages,
		planned:  plan(d.model),
		table:    d.table,
		reload:   d.reload,
	}
}
