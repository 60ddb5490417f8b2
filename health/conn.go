package health

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// dialFunc opens a connection to a literal address; tests bring their own.
type dialFunc func(ctx context.Context, address netip.AddrPort) (net.Conn, error)

// dialTCP dials without a resolver in the path. The connection is reset when it is closed, not shut down: a
// director that checks thousands of servers would otherwise hold as many sockets in TIME_WAIT.
func dialTCP(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1} // no check lives long enough
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetLinger(0); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect dials address and binds the connection to ctx: from the moment that ctx is done every read and write
// fails. The caller calls done when it needs the connection no more; that closes it.
func connect(ctx context.Context, dial dialFunc, address netip.AddrPort) (conn net.Conn, done func(), err error) {
	conn, err = dial(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", explain(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0)) // in the past; of a closed connection it is an error, and no matter
	})
	return conn, func() {
		stop()
		conn.Close() // it is reset, so nothing can be lost that an error would tell
	}, nil
}
