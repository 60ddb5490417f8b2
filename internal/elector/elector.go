package elector

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp"
)

// alivePeriod lies between two signs of life, see Options.Alive.
const alivePeriod = 100 * time.Millisecond

// addedLimit bounds the wait for addresses that a reload brings, before those that
// have come are announced.
const addedLimit = time.Second

// Network is what the elector needs to know of the machine's interfaces.
type Network interface {
	vip.Kernel

	// Link returns the state of an interface, or an error that wraps
	// vip.ErrNoLink.
	Link(name string) (vip.Link, error)

	// Watch calls notify whenever a link or an address may have changed, until
	// ctx ends. It blocks; notify must not.
	Watch(ctx context.Context, notify func()) error
}

// Options are what an elector needs from outside.
type Options struct {
	Network Network

	// Open opens the VRRP socket of an interface and a family. The virtual
	// addresses are never the source of an advertisement.
	Open func(ifname string, family vrrp.Family, virtual ...netip.Addr) (vrrp.Conn, error)

	// Announcer tells the neighbours where an address is.
	Announcer *vip.Announcer

	// OnTransition is told of each change of state of an instance. It must not
	// block.
	OnTransition func(instance string, t vrrp.Transition)

	// StateFile is where the reconciler remembers which addresses are ours.
	StateFile string

	// HoldFile is where the instances are remembered that an operator holds back.
	// It is to be in a folder that does not outlive a reboot.
	HoldFile string

	// Alive, if set, is called ten times a second by the goroutine of Run, so
	// that somebody else can notice when it hangs. It must not block.
	Alive func()

	Log *slog.Logger
}

// Elector runs VRRP instances and holds their addresses. See the package
// comment.
type Elector struct {
	options   Options
	log       *slog.Logger
	addresses *vip.Reconciler

	wanted  chan []configs.Instance // one slot, the latest wins
	ended   chan struct{}           // has a token when a member has ended that was told to
	news    chan struct{}           // has a token when something is new that decides who may be master
	running sync.WaitGroup          // the members
	reading sync.WaitGroup          // the links

	mu      sync.Mutex // guards what follows
	members map[router]*member
	links   map[linkID]*link
	groups  map[string]*vrrp.Group
	gone    string          // why the director does not serve any more, "" if it does
	held    map[string]bool // instances that an operator holds back, by name
	begun   time.Time       // when Run was called

	// What the director half has told, see SetReport.
	notReady string
	findings map[string]configs.Finding
}

// New returns an elector that has no instance yet: Configure gives it some.
func New(o Options) (*Elector, error) {
	e := &Elector{
		options: o,
		log:     o.Log,
		wanted:  make(chan []configs.Instance, 1),
		ended:   make(chan struct{}, 1),
		news:    make(chan struct{}, 1),
		members: make(map[router]*member),
		links:   make(map[linkID]*link),
		groups:  make(map[string]*vrrp.Group),

		notReady: "it has just been started",
	}
	var err error
	if e.held, err = loadHeld(o.HoldFile); err != nil {
		o.Log.Warn("nothing is held back", "error", err)
	}
	e.addresses, err = vip.NewReconciler(o.Network, vip.Options{
		StateFile: o.StateFile,
		Repaired:  e.repaired,
		Log:       o.Log,
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Configure replaces the instances: new ones start, missing ones hand over and
// end, changed ones go on with what has changed. It does not block.
func (e *Elector) Configure(instances []configs.Instance) {
	select {
	case <-e.wanted: // nobody has looked at the one before
	default:
	}
	e.wanted <- instances
}

// Run elects until ctx ends. Then every instance that is master hands over, and
// Run returns when all addresses have been let go.
func (e *Elector) Run(ctx context.Context) error {
	// The hand-over needs the reconciler and the announcer: they outlive ctx.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	changed := make(chan struct{}, 1)
	wake := make(chan struct{}, 1)
	notify := func() {
		signal(changed)
		signal(wake)
	}
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return e.options.Network.Watch(serving, notify) })
	g.Go(func() error { return e.addresses.Run(serving, wake) })
	g.Go(func() error { return e.options.Announcer.Run(serving) })

	e.mu.Lock()
	e.begun = time.Now()
	e.mu.Unlock()
	patience := time.AfterFunc(readyLimit, func() { signal(e.news) })
	defer patience.Stop()

	var instances []configs.Instance
	var alive <-chan time.Time
	if e.options.Alive != nil {
		ticker := time.NewTicker(alivePeriod)
		defer ticker.Stop()
		alive = ticker.C
		e.options.Alive()
	}
	for {
		select {
		case <-alive:
			e.options.Alive()
		case instances = <-e.wanted:
			e.configure(serving, instances)
		case <-e.ended: // a router may have been wanted again while it ended
			e.configure(serving, instances)
		case <-changed:
			e.lookAtLinks()
		case <-e.news:
			e.assess()
		case <-serving.Done(): // one of the three has failed
			e.endAll()
			return g.Wait()
		case <-ctx.Done():
			e.endAll()
			stop()
			if err := g.Wait(); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		}
	}
}

// router names a virtual router as its neighbours know it. An instance that is
// only renamed stays the same router.
type router struct {
	linkID
	vrid uint8
}

func routerOf(i configs.Instance) router {
	return router{linkID{i.Interface, vrrpConfig(i).Family()}, i.VRID}
}

// configure brings the members in line with the instances.
func (e *Elector) configure(ctx context.Context, instances []configs.Instance) {
	have, err := e.options.Network.Addresses()
	if err != nil {
		e.log.Error("looking for addresses that a killed daemon left", "error", err)
	}
	wanted := make(map[router]bool)
	var starting []*member
	var added []vip.Address
	for _, instance := range instances {
		wanted[routerOf(instance)] = true
		e.mu.Lock()
		m := e.members[routerOf(instance)]
		e.mu.Unlock()
		switch {
		case m == nil:
			starting = append(starting, e.newMember(ctx, instance, have))
		case !m.ending:
			added = append(added, e.reconfigure(m, instance)...)
		}
	}
	e.mu.Lock()
	for r, m := range e.members {
		if !wanted[r] {
			m.end()
		}
	}
	e.mu.Unlock()

	// All addresses have to be known before any instance may take or release
	// its own: what is ours, but not known, is taken off.
	e.set()
	if len(added) > 0 {
		e.running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, addedLimit)
			defer cancel()
			_ = e.addresses.Applied(ctx) // what is not there by then is announced when it comes
			e.announceSoon(e.present(added))
		})
	}
	e.lookAtLinks()
	for _, m := range starting {
		e.running.Go(m.run)
	}
}

// newMember makes an instance that does not run yet. Addresses of it that are
// on the interface were left by a daemon that was killed: they stay until the
// election says whose they are.
func (e *Elector) newMember(ctx context.Context, config configs.Instance, have []vip.Entry) *member {
	own := addressesOf(config)
	left := slices.ContainsFunc(have, func(h vip.Entry) bool { return slices.Contains(own, h.Address) })
	running, cancel := context.WithCancel(ctx)
	m := &member{elector: e, link: e.openLink(ctx, routerOf(config).linkID), config: config, holding: left, ctx: running, cancel: cancel}
	m.instance = vrrp.NewInstance(m.link.vrrp, vrrpConfig(config), m, vrrp.Options{
		Name:         config.Name,
		Holding:      left,
		OnTransition: m.onTransition,
		Log:          e.log,
	})
	m.instance.SetGroup(e.group(config.Group))
	e.mu.Lock()
	e.members[routerOf(config)] = m
	e.mu.Unlock()
	return m
}

// group returns the group of a name, nil for "".
func (e *Elector) group(name string) *vrrp.Group {
	if name == "" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.groups[name] == nil {
		e.groups[name] = vrrp.NewGroup()
	}
	return e.groups[name]
}

// remove forgets a member that has ended.
func (e *Elector) remove(m *member) {
	e.mu.Lock()
	delete(e.members, routerOf(m.config))
	e.mu.Unlock()
	e.closeLink(m.link)
}

// signal puts a token into a channel of one slot, if there is none.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reconfigure gives a running instance its new configuration; the election hears
// of it when all is assessed anew. A master whose advertised addresses have
// changed takes them again, which announces those that came. The others that have
// come to a master are returned.
func (e *Elector) reconfigure(m *member, config configs.Instance) (added []vip.Address) {
	e.mu.Lock()
	before := addressesOf(m.config)
	m.config = config
	e.mu.Unlock()
	now := addressesOf(config)
	var removed []vip.Address
	for _, a := range before {
		if !slices.Contains(now, a) {
			removed = append(removed, a)
		}
	}
	e.options.Announcer.Withdraw(removed)
	m.instance.SetGroup(e.group(config.Group))
	if m.instance.Status().State != vrrp.Master {
		return nil
	}
	return slices.DeleteFunc(now, func(a vip.Address) bool { return slices.Contains(before, a) })
}

// endAll makes every member hand over, all at once, and waits for them.
func (e *Elector) endAll() {
	e.mu.Lock()
	for _, m := range e.members {
		m.end()
	}
	e.mu.Unlock()
	e.running.Wait()
	e.reading.Wait()
}

// set tells the reconciler what it should bring about: the addresses of the
// instances that hold theirs, out of all those that are configured. It does so
// under the lock, or of two instances that change in the same moment the one
// might undo what the other has just asked for.
func (e *Elector) set() {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := vip.Desired{Attributes: make(map[vip.Address]vip.Attributes)}
	for _, m := range e.members {
		addresses := addressesOf(m.config)
		d.Known = append(d.Known, addresses...)
		if m.holding {
			d.Held = append(d.Held, addresses...)
			maps.Copy(d.Attributes, attributesOf(m.config))
		}
	}
	e.addresses.Set(d)
}

// announceSoon announces addresses without waiting for the frames to be out.
func (e *Elector) announceSoon(addresses []vip.Address) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.options.Announcer.Announce(ctx, addresses) // the error says that it did not wait
}

// present returns those of addresses that are not known to be missing: to announce
// one that could not be put on its interface draws traffic to where nobody answers.
func (e *Elector) present(addresses []vip.Address) []vip.Address {
	missing := e.addresses.Status().Missing
	return slices.DeleteFunc(slices.Clone(addresses), func(a vip.Address) bool { return slices.Contains(missing, a) })
}

// repaired announces addresses that were put back, or could not be put in place
// before, unless they are another router's by now.
func (e *Elector) repaired(addresses []vip.Address) {
	addresses = slices.Clone(addresses)
	e.mu.Lock()
	for _, m := range e.members {
		if m.yielded {
			own := addressesOf(m.config)
			addresses = slices.DeleteFunc(addresses, func(a vip.Address) bool { return slices.Contains(own, a) })
		}
	}
	e.mu.Unlock()
	e.announceSoon(addresses)
}

// addressesOf returns all addresses that an instance holds, those first that it
// advertises.
func addressesOf(i configs.Instance) []vip.Address {
	addresses := make([]vip.Address, 0, len(i.Addresses)+len(i.ExtraAddresses))
	for _, list := range [][]configs.Address{i.Addresses, i.ExtraAddresses} {
		for _, a := range list {
			addresses = append(addresses, vip.Address{Interface: a.Interface, Prefix: a.Prefix})
		}
	}
	return addresses
}

// attributesOf returns the attributes of those addresses that have any.
func attributesOf(i configs.Instance) map[vip.Address]vip.Attributes {
	attributes := make(map[vip.Address]vip.Attributes)
	for _, list := range [][]configs.Address{i.Addresses, i.ExtraAddresses} {
		for _, a := range list {
			if has := (vip.Attributes{Label: a.Label, Scope: a.Scope}); has != (vip.Attributes{}) {
				attributes[vip.Address{Interface: a.Interface, Prefix: a.Prefix}] = has
			}
		}
	}
	return attributes
}

func vrrpConfig(i configs.Instance) vrrp.Config {
	advertised := make([]netip.Addr, len(i.Addresses))
	for n, a := range i.Addresses {
		advertised[n] = a.Prefix.Addr()
	}
	return vrrp.Config{
		Version:      i.Version,
		VRID:         i.VRID,
		Priority:     i.Priority,
		Interval:     i.AdvertInterval,
		Preempt:      i.Preempt,
		PreemptDelay: i.PreemptDelay,
		Addresses:    advertised,
		Peers:        i.Peers,
		Source:       i.Source,
		Password:     i.Password,
		Checksum:     i.Checksum,
	}
}
