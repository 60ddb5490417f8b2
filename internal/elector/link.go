package elector

import (
	"context"
	"errors"
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
	seen   vip.Link // what was last seen of it; belongs to Elector.Run
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

// lookAtLinks compares the interfaces with what was last seen of them. An
// instance on one that cannot carry it goes to Fault; one that has changed its
// index or its own addresses gets a new socket.
func (e *Elector) lookAtLinks() {
	virtual := e.virtual()
	e.mu.Lock()
	links := slices.Collect(maps.Values(e.links))
	members := slices.Collect(maps.Values(e.members))
	e.mu.Unlock()
	for _, l := range links {
		now, err := e.options.Network.Link(l.ifname)
		now.Addresses = slices.DeleteFunc(now.Addresses, func(p netip.Prefix) bool { return slices.Contains(virtual, p.Addr()) })
		if now.Index != l.seen.Index || !slices.Equal(now.Addresses, l.seen.Addresses) {
			l.vrrp.Reopen()
		}
		l.seen = now
		for _, m := range members {
			if m.link == l {
				m.instance.SetFault(fault(now, l.linkID, err))
			}
		}
	}
}

// fault says in plain words why an interface cannot carry VRRP of a family, or
// nothing if it can. The addresses of l are the interface's own, without virtual
// ones; err is why l could not be read.
func fault(l vip.Link, id linkID, err error) string {
	name := "interface " + id.ifname
	own := func(p netip.Prefix) bool {
		return id.family == vrrp.IPv4 && p.Addr().Is4() || id.family == vrrp.IPv6 && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
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
	case slices.ContainsFunc(l.Addresses, own):
		return ""
	case id.family == vrrp.IPv6:
		return name + " has no link-local IPv6 address of its own"
	}
	return name + " has no IPv4 address of its own"
}
