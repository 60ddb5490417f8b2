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

// SetReport replaces what the director half has told: why it does not serve yet,
// "" if all checks have a first verdict and the IPVS table is in place; and what
// it has found out about scripts, files and services, by the keys of their tracks.
// It does not block.
func (e *Elector) SetReport(notReady string, findings map[string]configs.Finding) {
	e.mu.Lock()
	e.notReady, e.findings = notReady, maps.Clone(findings)
	e.mu.Unlock()
	signal(e.news)
}

// SetAbsent says why the director half does not serve any more, in plain words, and
// with "" that all is well again. A master whose director half is gone gives way
// to a director that lives; if there is none it stays. It does not block.
func (e *Elector) SetAbsent(reason string) {
	e.mu.Lock()
	e.gone = reason
	e.mu.Unlock()
	signal(e.news)
}

// assess tells each instance what its part in the election is now.
func (e *Elector) assess() {
	interfaces := make(map[string]configs.Finding)
	e.mu.Lock()
	members := slices.Collect(maps.Values(e.members))
	notReady, findings, gone := e.notReady, e.findings, e.gone
	waiting := time.Since(e.begun) < readyLimit
	e.mu.Unlock()

	find := func(t configs.Track) (configs.Finding, bool) {
		if t.Interface == "" {
			f, ok := findings[t.Key()]
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
		case waiting && notReady != "":
			gate = "the director is not ready: " + notReady
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
func (e *Elector) look(ifname string) configs.Finding {
	l, err := e.options.Network.Link(ifname)
	switch {
	case errors.Is(err, vip.ErrNoLink):
		return configs.Finding{Reason: "it is missing"}
	case err != nil:
		return configs.Finding{Reason: err.Error()}
	case !l.Up:
		return configs.Finding{Reason: "it is not set up"}
	case !l.Carrier:
		return configs.Finding{Reason: "it has no carrier"}
	}
	return configs.Finding{Up: true}
}
