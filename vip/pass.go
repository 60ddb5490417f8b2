package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

var (
	errUnconfirmed = errors.New("the kernel does not show them as wanted yet")
	errFought      = errors.New("somebody changes them again and again")
)

// pass is what one look at the kernel led to.
type pass struct {
	now       time.Time
	tried     int       // changes asked of the kernel
	changed   int       // changes made
	stale     bool      // the kernel said that the list of addresses is out of date
	missing   []Address // to be added, and not added
	unlike    []Address // to be changed, and not changed
	remaining []Address // to be removed, and not removed
	noLink    set       // interfaces that do not exist, as addresses without a prefix
	unlinked  int       // of missing: those on such interfaces
	wait      time.Duration
	heldBack  int       // of those not as wanted: those fought over
	added     []Address // for the first time
	adjusted  []Address // for the first time
	removed   []Address // for the first time
	restored  []Address // put back after somebody took them away
	repairs   []Repair
	errs      []error
}

// carryOut makes the changes that a Diff asks for, additions first: an address
// that moves to another interface or gets another prefix length is never away.
// An error with one address does not keep the others from being tried.
func (r *Reconciler) carryOut(p *pass, d Desired, add []Address, change []Entry, remove []Address) {
	p.noLink = set{}

	// An interface carries an IPv6 address once, whatever the prefix length, so
	// there the old form must go before the new one can come.
	removable := make(map[Address]Address)
	for _, a := range remove {
		if a.Prefix.Addr().Is6() {
			removable[hostOf(a)] = a
		}
	}
	removed := set{}
	for _, a := range add {
		if old, ok := removable[hostOf(a)]; ok {
			r.remove(p, old)
			removed[old] = struct{}{}
		}
		r.add(p, a, d.attributes(a))
	}
	for _, e := range change {
		r.change(p, e, d)
	}
	for _, a := range remove {
		if !removed.has(a) {
			r.remove(p, a)
		}
	}
	if len(p.added)+len(p.adjusted)+len(p.removed) > 0 {
		changes := []any{"added", list(p.added), "removed", list(p.removed)}
		if len(p.adjusted) > 0 {
			changes = append(changes, "adjusted", list(p.adjusted))
		}
		r.log.Info("addresses changed", changes...)
	}
}

// hostOf returns a without the length of its subnet.
func hostOf(a Address) Address {
	return Address{a.Interface, netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())}
}

func (r *Reconciler) add(p *pass, a Address, want Attributes) {
	link := Address{Interface: a.Interface}
	if p.noLink.has(link) {
		p.unlinked++
		p.missing = append(p.missing, a)
		return
	}
	_, lost := r.placed[a]
	if lost && p.hold(r.fights.wait(a, p.now)) {
		p.missing = append(p.missing, a)
		return
	}
	differed := "was missing"
	if lost {
		// It is forgotten with the address back in place.
		if who := r.kernel.RemovedBy(a); who != "" {
			differed = "removed by " + who
		}
	}

	p.tried++
	err := r.kernel.Add(a, want)
	switch {
	case err == nil:
		p.changed++
		r.placed[a] = want
		if !lost {
			p.added = append(p.added, a)
			return
		}
		p.restored = append(p.restored, a)
		r.repaired(p, a, "address put back", differed)
		return
	case errors.Is(err, ErrNoLink):
		p.noLink[link] = struct{}{}
		p.unlinked++
		p.errs = append(p.errs, err)
	case errors.Is(err, syscall.EEXIST) && !r.again && r.failures == 0:
		p.stale = true
	default:
		p.stale = p.stale || errors.Is(err, syscall.EEXIST)
		p.errs = append(p.errs, fmt.Errorf("adding %s to %s: %w", a.Prefix, a.Interface, err))
	}
	p.missing = append(p.missing, a)
}

// change gives an address that is there the attributes that it is to have.
func (r *Reconciler) change(p *pass, e Entry, d Desired) {
	a, want := e.Address, d.attributes(e.Address)
	before, placed := r.placed[a]
	changed := placed && before == want // by somebody else, for the wish is the same
	if changed && p.hold(r.fights.wait(a, p.now)) {
		p.unlike = append(p.unlike, a)
		return
	}

	p.tried++
	err := r.kernel.Change(e, want)
	switch {
	case err == nil:
		p.changed++
		r.placed[a] = want
		if !changed {
			p.adjusted = append(p.adjusted, a)
			return
		}
		r.repaired(p, a, "address put right", d.differs(e))
		return
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, ErrNoLink):
		p.stale = true
	default:
		// If it is gone, nobody else has taken it away.
		delete(r.placed, a)
		p.errs = append(p.errs, fmt.Errorf("changing %s on %s: %w", a.Prefix, a.Interface, err))
	}
	p.unlike = append(p.unlike, a)
}

func (r *Reconciler) remove(p *pass, a Address) {
	intruder := r.cleared.has(a)
	if intruder && p.hold(r.fights.wait(a, p.now)) {
		p.remaining = append(p.remaining, a)
		return
	}

	p.tried++
	err := r.kernel.Delete(a)
	switch {
	case err == nil:
		p.changed++
		if !intruder {
			p.removed = append(p.removed, a)
			return
		}
		r.repaired(p, a, "address removed again", "was present, though this machine does not hold it")
		return
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ESRCH), errors.Is(err, ErrNoLink):
		p.stale = true
	default:
		p.errs = append(p.errs, fmt.Errorf("removing %s from %s: %w", a.Prefix, a.Interface, err))
	}
	p.remaining = append(p.remaining, a)
}

// repaired counts and logs that a was brought back to what it should be.
func (r *Reconciler) repaired(p *pass, a Address, what, differed string) {
	p.repairs = append(p.repairs, Repair{Address: a, Time: p.now, Differed: differed})
	switch fought, news := r.fights.repaired(a, p.now); {
	case news:
		r.log.Warn("somebody changes an address again and again, repairing it once a second from now on",
			"address", a.Prefix, "interface", a.Interface, "differed", differed)
	case fought:
		r.log.Debug(what, "address", a.Prefix, "interface", a.Interface, "differed", differed)
	default:
		r.log.Warn(what, "address", a.Prefix, "interface", a.Interface, "differed", differed)
	}
}

// hold notes that a change has to wait, if wait is not 0.
func (p *pass) hold(wait time.Duration) bool {
	if wait == 0 {
		return false
	}
	if p.heldBack == 0 || wait < p.wait {
		p.wait = wait
	}
	p.heldBack++
	return true
}

// onlyNoLink reports whether all that is not as wanted belongs to interfaces
// that do not exist.
func (p *pass) onlyNoLink() bool {
	return p.unlinked > 0 && p.unlinked == p.left()
}

// left returns how many addresses are not as wanted.
func (p *pass) left() int { return len(p.missing) + len(p.unlike) + len(p.remaining) }

// undone returns what is left to do, or nil.
func (p *pass) undone() *ApplyError {
	if p.left() == 0 {
		return nil
	}
	err := p.err()
	if err == nil {
		err = errUnconfirmed
		if p.heldBack > 0 {
			err = errFought
		}
	}
	return &ApplyError{Missing: p.missing, Unlike: p.unlike, Remaining: p.remaining, Err: err}
}

// err returns the errors of the kernel as one, with the first few in words.
func (p *pass) err() error {
	const most = 3
	if len(p.errs) == 0 {
		return nil
	}
	text := make([]string, 0, most)
	for _, err := range p.errs[:min(most, len(p.errs))] {
		text = append(text, err.Error())
	}
	words := strings.Join(text, "; ")
	if more := len(p.errs) - most; more > 0 {
		words += fmt.Sprintf("; and %d more", more)
	}
	return &passError{words, errors.Join(p.errs...)}
}

// passError is errors.Join on one line.
type passError struct {
	words string
	errs  error
}

func (e *passError) Error() string { return e.words }
func (e *passError) Unwrap() error { return e.errs }
