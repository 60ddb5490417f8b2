package health

import (
	"context"
	"net"
	"regexp"
	"testing"
	"testing/synctest"
	"time"
)

// misbehave sends reply in pieces with pauses, then closes or hangs. It reads meanwhile, so that nothing but the
// reply decides how the check ends.
func misbehave(reply []byte, pieces uint8, pause uint16, hang bool) func(net.Conn) {
	return func(conn net.Conn) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			drain(conn)
		}()
		piece := len(reply)/(int(pieces)+1) + 1
		for rest := reply; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if _, err := conn.Write(rest[:min(piece, len(rest))]); err != nil {
				break
			}
			time.Sleep(time.Duration(pause) * time.Millisecond)
		}
		if !hang {
			conn.Close()
		}
		<-ended
	}
}

// endsInTime runs a check in a bubble: it ends by its deadline, with a reason that can be shown.
func endsInTime(t *testing.T, server func(net.Conn), check func(context.Context, dialFunc) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		ctx, cancel := context.WithTimeoutCause(t.Context(), timeout, timeoutError(timeout))
		defer cancel()
		start := time.Now()
		err := clean(check(ctx, pipe(t, server)))
		if took := time.Since(start); took > timeout {
			t.Errorf("took %v", took)
		}
		checkReason(t, err)
	})
}

func FuzzHTTP(f *testing.F) {
	for _, reply := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
		"HTTP/1.1 503 \x1b[2J\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nOK",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
		"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nOK\r\n0\r\nTrailer: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nOK",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nOK",
		"HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
		"\x15\x03\x01\x00\x02\x02\x0a",
		"SSH-2.0-OpenSSH_9.2p1\r\n",
		"",
	} {
		f.Add([]byte(reply), uint8(0), uint16(0), false, false)
		f.Add([]byte(reply), uint8(3), uint16(400), true, true)
	}
	body := Match{Substring: "O", Pattern: regexp.MustCompile(`O+K$`)}
	f.Fuzz(func(t *testing.T, reply []byte, pieces uint8, pause uint16, hang, head bool) {
		check := HTTP{Host: "www.example.com", Body: body}
		if head {
			check = HTTP{Host: "www.example.com", Method: "HEAD"}
		}
		endsInTime(t, misbehave(reply, pieces, pause, hang), check.check)
	})
}

func FuzzTCPExpect(f *testing.F) {
	f.Add([]byte("+PONG\r\n"), uint8(0), uint16(0), false)
	f.Add([]byte("+PO\x1b\xff\x00NG\r\n"), uint8(7), uint16(100), true)
	f.Add([]byte{}, uint8(0), uint16(0), true)
	check := TCP{Send: []byte("PING\r\n"), Expect: Match{Substring: "+", Pattern: regexp.MustCompile(`(?s)^\+.*NG`)}}
	f.Fuzz(func(t *testing.T, reply []byte, pieces uint8, pause uint16, hang bool) {
		endsInTime(t, misbehave(reply, pieces, pause, hang), check.check)
	})
}

// FuzzTLS sends plain bytes to a handshake.
func FuzzTLS(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(0), uint16(0), false)
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x28"), uint8(0), uint16(0), true)
	f.Add([]byte("\x16\x03\x03\x00\x04\x02\x00\x00\x00"), uint8(2), uint16(10), true)
	f.Fuzz(func(t *testing.T, reply []byte, pieces uint8, pause uint16, hang bool) {
		endsInTime(t, misbehave(reply, pieces, pause, hang), TLS{}.check)
	})
}

func FuzzParseStatusRanges(f *testing.F) {
	f.Add("200-399")
	f.Add(" 200,204 , 300-302")
	f.Add("399-200")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseStatusRanges(text)
		if err != nil {
			return
		}
		written := list.String()
		again, err := ParseStatusRanges(written)
		if err != nil || again.String() != written {
			t.Errorf("%q is read as %v, written as %q, and read as %v, %v", text, list, written, again, err)
		}
	})
}
