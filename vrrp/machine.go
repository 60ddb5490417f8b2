package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Machine is the state machine of one virtual router, RFC 9568, section 6.4, with the hand-over of this package's
// comment. It is pure: Step is its only entrance, actions are its only effect. It is not safe for concurrent use.
type Machine struct {
	config Config
	state  State
	source netip.Addr // of our advertisements; decides between equal priorities
	fault  string     // why this router cannot take part, "" if it can

	masterInterval time.Duration // Active_Adver_Interval, learned from the Master; 0 while nobody was heard
	master         netip.Addr    // whom this Backup would replace; the zero Addr while nobody was heard
	masterPriority uint8         // what it advertised last, 0 if it has resigned
	bypassed       bool          // its last advertisement was let pass by, because this Backup outranks it

	gate      string // why this router must not become Master now, "" if it may
	turn      string // why a Backup at the gate would be Master by now, "" if none waits
	deferring bool   // PreemptTimer runs
	deferred  bool   // it has run out
	aside     bool   // stepped down: does not preempt

	overslept time.Duration // by how much DownTimer was put off because it was noticed late

	holding   bool // the addresses are on the interface, or may be
	releasing bool // ReleaseTimer runs
	adopting  bool // Backup that found the addresses at start and has heard nobody yet
	leaving   bool // Shutdown came
	repeated  bool // the second priority 0 of a shutdown is out
	replied   bool // ReplyTimer runs
	listening bool // Master that overslept: AdvertTimer runs for a skew time, in which it says nothing
	rival     bool // another one was heard while listening
	resigning bool // HandoverTimer runs
	suspects  bool // RivalTimer runs
}

// NewMachine returns a Machine in Initialize. The configuration must be valid.
func NewMachine(config Config) *Machine {
	return &Machine{config: config}
}

// State returns the present state.
func (m *Machine) State() State { return m.state }

// Config returns the present configuration.
func (m *Machine) Config() Config { return m.config }

// Step takes one event and returns what is to be done, in order.
func (m *Machine) Step(ev Event) []Action {
	switch ev := ev.(type) {
	case Startup:
		return m.startup(ev)
	case Shutdown:
		return m.shutdown()
	case Expired:
		return m.expired(ev)
	case Received:
		return m.received(ev)
	case Configure:
		return m.configure(ev.Config)
	case Failed:
		return m.failed(ev.Reason)
	case Recovered:
		return m.recovered()
	case SourceChanged:
		m.source = ev.Source
		return nil
	case Gate:
		return m.gated(ev.Reason)
	case StepDown:
		return m.stepDown(ev)
	case Reclaim:
		return m.reclaim(ev)
	}
	panic(fmt.Sprintf("vrrp: unknown event %T", ev))
}

// startup is the Startup event of RFC 9568, section 6.4.1.
func (m *Machine) startup(ev Startup) []Action {
	if m.state != Initialize || m.leaving {
		return nil
	}
	m.holding = ev.Holding
	if m.fault != "" {
		return m.enterFault(nil)
	}
	return m.begin("started")
}

// begin enters the election, at the start and after a fault.
func (m *Machine) begin(reason string) []Action {
	owner := m.config.Priority == PriorityOwner && !m.aside
	if owner && m.gate == "" {
		return m.becomeMaster(reason + " as the owner of the addresses")
	}
	m.adopting = m.holding && !owner
	if m.adopting {
		reason += " with the addresses on the interface"
	}
	actions := append(m.watch(), m.enter(Backup, reason))
	if owner {
		m.turn = reason + " as the owner of the addresses"
	}
	return actions
}

// watch starts the wait of a Backup that has heard nobody yet.
func (m *Machine) watch() []Action {
	m.masterInterval, m.master, m.masterPriority, m.bypassed, m.turn, m.overslept = 0, netip.Addr{}, 0, false, "", 0
	return append(m.endDeferral(), Arm{DownTimer, m.masterDown()})
}

// endDeferral forgets that a Master of lower priority was borne with.
func (m *Machine) endDeferral() []Action {
	running := m.deferring
	m.deferring, m.deferred = false, false
	if !running {
		return nil
	}
	return []Action{Cancel{PreemptTimer}}
}

func (m *Machine) expired(ev Expired) []Action {
	switch ev.Timer {
	case AdvertTimer:
		return m.advertDue(ev.Late)
	case DownTimer:
		if m.state != Backup {
			return nil
		}
		// A Backup that was frozen with its Master, by a machine that stalls, has not
		// listened: let the Master speak first.
		if ev.Late > m.interval() && m.overslept == 0 {
			m.overslept = ev.Late + m.interval()
			return []Action{Arm{DownTimer, m.overslept}}
		}
		m.turn = m.vacancy(m.overslept + ev.Late)
		if m.gate != "" {
			return nil
		}
		return m.becomeMaster(m.turn)
	case ReleaseTimer:
		return m.lingerOver()
	case HandoverTimer:
		return m.handoverOverdue()
	case ReplyTimer:
		m.replied = false
		return nil
	case RivalTimer:
		return m.rivalGone()
	case PreemptTimer:
		m.deferring, m.deferred = false, true
		return nil
	}
	panic(fmt.Sprintf("vrrp: unknown timer %d", ev.Timer))
}

// vacancy is why a Backup becomes Master, when its down timer was noticed late.
func (m *Machine) vacancy(late time.Duration) string {
	switch {
	case m.aside && m.holding && !m.releasing:
		return "nobody has taken over"
	case !m.master.IsValid():
		return "no master heard"
	case m.masterPriority == priorityResign:
		return fmt.Sprintf("%s resigned", m.master)
	case m.bypassed:
		return fmt.Sprintf("%s has the lower priority %d", m.master, m.masterPriority)
	}
	return fmt.Sprintf("no advertisement from %s for %s", m.master, (m.masterDown() + late).Round(time.Millisecond))
}

// outranks says whether this Backup takes over from a Master of this priority that is alive.
func (m *Machine) outranks(priority uint8) bool {
	return priority < m.config.Priority && m.config.preempts() && !m.aside
}

// takeTurn makes the Backup whose turn it is Master, unless the gate is shut.
func (m *Machine) takeTurn() []Action {
	if m.gate != "" || m.turn == "" || m.state != Backup {
		return nil
	}
	return append([]Action{Cancel{DownTimer}}, m.becomeMaster(m.turn)...)
}

// gated opens the gate, or shuts it for a reason.
func (m *Machine) gated(reason string) []Action {
	m.gate = reason
	return m.takeTurn()
}

// becomeMaster takes the addresses first and advertises then: from the first advertisement on the old Master lets
// go, and somebody must answer already.
func (m *Machine) becomeMaster(reason string) []Action {
	var actions []Action
	if m.releasing {
		m.releasing = false
		actions = append(actions, Cancel{ReleaseTimer})
	}
	actions = append(actions, m.endDeferral()...)
	actions = append(actions, m.endHandover()...)
	m.holding = true
	m.adopting = false
	m.aside, m.turn, m.overslept = false, "", 0
	m.masterInterval = 0
	m.listening, m.rival = false, false
	return append(actions,
		Take{},
		Send{Priority: m.config.Priority},
		Arm{AdvertTimer, m.config.Interval},
		m.enter(Master, reason),
	)
}

// advertDue is the Adver_Timer event of RFC 9568, section 6.4.3.
func (m *Machine) advertDue(late time.Duration) []Action {
	if m.state != Master {
		return nil
	}
	// A Master that was frozen for so long has been given up by the others: listen first.
	if late > m.masterDown() {
		m.listening = true
		return []Action{Arm{AdvertTimer, late + m.skew(m.config.Interval)}}
	}
	actions := []Action{
		Send{Priority: m.config.Priority},
		Arm{AdvertTimer, m.config.Interval},
	}
	if m.rival {
		actions = append(actions, Announce{})
	}
	m.listening, m.rival = false, false
	return actions
}

func (m *Machine) received(ev Received) []Action {
	switch m.state {
	case Backup:
		return m.receivedAsBackup(ev)
	case Master:
		return m.receivedAsMaster(ev)
	case Initialize:
		return m.receivedWhileLeaving(ev)
	case Fault:
		return nil
	}
	panic(fmt.Sprintf("vrrp: unknown state %d", m.state))
}

// receivedAsBackup is the ADVERTISEMENT event of RFC 9568, section 6.4.2.
func (m *Machine) receivedAsBackup(ev Received) []Action {
	a := ev.Advertisement
	if a.Priority == priorityResign {
		m.master, m.masterPriority, m.turn, m.overslept = ev.Source, priorityResign, "", 0
		return []Action{Arm{DownTimer, m.skew(m.interval())}}
	}
	var actions []Action
	if m.adopting {
		// Somebody else took over while we were dead: from here on this is a start without addresses.
		before := m.masterDown()
		m.adopting = false
		actions = append(actions, Shift{DownTimer, m.masterDown() - before})
	}
	if m.holding && !m.releasing {
		actions = append(append(actions, m.endHandover()...), m.linger())
	}
	if m.outranks(a.Priority) {
		bear, wait := m.bear()
		actions = append(actions, wait...)
		if !bear {
			if !m.master.IsValid() || m.master == ev.Source {
				m.master, m.masterPriority, m.bypassed = ev.Source, a.Priority, true
			}
			return actions // the timer runs on: that is how a better Backup takes over
		}
	} else {
		actions = append(actions, m.endDeferral()...)
	}
	m.follow(ev)
	return append(actions, Arm{DownTimer, m.masterDown()})
}

// bear says whether a Master of lower priority is still borne with, and what is to be done for that.
func (m *Machine) bear() (bear bool, wait []Action) {
	if m.deferred || m.config.PreemptDelay == 0 || m.config.Priority == PriorityOwner {
		return false, nil
	}
	if !m.deferring {
		m.deferring = true
		wait = []Action{Arm{PreemptTimer, m.config.PreemptDelay}}
	}
	return true, wait
}

// follow remembers the Master.
func (m *Machine) follow(ev Received) {
	m.master, m.masterPriority, m.masterInterval = ev.Source, ev.Advertisement.Priority, ev.Advertisement.Interval
	m.bypassed, m.turn, m.overslept = false, "", 0
}

// receivedAsMaster is the ADVERTISEMENT event of RFC 9568, section 6.4.3.
func (m *Machine) receivedAsMaster(ev Received) []Action {
	a := ev.Advertisement
	if a.Priority == priorityResign {
		return append(m.reply(Send{Priority: m.config.Priority}, Arm{AdvertTimer, m.config.Interval}), m.suspect(ev))
	}
	if a.Priority < m.config.Priority ||
		a.Priority == m.config.Priority && ev.Source.Compare(m.source) <= 0 {
		return append(m.reply(Send{Priority: m.config.Priority}), m.suspect(ev))
	}
	reason := fmt.Sprintf("%s has priority %d", ev.Source, a.Priority)
	if a.Priority == m.config.Priority {
		reason = fmt.Sprintf("%s has the same priority %d and the higher address", ev.Source, a.Priority)
	}
	m.follow(ev)
	m.deferring, m.deferred = false, false
	// A last advertisement, which the RFC has not, tells the better Master that there were two: it announces its
	// addresses again. Otherwise, when a partition has healed and this one hears the better one first, the better
	// one never hears of it, and whoever has learned this one's hardware address keeps it. It carries the interval of
	// the better one, for the Backups that learn from it.
	last := Send{Priority: m.config.Priority}
	if m.masterInterval != m.config.Interval {
		last.Interval = m.masterInterval
	}
	actions := append([]Action{last}, m.quiet()...)
	return append(actions, Arm{DownTimer, m.masterDown()}, m.linger(), m.enter(Backup, reason))
}

// quiet stops what a Master does at times.
func (m *Machine) quiet() []Action {
	actions := []Action{Cancel{AdvertTimer}}
	if m.suspects {
		m.suspects = false
		actions = append(actions, Cancel{RivalTimer})
	}
	return actions
}

// resign tells the others that this Master leaves, and begins to wait for the successor.
func (m *Machine) resign() []Action {
	m.resigning, m.repeated = true, false
	return []Action{Send{Priority: priorityResign}, Arm{HandoverTimer, m.config.Interval}}
}

// endHandover ends that wait.
func (m *Machine) endHandover() []Action {
	if !m.resigning {
		return nil
	}
	m.resigning = false
	return []Action{Cancel{HandoverTimer}}
}

// stepDown is the event of that name.
func (m *Machine) stepDown(ev StepDown) []Action {
	if m.state != Master {
		m.aside = m.state == Backup || m.state == Fault
		return nil
	}
	m.aside = true
	actions := m.quiet()
	if ev.Resign {
		actions = append(actions, m.resign()...)
	}
	actions = append(actions, m.watch()...)
	return append(actions, m.enter(Backup, ev.Reason))
}

// reclaim is the event of that name.
func (m *Machine) reclaim(ev Reclaim) []Action {
	m.aside = false
	if m.state != Backup || !ev.Now || !m.outranks(m.masterPriority) {
		return nil
	}
	m.turn = "told to take over"
	return m.takeTurn()
}

// suspect has the addresses announced once more when a router that loses against this Master has fallen silent: its
// last announcement may have come after ours.
func (m *Machine) suspect(ev Received) Action {
	m.suspects = true
	return Arm{RivalTimer, masterDownInterval(m.config.version(), ev.Advertisement.Priority, ev.Advertisement.Interval)}
}

func (m *Machine) rivalGone() []Action {
	m.suspects = false
	if m.state != Master {
		return nil
	}
	return []Action{Announce{}}
}

// reply answers a router that loses against this Master, or that resigns beside it, and repairs what its gratuitous
// ARP has done. Ten answers a second are enough for any number of routers, they all hear each of them.
func (m *Machine) reply(actions ...Action) []Action {
	if m.listening {
		m.rival = true
		return nil
	}
	if m.replied {
		return nil
	}
	m.replied = true
	return append(actions, Announce{}, Arm{ReplyTimer, replyPause})
}

// receivedWhileLeaving waits for the successor of a Master that shuts down.
func (m *Machine) receivedWhileLeaving(ev Received) []Action {
	if !m.holding || m.releasing || ev.Advertisement.Priority == priorityResign {
		return nil
	}
	return append(m.endHandover(), m.linger())
}

// linger starts the time after which the addresses go.
func (m *Machine) linger() Action {
	m.releasing = true
	return Arm{ReleaseTimer, min(m.config.Interval, maxLinger)}
}

func (m *Machine) lingerOver() []Action {
	if !m.releasing {
		return nil
	}
	m.releasing = false
	m.holding = false
	actions := []Action{Release{}}
	if m.leaving {
		actions = append(actions, Done{})
	}
	return actions
}

// shutdown is the Shutdown event. A Master resigns and goes on answering until its successor was heard.
func (m *Machine) shutdown() []Action {
	if m.leaving {
		return nil
	}
	m.leaving = true
	var actions []Action
	switch m.state {
	case Master:
		return append(append(m.quiet(), m.resign()...), m.enter(Initialize, "shutdown"))
	case Backup:
		m.turn = ""
		actions = append(m.endDeferral(), Cancel{DownTimer})
		if m.holding && !m.releasing && !m.adopting {
			// It has stepped down and nobody has taken over yet: the hand-over goes on.
			return append(append(actions, m.resign()...), m.enter(Initialize, "shutdown"))
		}
		actions = append(actions, m.enter(Initialize, "shutdown"))
	case Fault:
		actions = append(actions, m.enter(Initialize, "shutdown"))
	case Initialize:
	}
	if m.releasing {
		return actions // the addresses go when the linger is over, and Done comes then
	}
	if m.holding {
		m.holding = false
		actions = append(actions, Release{})
	}
	return append(actions, Done{})
}

// handoverOverdue comes when a Master that shuts down has heard nobody for an interval: once more, the packet may
// have been lost; the second time there is nobody.
func (m *Machine) handoverOverdue() []Action {
	if m.releasing || !m.leaving && m.state != Backup {
		return nil
	}
	if !m.repeated {
		m.repeated = true
		return []Action{Send{Priority: priorityResign}, Arm{HandoverTimer, max(m.config.Interval, minHandover)}}
	}
	m.resigning = false
	if !m.leaving {
		return nil // one that has stepped down keeps the addresses until DownTimer has run out
	}
	m.holding = false
	return []Action{Release{}, Done{}}
}

func (m *Machine) failed(reason string) []Action {
	m.fault = reason
	switch m.state {
	case Master:
		return m.enterFault(append(m.quiet(), Send{Priority: priorityResign}))
	case Backup:
		m.turn = ""
		return m.enterFault(append(append(m.endDeferral(), m.endHandover()...), Cancel{DownTimer}))
	case Initialize:
		if !m.leaving {
			return nil // Startup looks at it
		}
		m.holding, m.releasing = false, false
		return []Action{Cancel{HandoverTimer}, Cancel{ReleaseTimer}, Release{}, Done{}}
	case Fault:
		return nil
	}
	panic(fmt.Sprintf("vrrp: unknown state %d", m.state))
}

// enterFault lets the addresses go at once: nobody can reach them here.
func (m *Machine) enterFault(actions []Action) []Action {
	if m.releasing {
		m.releasing = false
		actions = append(actions, Cancel{ReleaseTimer})
	}
	if m.holding {
		m.holding = false
		actions = append(actions, Release{})
	}
	return append(actions, m.enter(Fault, m.fault))
}

func (m *Machine) recovered() []Action {
	m.fault = ""
	if m.state != Fault {
		return nil
	}
	return m.begin("recovered")
}

// configure keeps state and cadence; the same configuration once more changes nothing. A Master's new priority and interval are in its next regular advertisement;
// what a Backup waits for moves by as much as its wait has changed.
func (m *Machine) configure(config Config) []Action {
	before := m.masterDown()
	addresses := m.config.Addresses
	m.config = config
	switch m.state {
	case Backup:
		if by := m.masterDown() - before; by != 0 {
			return []Action{Shift{DownTimer, by}}
		}
	case Master:
		if !slices.Equal(addresses, config.Addresses) {
			return []Action{Take{}}
		}
	case Initialize, Fault:
	}
	return nil
}

// enter changes the state.
func (m *Machine) enter(to State, reason string) Action {
	t := Transition{From: m.state, To: to, Reason: reason}
	m.state = to
	return t
}

// interval is the Active_Adver_Interval: the Master's, or our own while none was heard.
func (m *Machine) interval() time.Duration {
	if m.masterInterval != 0 {
		return m.masterInterval
	}
	return m.config.Interval
}

// masterDown is how long a Backup waits for the Master.
func (m *Machine) masterDown() time.Duration {
	if m.adopting {
		return m.interval() + m.skew(m.interval())
	}
	return masterDownInterval(m.config.version(), m.config.Priority, m.interval())
}

// skew is the Skew_Time at this interval.
func (m *Machine) skew(interval time.Duration) time.Duration {
	return skewTime(m.config.version(), m.config.Priority, interval)
}
