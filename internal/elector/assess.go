package elector

import (
	"errors"
	"maps"
	"slices"
	"time"

	"lvsd/configs"
	"lvsd/vip"
)

// readyLimit bounds how long this director keeps out of the lead because the
// director half has no first verdicts, or something tracked has none. After that
// an address that is answered badly is better than one that nobody answers for.
const readyLimit = 10 * time.Second

// Report is what the director half tells the elector.
type Report struct {
	// NotReady is why it does not serve yet, "" if it does: all checks have a
	// first verdict and the IPVS table is in place.
	NotReady string `json:"not_ready"`

	// Findings are about scripts, files and services, by the keys of their tracks.
	Findings map[string]Finding `json:"findings"`
}

// SetReport replaces what the director half has told. It does not block.
func (e *Elector) SetReport(r Report) {
	e.mu.Lock()
	e.report = Report{NotReady: r.NotReady, Findings: maps.Clone(r.Findings)}
	e.mu.Unlock()
	signal(e.news)
}

// SetReady says why nobody serves on this director any more, in plain words, and
// with "" that all is well again. A master whose director half is gone gives way
// to a director that lives; if there is none it stays. It does not block.
func (e *Elector) SetReady(reason string) {
	e.mu.Lock()
	e.gone = reason
	e.mu.Unlock()
	signal(e.news)
}

// assess tells each instance what its part in the election is now.
func (e *Elector) assess() {
	interfaces := make(map[string]Finding)
	e.mu.Lock()
	members := slices.Collect(maps.Values(e.members))
	report, gone := e.report, e.gone
	waiting := time.Since(e.begun) < readyLimit
	e.mu.Unlock()

	find := func(t configs.Track) (Finding, bool) {
		if t.Interface == "" {
			f, ok := report.Findings[t.Key()]
			return f, ok
		}
		f, ok := interfaces[t.Interface]
		if !ok {
			f = e.look(t.Interface)
			interfaces[t.Interface] = f
		}
		return f, true
	}
	for _, m := range members {
		e.mu.Lock()
		config, held, ending := m.config, e.held[m.config.Name], m.ending
		e.mu.Unlock()
		if ending {
			continue
		}
		wanted := vrrpConfig(config)
		s := weigh(config.Priority, config.Track, find)
		wanted.Priority = s.priority
		gate := ""
		switch {
		case held:
			gate = "held back by an operator"
		case waiting && report.NotReady != "":
			gate = "the director is not ready: " + report.NotReady
		case waiting && s.unknown != "":
			gate = "nothing is known yet of the " + s.unknown
		}
		problem := fault(m.link.seen, m.link.err, wanted, config.Interface)
		if problem == "" {
			problem = s.fault
		}
		if gone != "" {
			// Any director that lives is better.
			wanted.Priority = 1
		}
		if err := m.instance.Configure(wanted); err != nil {
			e.log.Error("configuring an instance", "instance", config.Name, "error", err)
		}
		m.instance.SetGate(gate)
		m.instance.SetFault(problem)
		if gone != m.gone {
			m.gone = gone
			if gone != "" {
				m.instance.StepDown(gone)
			} else {
				m.instance.Reclaim(false)
			}
		}
	}
}

// look finds out whether an interface can carry packets.
func (e *Elector) look(ifname string) Finding {
	l, err := e.options.Network.Link(ifname)
	switch {
	case errors.Is(err, vip.ErrNoLink):
		return Finding{Reason: "it is missing"}
	case err != nil:
		return Finding{Reason: err.Error()}
	case !l.Up:
		return Finding{Reason: "it is not set up"}
	case !l.Carrier:
		return Finding{Reason: "it has no carrier"}
	}
	return Finding{Up: true}
}
