package vip

// set is a set of addresses.
type set map[Address]struct{}

func newSet(lists ...[]Address) set {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	s := make(set, n)
	for _, l := range lists {
		for _, a := range l {
			s[a] = struct{}{}
		}
	}
	return s
}

func (s set) has(a Address) bool {
	_, ok := s[a]
	return ok
}

// Diff returns the least change that brings a machine which carries have to d:
// the addresses to add, in the order of d.Held, those to change because they are
// there with other attributes or with a flaw, and those to remove, both in the
// order of have.
//
// Only an address that is lvsd's own is ever removed: one in d.Known, or one
// that is remembered because lvsd put it on the machine at an earlier time. The
// effort is linear in the number of addresses.
func Diff(d Desired, remembered []Address, have []Entry) (add []Address, change []Entry, remove []Address) {
	held := newSet(d.Held)
	ours := newSet(d.Known, remembered)
	present := make(set, len(have))
	for _, e := range have {
		if present.has(e.Address) {
			continue // a second mention changes nothing
		}
		present[e.Address] = struct{}{}
		switch {
		case held.has(e.Address):
			if !d.asWanted(e) {
				change = append(change, e)
			}
		case ours.has(e.Address):
			remove = append(remove, e.Address)
		}
	}
	for _, a := range d.Held {
		if !present.has(a) {
			add = append(add, a)
			present[a] = struct{}{} // nor does a second wish
		}
	}
	return add, change, remove
}
