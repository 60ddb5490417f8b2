package waist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxLine bounds a message: a thousand instances take a quarter of it.
	maxLine = 4 << 20

	// pingPeriod lies between two signs of life of the director half.
	pingPeriod = 500 * time.Millisecond

	// silenceLimit is how long either end listens to one that says nothing, and
	// how long the director half may be away before the elector takes it for
	// gone.
	silenceLimit = 3 * time.Second

	// sendLimit bounds how long a message may wait for an end that does not
	// read.
	sendLimit = time.Second
)

// errSilent is the end of a connection whose other end says nothing.
var errSilent = fmt.Errorf("nothing was heard for %v", silenceLimit)

// conn carries messages. One goroutine may receive while others send.
type conn struct {
	net.Conn
	lines *bufio.Scanner

	mu sync.Mutex // held while something is sent
}

func newConn(c net.Conn) *conn {
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	lines.Split(wholeLines)
	return &conn{Conn: c, lines: lines}
}

// wholeLines splits as bufio.ScanLines does, but what comes last without an end
// of line was cut off and is no message.
func wholeLines(data []byte, _ bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	return 0, nil, nil
}

// send sends a message, within sendLimit.
func (c *conn) send(m message) error {
	line, err := encode(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return fmt.Errorf("sending a %s: %w", m.kind(), err)
	}
	if _, err := c.Write(line); err != nil {
		return fmt.Errorf("sending a %s: %w", m.kind(), err)
	}
	return nil
}

// receive waits for a message, for silenceLimit. The error is io.EOF when the
// other end has closed the connection.
func (c *conn) receive() (message, error) {
	if err := c.SetReadDeadline(time.Now().Add(silenceLimit)); err != nil {
		return nil, err
	}
	if c.lines.Scan() {
		return decode(c.lines.Bytes())
	}
	err := c.lines.Err()
	var timeout net.Error
	switch {
	case err == nil:
		return nil, io.EOF
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, errSilent
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("reading a message: more than %d bytes", maxLine)
	}
	return nil, err
}
