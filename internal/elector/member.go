package elector

import (
	"context"
	"errors"
	"fmt"

	"lvsd/configs"
	"lvsd/vip"
	"lvsd/vrrp"
)

// member is one VRRP instance and its hold on its addresses.
type member struct {
	elector  *Elector
	link     *link
	instance *vrrp.Instance
	gone     string             // what it was last told of Elector.gone; belongs to Elector.Run
	ctx      context.Context    // of the instance
	cancel   context.CancelFunc // makes it hand over and end

	// Guarded by elector.mu.
	config  configs.Instance
	holding bool
	yielded bool // it is not master any more, though it may hold the addresses for a while
	ending  bool
}

var _ vrrp.Holder = &member{}

// run runs the instance until it has ended. One that could not even start is
// gone until the next reload.
func (m *member) run() {
	err := m.instance.Run(m.ctx)
	m.elector.remove(m)
	if err != nil {
		m.elector.log.Error("an instance has ended", "error", err)
		return
	}
	signal(m.elector.ended)
}

// end makes the instance hand over and end. The caller holds elector.mu.
func (m *member) end() {
	m.ending = true
	m.cancel()
}

// hold says whether the addresses are to be on the interface, and waits until
// they are so, or ctx is done.
func (m *member) hold(ctx context.Context, holding bool) error {
	m.elector.mu.Lock()
	m.holding = holding
	m.elector.mu.Unlock()
	m.elector.set()
	return m.elector.addresses.Applied(ctx)
}

// addresses are those of the present configuration.
func (m *member) addresses() []vip.Address {
	m.elector.mu.Lock()
	defer m.elector.mu.Unlock()
	return addressesOf(m.config)
}

// Take puts the addresses on the interface and announces those that are there. It
// implements vrrp.Holder.
func (m *member) Take(ctx context.Context) error {
	m.elector.mu.Lock()
	m.yielded = false
	m.elector.mu.Unlock()
	errTake := m.hold(ctx, true)
	if errTake != nil {
		errTake = fmt.Errorf("putting the addresses on %s: %w", m.link.ifname, errTake)
	}
	errAnnounce := m.elector.options.Announcer.Announce(ctx, m.elector.present(m.addresses()))
	if errAnnounce != nil {
		errAnnounce = fmt.Errorf("announcing the addresses on %s: %w", m.link.ifname, errAnnounce)
	}
	return errors.Join(errTake, errAnnounce)
}

// Announce announces the addresses again: somebody else has claimed them. It
// implements vrrp.Holder.
func (m *member) Announce() { m.elector.announceSoon(m.elector.present(m.addresses())) }

// Release takes the addresses off the interface. It implements vrrp.Holder.
func (m *member) Release(ctx context.Context) error {
	if err := m.hold(ctx, false); err != nil {
		return fmt.Errorf("taking the addresses off %s: %w", m.link.ifname, err)
	}
	return nil
}

func (m *member) onTransition(t vrrp.Transition) {
	m.elector.mu.Lock()
	m.yielded = t.To != vrrp.Master
	m.elector.mu.Unlock()
	if t.To != vrrp.Master {
		// The addresses may stay for a while, but from now on they are another
		// one's: to announce them again would draw traffic back.
		m.elector.options.Announcer.Withdraw(m.addresses())
	}
	m.elector.mu.Lock()
	name := m.config.Name
	m.elector.mu.Unlock()
	m.elector.options.OnTransition(name, t)
}
