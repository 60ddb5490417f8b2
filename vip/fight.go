package vip

import (
	"slices"
	"time"
)

// A process that takes an address away again and again is fighting with lvsd.
// After fightLimit repairs of an address within fightWindow the next ones come
// fightPause apart, so that the two do not spend the machine on it.
const (
	fightLimit  = 5
	fightWindow = 10 * time.Second
	fightPause  = time.Second
)

// fights remembers when each address was repaired.
type fights map[Address]*fight

type fight struct {
	repairs []time.Time // within the window, oldest first
	said    bool
}

// wait returns how long the next repair of a must be held back.
func (f fights) wait(a Address, now time.Time) time.Duration {
	b := f[a]
	if b == nil {
		return 0
	}
	for len(b.repairs) > 0 && now.Sub(b.repairs[0]) >= fightWindow {
		b.repairs = b.repairs[1:]
	}
	if len(b.repairs) == 0 {
		delete(f, a)
		return 0
	}
	if len(b.repairs) <= fightLimit {
		return 0
	}
	return max(0, fightPause-now.Sub(b.repairs[len(b.repairs)-1]))
}

// repaired notes a repair of a. It returns whether the address is fought over,
// and whether that is news.
func (f fights) repaired(a Address, now time.Time) (fought, news bool) {
	b := f[a]
	if b == nil {
		b = &fight{}
		f[a] = b
	}
	b.repairs = append(b.repairs, now)
	if len(b.repairs) <= fightLimit {
		return b.said, false
	}
	news = !b.said
	b.said = true
	return true, news
}

// calm forgets the addresses that nobody has touched for a whole window.
func (f fights) calm(now time.Time) {
	for a := range f {
		f.wait(a, now)
	}
}

// list returns the addresses that are fought over, sorted.
func (f fights) list() []Address {
	var addresses []Address
	for a, b := range f {
		if b.said {
			addresses = append(addresses, a)
		}
	}
	slices.SortFunc(addresses, Address.Compare)
	return addresses
}
