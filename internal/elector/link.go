package elector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"lvsd/vip"
	"lvsd/vrrp"
)

// linkID names a link.
type linkID struct {
	ifname string
	family vrrp.Family
}

// link is one interface with the instances of one family on it.
type link struct {
	linkID
	vrrp   *vrrp.Link
	cancel context.CancelFunc
	users  int      // guarded by Elector.mu
	seen   vip.Link // what was last seen of it; belongs to Elector.Run, as does err
	err    error    // why it could not be seen
}

// openLink returns the link of an interface, started if it is not in use yet.
// Each call needs one of closeLink.
func (e *Elector) openLink(ctx context.Context, id linkID) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.links[id]
	if l == nil {
		open := func() (vrrp.Conn, error) { return e.options.Open(id.ifname, id.family, e.virtual()...) }
		running, cancel := context.WithCancel(ctx)
		l = &link{linkID: id, vrrp: vrrp.NewLink(id.ifname, open, e.log), cancel: cancel}
		e.links[id] = l
		e.reading.Go(func() {
			if err := l.vrrp.Run(running); err != nil && !errors.Is(err, context.Canceled) {
				e.log.Error("reading VRRP", "interface", id.ifname, "error", err)
			}
		})
	}
	l.users++
	return l
}

// closeLink gives up one use of a link.
func (e *Elector) closeLink(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.users--
	if l.users == 0 {
		l.cancel()
		delete(e.links, l.linkID)
	}
}

// virtual lists the addresses of all instances.
func (e *Elector) virtual() []netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []netip.Addr
	for _, m := range e.members {
		for _, a := range addressesOf(m.config) {
			all = append(all, a.Prefix.Addr())
		}
	}
	return all
}

// lookAtLinks compares the interfaces with what was last seen of them. One that
// has changed its index or its own addresses gets a new socket.
func (e *Elector) lookAtLinks() {
	virtual := e.virtual()
	e.mu.Lock()
	links := slices.Collect(maps.Values(e.links))
	e.mu.Unlock()
	for _, l := range links {
		now, err := e.options.Network.Link(l.ifname)
		now.Addresses = slices.DeleteFunc(now.Addresses, func(p netip.Prefix) bool { return slices.Contains(virtual, p.Addr()) })
		if now.Index != l.seen.Index || !slices.Equal(now.Addresses, l.seen.Addresses) {
			l.vrrp.Reopen()
		}
		l.seen, l.err = now, err
	}
	e.assess()
}

// fault says in plain words why an interface cannot carry an instance, or nothing
// if it can. The addresses of l are the interface's own, without virtual ones;
// err is why l could not be read.
func fault(l vip.Link, err error, config vrrp.Config, ifname string) string {
	name := "interface " + ifname
	own := func(p netip.Prefix) bool {
		a := p.Addr()
		if config.Source.IsValid() {
			return a == config.Source
		}
		return config.Family() == vrrp.IPv4 && a.Is4() || config.Family() == vrrp.IPv6 && a.Is6() && a.IsLinkLocalUnicast()
	}
	switch {
	case errors.Is(err, vip.ErrNoLink):
		return name + " is missing"
	case err != nil:
		return name + ": " + err.Error()
	case !l.Up:
		return name + " is down"
	case !l.Carrier:
		return name + " has no carrier"
	case l.MTU > 0 && config.Size() > l.MTU:
		return fmt.Sprintf("%s has an MTU of %d, the advertisement needs %d: move addresses to extra_addresses", name, l.MTU, config.Size())
	case slices.ContainsFunc(l.Addresses, own):
		return ""
	case config.Source.IsValid():
		return fmt.Sprintf("%s has not the director's address %s", name, config.Source)
	case config.Family() == vrrp.IPv6:
		return name + " has no link-local IPv6 address of its own"
	}
	return name + " has no IPv4 address of its own"
}
