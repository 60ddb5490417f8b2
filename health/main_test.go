package health

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within returns a context as the monitor makes it for a check.
func within(t testing.TB, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, timeoutError(timeout))
	t.Cleanup(cancel)
	return ctx
}

// patience returns how long a check against a real listener may take: short where the test waits for the timeout,
// which is 300 ms in the reasons of the tests, and so long that a busy machine cannot matter where it does not.
func patience(wanted string) time.Duration {
	if strings.Contains(wanted, "timed out after 300ms") {
		return 300 * time.Millisecond
	}
	return 20 * time.Second
}

// serve listens on loopback and hands every connection to handle, which runs in its own goroutine and whose
// connection is closed when it returns. At the end of the test all of them have returned.
func serve(t testing.TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, handle)
}

func serveOn(t testing.TB, listener net.Listener, handle func(net.Conn)) netip.AddrPort {
	ended := make(chan struct{})
	handled := make(chan struct{}, 100)
	go func() {
		defer close(ended)
		started := 0
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			started++
			go func() {
				defer func() { handled <- struct{}{} }()
				defer conn.Close()
				handle(conn)
			}()
		}
		for range started {
			<-handled
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return netip.MustParseAddrPort(listener.Addr().String())
}

// drain reads until the other side closes.
func drain(conn net.Conn) {
	buffer := make([]byte, 4<<10)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// trickle sends text a byte every period until the other side closes.
func trickle(conn net.Conn, text string, period time.Duration) {
	for i := range len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(period)
	}
}

// flood sends bytes until the other side closes, but at most so many.
func flood(conn net.Conn, bytes int) {
	buffer := make([]byte, 64<<10)
	for i := range buffer {
		buffer[i] = 'x'
	}
	for ; bytes > 0; bytes -= len(buffer) {
		if _, err := conn.Write(buffer); err != nil {
			return
		}
	}
}

// refusing returns an address where nobody listens.
func refusing(t testing.TB) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// wantReason fails the test if the check did not fail for exactly this reason; "" means that it passed.
func wantReason(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("reason:\n got %q\nwant %q", got, want)
	}
	checkReason(t, err)
}

// checkReason fails the test if a reason is not fit to be shown.
func checkReason(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	reason := err.Error()
	if reason == "" || len(reason) > MaxReason || !utf8.ValidString(reason) {
		t.Errorf("reason of %d bytes: %q", len(reason), reason)
	}
	for _, r := range reason {
		if !unicode.IsPrint(r) {
			t.Errorf("reason %q has %U", reason, r)
			return
		}
	}
}

// A probe is a Checker made of a function.
type probe func(ctx context.Context) error

func (p probe) Check(ctx context.Context) error { return p(ctx) }

// pipe returns a dialer whose connections lead to handle, without a network. At the end of the test, which may be a
// bubble, handle has returned.
func pipe(t testing.TB, handle func(net.Conn)) dialFunc {
	return func(context.Context, netip.AddrPort) (net.Conn, error) {
		ours, theirs := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer theirs.Close()
			handle(theirs)
		}()
		t.Cleanup(func() { <-ended })
		return ours, nil
	}
}
