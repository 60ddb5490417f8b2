package elector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"lvsd/vrrp"
)

// switchoverPause lies between two looks at whether a switchover is done.
const switchoverPause = 20 * time.Millisecond

// Switchover moves the mastership of an instance, or of all instances if name is
// "". Where this director is master it hands over to another one, without a loss,
// and leaves the lead to it as long as that one lives; with hold it does not
// become master again, whatever happens, until the next Switchover. Where it has
// handed over, or is held back, it takes the mastership back, unless hold asks to
// be held back. Where the other director is master by right, that one has to be
// asked.
//
// It returns when the mastership has moved. The error says for each instance why
// it has not; then everything is as before.
func (e *Elector) Switchover(ctx context.Context, name string, hold bool) error {
	e.mu.Lock()
	var members []*member
	var names []string
	for _, m := range e.members {
		names = append(names, m.config.Name)
		if !m.ending && (name == "" || m.config.Name == name) {
			members = append(members, m)
		}
	}
	e.mu.Unlock()
	if len(members) == 0 {
		if len(names) == 0 {
			return fmt.Errorf("there is no instance %q: there are none", name)
		}
		slices.Sort(names)
		return fmt.Errorf("there is no instance %q: must be one of %s", name, strings.Join(names, ", "))
	}
	// All move at once: those of a group could not one by one.
	errs := make(chan error, len(members))
	for _, m := range members {
		go func() { errs <- m.switchover(ctx, hold) }()
	}
	var all []error
	for range members {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (m *member) switchover(ctx context.Context, hold bool) error {
	m.elector.mu.Lock()
	name, held := m.config.Name, m.elector.held[m.config.Name]
	m.elector.mu.Unlock()
	s := m.instance.Status()
	switch s.State {
	case vrrp.Master:
		m.instance.StepDown("switchover")
		if err := m.until(ctx, func(s vrrp.Status) (bool, error) {
			switch {
			case s.State == vrrp.Master && s.Since.After(time.Time{}) && s.Reason == "nobody has taken over":
				return false, errors.New("nobody has taken over: it stays master here")
			case s.State == vrrp.Fault:
				return false, errors.New(s.Reason)
			}
			return s.State == vrrp.Backup && !s.Holding && s.Master.IsValid(), nil
		}); err != nil {
			return fmt.Errorf("instance %s: %w", name, err)
		}
		return m.elector.hold(name, hold)
	case vrrp.Backup:
		if hold {
			return m.elector.hold(name, true)
		}
		if !held && !s.Aside && s.Master.IsValid() && s.MasterPriority >= s.Config.Priority {
			return fmt.Errorf("instance %s: %s is master with priority %d, this director has %d: run lvsd switchover there",
				name, s.Master, s.MasterPriority, s.Config.Priority)
		}
		if err := m.elector.hold(name, false); err != nil {
			return err
		}
		m.instance.SetGate("")
		m.instance.Reclaim(true)
		if err := m.until(ctx, func(s vrrp.Status) (bool, error) { return s.State == vrrp.Master, nil }); err != nil {
			return fmt.Errorf("instance %s: still %s, %s is master with priority %d: %w", name, s.State, s.Master, s.MasterPriority, err)
		}
		return nil
	default:
		return fmt.Errorf("instance %s is in %s: %s", name, s.State, s.Reason)
	}
}

// until waits for something to be true of the instance.
func (m *member) until(ctx context.Context, done func(vrrp.Status) (bool, error)) error {
	for {
		ok, err := done(m.instance.Status())
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ctx.Done():
			return errors.New("the instance has ended")
		case <-time.After(switchoverPause):
		}
	}
}

// hold notes whether an operator holds an instance back, and remembers it.
func (e *Elector) hold(name string, held bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer signal(e.news)
	if e.held[name] == held {
		return nil
	}
	if held {
		e.held[name] = true
	} else {
		delete(e.held, name)
	}
	b, err := json.Marshal(slices.Sorted(maps.Keys(e.held)))
	if err == nil {
		err = os.WriteFile(e.options.HoldFile, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("instance %s: it is done, but would not outlive a restart: %w", name, err)
	}
	return nil
}

// loadHeld reads the names of the instances that are held back.
func loadHeld(path string) (map[string]bool, error) {
	held := make(map[string]bool)
	b, err := os.ReadFile(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return held, nil
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		return held, fmt.Errorf("reading which instances are held back, %s: %w", path, err)
	}
	for _, name := range names {
		held[name] = true
	}
	return held, nil
}
