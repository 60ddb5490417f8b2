package vrrp

import (
	"fmt"
	"sync"
)

// Group is a set of instances that are Master together: for example the two sides of a router, or the IPv4 and the
// IPv6 addresses of a service. None of them becomes Master before all of them can; when one of them gives way or is in
// Fault, so do the others.
type Group struct {
	mu    sync.Mutex
	seats map[*Instance]seat
}

// seat is what an instance tells the others of its group.
type seat struct {
	name     string
	fault    string // its own, "" if it has none
	ready    bool   // it is Master, or would be but for the others
	gone     bool   // it has given way: to a better router, or because it was told to
	resigned bool   // it was told to
}

// orders are what the group asks of one of its instances.
type orders struct {
	fault  string // of another one
	gate   string // why it must not become Master now
	leave  string // why it must not stay Master
	resign bool   // and has to say so, because the others cannot know
}

// NewGroup returns a group without instances. They join it by [Instance.SetGroup].
func NewGroup() *Group { return &Group{seats: make(map[*Instance]seat)} }

// report replaces what an instance tells the others, and wakes them if it is news.
func (g *Group) report(i *Instance, s seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before, ok := g.seats[i]; ok && before == s {
		return
	}
	g.seats[i] = s
	g.wake(i)
}

// leave takes an instance out.
func (g *Group) leave(i *Instance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.seats, i)
	g.wake(i)
}

// wake has all instances but one look at the group. The caller holds mu.
func (g *Group) wake(but *Instance) {
	for i := range g.seats {
		if i != but {
			i.poke()
		}
	}
}

// orders returns what the group asks of an instance.
func (g *Group) orders(i *Instance) orders {
	g.mu.Lock()
	defer g.mu.Unlock()
	var o orders
	for other, s := range g.seats {
		switch {
		case other == i:
		case s.fault != "":
			o.fault = fmt.Sprintf("instance %s of the group: %s", s.name, s.fault)
		case !s.ready:
			o.gate = fmt.Sprintf("waiting for instance %s of the group", s.name)
		}
		if other != i && s.gone {
			o.leave = fmt.Sprintf("instance %s of the group has given way", s.name)
			o.resign = o.resign || s.resigned
		}
	}
	return o
}
