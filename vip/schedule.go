package vip

import (
	"container/heap"
	"time"
)

// An announcement is the schedule of one address.
type announcement struct {
	address Address
	start   time.Time
	round   int       // the next one, from 0
	due     time.Time // of the next round
	order   uint64    // of being announced
	call    *call     // who waits for round 0; nil afterwards
	at      int       // place in the heap
}

// agenda is a heap of announcements: first rounds before all others, since each
// of them is an address that nobody finds yet, then what is due first.
type agenda []*announcement

var _ heap.Interface = (*agenda)(nil)

func (g agenda) Len() int { return len(g) }

func (g agenda) Less(i, j int) bool {
	a, b := g[i], g[j]
	if first := a.round == 0; first != (b.round == 0) {
		return first
	}
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	return a.order < b.order
}

func (g agenda) Swap(i, j int) {
	g[i], g[j] = g[j], g[i]
	g[i].at, g[j].at = i, j
}

// Push appends an *announcement, for package heap.
func (g *agenda) Push(x any) {
	a := x.(*announcement)
	a.at = len(*g)
	*g = append(*g, a)
}

// Pop removes the last announcement, for package heap.
func (g *agenda) Pop() any {
	old := *g
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*g = old[:len(old)-1]
	return a
}
