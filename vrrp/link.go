package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = time.Second
)

// errLinkStopped is what instances see when the Run of their Link has returned.
var errLinkStopped = errors.New("link stopped")

// Link is the VRRP side of one network interface for one family. It owns the one socket and sorts what arrives to
// the instances by VRID. All methods may be called from any goroutine.
type Link struct {
	name   string
	open   func() (Conn, error)
	log    *slog.Logger
	reopen chan struct{}

	mu        sync.Mutex // guards everything that follows
	tried     bool       // open has been called
	conn      Conn       // kept for sending when a later open failed: a last priority 0 may still get out
	err       error      // why nothing can be received, nil if all is well
	instances map[uint8]*Instance
	dropped   drops
}

// LinkStatus is a snapshot of a Link.
type LinkStatus struct {
	Interface string
	// Source is the address that multicast advertisements come from; the zero Addr without a socket.
	Source netip.Addr
	// Err says why the Link has no working socket, nil if it has.
	Err error
	// Dropped counts the packets that belong to none of the instances.
	Dropped map[DropReason]uint64
}

// NewLink returns the Link of the named interface. open opens its socket; it is called again after errors and by
// Reopen.
func NewLink(name string, open func() (Conn, error), log *slog.Logger) *Link {
	return &Link{
		name:      name,
		open:      open,
		log:       log.With("interface", name),
		reopen:    make(chan struct{}, 1),
		instances: make(map[uint8]*Instance),
	}
}

// Reopen has Run open the socket again, because the interface or its addresses changed. The new socket is open
// before the old one closes. It does not wait.
func (l *Link) Reopen() {
	select {
	case l.reopen <- struct{}{}:
	default:
	}
}

// Status returns a snapshot.
func (l *Link) Status() LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LinkStatus{Interface: l.name, Err: l.err, Dropped: l.dropped.counts()}
	if l.conn != nil {
		s.Source = l.conn.Source()
	}
	return s
}

// Run keeps the socket open and reads from it until ctx is done; then it returns nil. Instances hand over through
// their Link when they stop, so it has to outlive their Run.
func (l *Link) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer l.stop()
	var backoff time.Duration
	for {
		opened := time.Now()
		conn, err := l.open()
		if err != nil {
			l.broken(fmt.Errorf("opening a VRRP socket on %s: %w", l.name, err))
		} else {
			l.use(conn)
			failed := make(chan error, 1)
			readers.Go(func() { failed <- l.read(conn) })
			select {
			case <-ctx.Done():
				return nil
			case <-l.reopen:
				backoff = 0
				continue
			case err := <-failed:
				err = fmt.Errorf("receiving on %s: %w", l.name, err)
				if time.Since(opened) > maxBackoff {
					l.log.Warn("opening the VRRP socket again", "error", err)
					backoff = 0
					continue
				}
				l.broken(err)
			}
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		retry := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			return nil
		case <-l.reopen:
			backoff = 0
		case <-retry.C:
		}
		retry.Stop()
	}
}

// use makes conn the socket and closes the one before it.
func (l *Link) use(conn Conn) {
	l.mu.Lock()
	old, failing := l.conn, l.err != nil
	l.tried, l.conn, l.err = true, conn, nil
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	if failing {
		l.log.Info("the VRRP socket works again", "source", conn.Source())
	}
	l.wake()
}

// broken tells the instances that nothing can be received. The old socket, if there is one, is kept: perhaps a
// last priority 0 gets out through it.
func (l *Link) broken(err error) {
	l.mu.Lock()
	fresh := l.err == nil || l.err.Error() != err.Error()
	l.tried, l.err = true, err
	l.mu.Unlock()
	if fresh {
		l.log.Warn("no VRRP socket", "error", err)
	}
	l.wake()
}

// stop closes the socket at the end of Run.
func (l *Link) stop() {
	l.mu.Lock()
	old := l.conn
	l.tried, l.conn, l.err = true, nil, errLinkStopped
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	l.wake()
}

// wake has every instance look at the state of the Link.
func (l *Link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.instances {
		i.poke()
	}
}

// read delivers what conn receives until it fails.
func (l *Link) read(conn Conn) error {
	for {
		p, err := conn.Receive()
		if err != nil {
			return err
		}
		l.receive(p, conn.Source())
	}
}

// receive hands an advertisement to the instance it is for. Whatever is dropped is counted once: at the instance whose
// VRID it bears, else here.
func (l *Link) receive(p Packet, own netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var to *Instance
	if len(p.Payload) > 1 {
		to = l.instances[p.Payload[1]]
	}
	if to == nil {
		l.dropped[reasonOf(unclaimed(p, own))]++ // other people's routers are nothing to report
		return
	}
	a, err := to.accepts().check(p, own)
	if err == nil && !to.deliver(heard{a, p.Source}) {
		err = DropOverrun
	}
	if err != nil {
		to.drop(p.Source, err)
	}
}

// unclaimed says what is wrong with a packet that is for none of the instances.
func unclaimed(p Packet, own netip.Addr) error {
	var c Config
	if validSource(p.Destination) { // unicast: perhaps of an instance that is gone
		c = Config{Source: p.Destination, Peers: []netip.Addr{p.Source}}
		own = p.Destination
	}
	if err := c.checkPath(p, own); err != nil {
		return err
	}
	if _, err := Parse(p.Payload, p.Source, p.Destination); err != nil {
		return err
	}
	return DropVRID
}

// attach registers an instance; its VRID must be new on this Link.
func (l *Link) attach(i *Instance) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	vrid := i.vrid
	if l.instances[vrid] != nil {
		return fmt.Errorf("vrid %d is used twice on %s", vrid, l.name)
	}
	l.instances[vrid] = i
	return nil
}

func (l *Link) detach(i *Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.instances, i.vrid)
}

// state says whether open was tried, which source address advertisements have, and why nothing can be received.
func (l *Link) state() (tried bool, source netip.Addr, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		source = l.conn.Source()
	}
	return l.tried, source, l.err
}

// pending says whether packets have arrived that are not delivered yet.
func (l *Link) pending() bool {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	return conn != nil && conn.Pending()
}

// send sends an advertisement, from the address of the link if source is the zero Addr.
func (l *Link) send(a Advertisement, source, destination netip.Addr) error {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("sending an advertisement on %s: %w", l.name, net.ErrClosed)
	}
	if !source.IsValid() {
		source = conn.Source()
	}
	b, err := a.Marshal(source, destination)
	if err != nil {
		return err
	}
	if err := conn.Send(source, destination, b); err != nil {
		return fmt.Errorf("sending an advertisement on %s to %s: %w", l.name, destination, err)
	}
	return nil
}
