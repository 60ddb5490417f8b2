package ipvs

import (
	"context"
	"net/netip"
)

// Handover is what the kernel does for connections that outlive a change of
// director: it guards those that are not known yet, learns of those that others
// serve, and tells others of its own.
type Handover struct {
	sync    *Sync
	expired string // the kernel's setting before Expire(true), "" if it was not called
}

// OpenHandover opens what a Handover needs of the kernel. The error is that of
// [OpenSync].
func OpenHandover() (*Handover, error) {
	s, err := OpenSync()
	if err != nil {
		return nil, err
	}
	return &Handover{sync: s}, nil
}

// Close gives the connection to the kernel up. What was set stays.
func (h *Handover) Close() error { return h.sync.Close() }

// Guard is [Guard.Set].
func (h *Handover) Guard(services []Key, realServers []netip.AddrPort) error {
	return Guard{}.Set(services, realServers)
}

// Sync runs both daemons on an interface with an id, or none if the interface
// is empty, see [Sync.Ensure].
func (h *Handover) Sync(ifname string, id uint8) error {
	if ifname == "" {
		return h.sync.Ensure()
	}
	return h.sync.Ensure(
		SyncDaemon{Role: SyncMaster, Interface: ifname, ID: id},
		SyncDaemon{Role: SyncBackup, Interface: ifname, ID: id},
	)
}

// Expire makes the kernel forget a connection whose real server has left the table
// as soon as its client comes with it again, and serve the client anew
// (net.ipv4.vs.expire_nodest_conn); otherwise such packets are dropped until the
// connection has timed out, for up to 15 minutes. Expire(false) puts back what was
// set before.
func (h *Handover) Expire(on bool) error {
	switch {
	case on:
		previous, err := SetSysctl("expire_nodest_conn", "1")
		if err == nil && h.expired == "" {
			h.expired = previous
		}
		return err
	case h.expired != "":
		_, err := SetSysctl("expire_nodest_conn", h.expired)
		if err == nil {
			h.expired = ""
		}
		return err
	}
	return nil
}

// Connections is [ReadConnections].
func (h *Handover) Connections(ctx context.Context) ([]Connection, error) {
	return ReadConnections(ctx)
}

// Send is [SendConnections].
func (h *Handover) Send(ctx context.Context, ifname string, id uint8, connections []Connection) error {
	return SendConnections(ctx, ifname, id, connections)
}
