package director

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"lvsd/configs"
	"lvsd/ipvs"
)

const (
	// settleTime is how long after a takeover connections may still be unknown
	// here: their packets are dropped, to be sent again, and not answered.
	settleTime = 3 * time.Second

	// tellPause is the pause between two looks for connections that a master who
	// leaves has not yet told its successor.
	tellPause = 20 * time.Millisecond

	// handoverRetry is how soon after an error the kernel is asked again.
	handoverRetry = 5 * time.Second
)

// Handover is what the kernel does for connections that outlive a change of
// master. Its methods are called by one goroutine.
type Handover interface {
	// Guard drops packets of unknown connections, see ipvs.Guard.
	Guard(services []ipvs.Key, realServers []netip.AddrPort) error

	// Sync makes the kernels of the directors tell each other of connections, on
	// an interface with an id; an empty interface ends that.
	Sync(ifname string, id uint8) error

	// Expire makes the kernel forget connections whose real server has left the
	// table, or leaves that as it was, see ipvs.Handover.Expire.
	Expire(on bool) error

	// Connections lists the connections that the kernel knows.
	Connections(ctx context.Context) ([]ipvs.Connection, error)

	// Send tells the other directors of connections.
	Send(ctx context.Context, ifname string, id uint8, connections []ipvs.Connection) error
}

// handover is what should be done for the connections now. The zero handover is
// nothing.
type handover struct {
	guardServices []ipvs.Key
	guardReal     []netip.AddrPort

	syncInterface string
	syncID        uint8

	expire bool // connections whose real server has left the table

	// leaving holds the services whose VIPs this director is giving up, without
	// their destinations: the successor is told of their connections.
	leaving ipvs.Table
}

// planHandover derives from the model what should be done for the connections.
// It is pure, like plan.
//
// A service is guarded while this director is not its master, and for a while
// after it has become so: a takeover then waits for nothing.
func planHandover(m model) handover {
	h := handover{expire: len(m.config.Services) > 0}
	for _, s := range m.config.Services {
		if s.Instance == "" {
			continue
		}
		if h.syncInterface == "" {
			h.syncInterface, h.syncID = syncOf(m.config, s.Instance)
		}
		if m.leaving[s.Instance] {
			for _, key := range s.Listen {
				h.leaving = append(h.leaving, ipvs.Service{Key: key, Persistence: s.Persistence})
			}
		}
		// A director that serves only while it is master may be a real server of
		// the service otherwise: what comes to it then is its own.
		if m.settled[s.Instance] || s.OnlyWhileMaster {
			continue
		}
		h.guardServices = append(h.guardServices, s.Listen...)
		for _, key := range s.Listen {
			for _, real := range s.Real {
				if real.Forward == ipvs.NAT && key.Protocol == ipvs.TCP {
					h.guardReal = append(h.guardReal, destinationAddress(real, key))
				}
			}
		}
	}
	slices.SortFunc(h.guardReal, netip.AddrPort.Compare)
	h.guardReal = slices.Compact(h.guardReal)
	return h
}

// syncOf returns where connections are synchronised: on the interface of an
// instance, with its VRID as id.
func syncOf(config *configs.Config, instance string) (ifname string, id uint8) {
	for _, i := range config.Instances {
		if i.Name == instance {
			return i.Interface, i.VRID
		}
	}
	return "", 0
}

// keeper brings the kernel in line with a handover. Like a reconciler it has a
// mailbox of one slot, and the latest wins.
type keeper struct {
	kernel Handover
	log    *slog.Logger
	wanted chan handover
}

func newKeeper(kernel Handover, log *slog.Logger) *keeper {
	return &keeper{kernel: kernel, log: log, wanted: make(chan handover, 1)}
}

// set replaces what is wanted. It does not block, and has one caller.
func (k *keeper) set(h handover) {
	select {
	case <-k.wanted:
	default:
	}
	k.wanted <- h
}

// run works until ctx ends and then undoes what it has done.
func (k *keeper) run(ctx context.Context) {
	var now handover
	var done *handover // what the kernel has; nil: whatever a killed daemon left
	told := make(map[toldConnection]string)
	complained := false
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			k.end(ctx, now, done, told)
			return
		case now = <-k.wanted:
		case <-again:
		}
		again = nil
		reached, err := k.apply(now, done)
		done = &reached
		if err != nil && !complained {
			k.complain("preparing a hand-over", err)
		}
		complained = err != nil
		switch {
		case len(now.leaving) > 0:
			k.tell(ctx, now, told)
			again = time.After(tellPause)
		case err != nil:
			again = time.After(handoverRetry)
		}
		if len(now.leaving) == 0 {
			clear(told)
		}
	}
}

// end tells the successor of the connections that were made since the last look,
// and undoes what was done in the kernel.
func (k *keeper) end(ctx context.Context, now handover, done *handover, told map[toldConnection]string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	if len(now.leaving) > 0 {
		k.tell(ctx, now, told)
	}
	if done != nil {
		_, err := k.apply(handover{}, done)
		k.complain("ending", err)
	}
}

// apply changes in the kernel what differs from what was done before, and
// returns what it has reached.
func (k *keeper) apply(now handover, before *handover) (reached handover, err error) {
	if before != nil {
		reached = *before
	}
	if before == nil || !slices.Equal(now.guardServices, before.guardServices) || !slices.Equal(now.guardReal, before.guardReal) {
		if err := k.kernel.Guard(now.guardServices, now.guardReal); err != nil {
			return reached, err
		}
		reached.guardServices, reached.guardReal = now.guardServices, now.guardReal
	}
	if now.syncInterface != reached.syncInterface || now.syncID != reached.syncID {
		if err := k.kernel.Sync(now.syncInterface, now.syncID); err != nil {
			return reached, err
		}
		reached.syncInterface, reached.syncID = now.syncInterface, now.syncID
	}
	if now.expire != reached.expire {
		if err := k.kernel.Expire(now.expire); err != nil {
			return reached, err
		}
		reached.expire = now.expire
	}
	return reached, nil
}

// toldConnection names a connection that the successor was told of.
type toldConnection struct {
	protocol                     ipvs.Protocol
	client, virtual, destination netip.AddrPort
}

// tell tells the successor of the connections of the services that are given
// up, each once in each of its states: what the successor has learnt by itself
// since then must not be set back.
func (k *keeper) tell(ctx context.Context, h handover, told map[toldConnection]string) {
	all, err := k.kernel.Connections(ctx)
	k.complain("telling the successor of connections", err)
	var news []ipvs.Connection
	for _, c := range all {
		id := toldConnection{c.Protocol, c.Client, c.Virtual, c.Destination}
		key := ipvs.Key{Address: c.Virtual.Addr(), Port: c.Virtual.Port(), Protocol: c.Protocol}
		given := slices.ContainsFunc(h.leaving, func(s ipvs.Service) bool { return s.Key == key })
		if c.State == "TIME_WAIT" || told[id] == c.State || !given {
			continue
		}
		told[id] = c.State
		news = append(news, c)
	}
	if len(news) == 0 {
		return
	}
	ipvs.RenewTemplates(news, h.leaving)
	// Handshakes and busy connections are what cannot wait.
	slices.SortStableFunc(news, func(a, b ipvs.Connection) int { return cmp.Compare(urgency(a), urgency(b)) })
	k.complain("telling the successor of connections", k.kernel.Send(ctx, h.syncInterface, h.syncID, news))
}

// urgency orders connections by how soon their next packet is to be expected.
func urgency(c ipvs.Connection) int {
	switch c.State {
	case "SYN_RECV", "ESTABLISHED":
		return 0
	}
	return 1
}

func (k *keeper) complain(doing string, err error) {
	if err != nil {
		k.log.Warn("connections may be lost in a hand-over", "doing", doing, "error", err)
	}
}
