package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// TCP checks that a server accepts connections, and, where asked to, that it answers. Text is sent and read as
// it is; the connection is reset at the end.
type TCP struct {
	Address netip.AddrPort
	Send    []byte // sent after connecting; nothing if empty
	Expect  Match  // looked for in what the server sends, of which at most [MaxReply] bytes are read
}

// Check returns nil if the server accepted a connection and sent what is expected.
func (c TCP) Check(ctx context.Context) error {
	return clean(c.check(ctx, dialTCP))
}

func (c TCP) check(ctx context.Context, dial dialFunc) error {
	conn, done, err := connect(ctx, dial, c.Address)
	if err != nil {
		return err
	}
	defer done()
	if len(c.Send) > 0 {
		if _, err := conn.Write(c.Send); err != nil {
			return fmt.Errorf("send: %w", explain(ctx, err))
		}
	}
	if c.Expect.isZero() {
		return nil
	}
	return c.expect(ctx, conn)
}

// expect reads until the reply has what is expected, or never will.
func (c TCP) expect(ctx context.Context, conn net.Conn) error {
	reply := make([]byte, 0, 4<<10)
	var looked, next int // bytes looked through so far, and the length of reply from which to look again
	for {
		if len(reply) == cap(reply) {
			reply = append(make([]byte, 0, min(4*cap(reply), MaxReply)), reply...)
		}
		n, err := conn.Read(reply[len(reply):cap(reply)])
		reply = reply[:len(reply)+n]
		full := len(reply) == MaxReply

		if err != nil || full || n > 0 && len(reply) >= next {
			missing := c.Expect.missing(reply)
			if missing == "" {
				return nil
			}
			if err != nil || full {
				return complain(explain(ctx, err), reply, missing)
			}
			// A reply that comes in very many small pieces would be looked through from its start
			// for each of them: past some work, wait until it has doubled, or ends.
			if looked += len(reply); looked > 4*MaxReply {
				next = 2 * len(reply)
			}
		}
	}
}

// complain says why a reply that ended with err, or at [MaxReply] bytes if err is nil, will not do.
func complain(err error, reply []byte, missing string) error {
	switch {
	case err == nil:
		return fmt.Errorf("reply: the first %s %s", size(MaxReply), missing)
	case len(reply) == 0:
		return fmt.Errorf("reply: %w", err)
	case errors.Is(err, errClosed):
		return fmt.Errorf("reply: %s %s", quote(reply), missing)
	}
	return fmt.Errorf("reply: %w: %s %s", err, quote(reply), missing)
}
