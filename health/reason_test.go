package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCleanIsPrintableAndBounded(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", `status 503, want 200-399`, `status 503, want 200-399`},
		{"other scripts", "größer als 1 MiB 主", "größer als 1 MiB 主"},
		{"control bytes", "a\x00b\nc\x1b[2J", `a\x00b\nc\x1b[2J`},
		{"not UTF-8", "a\xff\xc3(", `a\xff\xc3(`},
		{"replacement character itself", "a\ufffdb", "a\ufffdb"},
		{"turns the direction of writing", "a\u202eb", `a\u202eb`},
		{"line separator and odd spaces", "a\u2028b\u00a0c", `a\u2028b\u00a0c`},
		{"as long as may be", strings.Repeat("x", MaxReason), strings.Repeat("x", MaxReason)},
		{"a byte longer", strings.Repeat("x", MaxReason+1), strings.Repeat("x", MaxReason-3) + "..."},
		{"not cut within a character", strings.Repeat("x", MaxReason-4) + "主主", strings.Repeat("x", MaxReason-4) + "..."},
		{"not cut within an escape", strings.Repeat("x", MaxReason-4) + "\x00\x00", strings.Repeat("x", MaxReason-4) + "..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			original := errors.New(test.text)
			got := clean(original)
			wantReason(t, got, test.want)
			if !errors.Is(got, original) {
				t.Error("lost the error itself")
			}
		})
	}
	if clean(nil) != nil {
		t.Error("an error out of nothing")
	}
}

func TestQuoteIsBounded(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 300), strings.Repeat("\x00", 60), strings.Repeat("主", 70), strings.Repeat("\xff", 1000), strings.Repeat("x", 199),
	} {
		got := quote(text)
		if len(got) > maxQuote || !strings.HasSuffix(got, `..."`) {
			t.Errorf("%d bytes: %s", len(got), got)
		}
		checkReason(t, errors.New(got))
	}
	checkReason(t, errors.New(quote("x"+strings.Repeat("主", 70)))) // no character is cut in two
	for text, want := range map[string]string{
		"":                       `""`,
		"a\r\n\"b\"":             `"a\r\n\"b\""`,
		strings.Repeat("x", 198): `"` + strings.Repeat("x", 198) + `"`,
	} {
		if got := quote([]byte(text)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 59 * time.Second: "59 seconds", 2 * time.Minute: "2 minutes",
		119 * time.Minute: "2 hours", 36 * time.Hour: "2 days", 35 * time.Hour: "35 hours",
		3*day - time.Second: "3 days", 3*day + 5*time.Hour: "3 days", 400 * day: "400 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	dialing := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	expired, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	named, cancelNamed := context.WithTimeoutCause(context.Background(), 0, timeoutError(time.Second))
	defer cancelNamed()
	soon, cancelSoon := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, timeoutError(time.Second))
	defer cancelSoon()
	for _, test := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), dialing(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused"},
		{t.Context(), dialing(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to host"},
		{t.Context(), dialing(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "connection timed out"}, // the kernel's, not ours
		{t.Context(), dialing(io.ErrUnexpectedEOF), "closed by the server"},
		{t.Context(), syscall.EPIPE, "closed by the server"},
		{expired, dialing(os.ErrDeadlineExceeded), "timed out"},
		{named, dialing(os.ErrDeadlineExceeded), "timed out after 1s"},
		{named, dialing(context.DeadlineExceeded), "timed out after 1s"},
		{soon, dialing(os.ErrDeadlineExceeded), "timed out after 1s"}, // a dialer ahead of its context
		{t.Context(), errors.New("other"), "other"},
	} {
		wantReason(t, explain(test.ctx, test.err), test.want)
	}
	if !errors.Is(timeoutError(1), context.DeadlineExceeded) || errors.Is(timeoutError(1), io.EOF) {
		t.Error("a timeout is not known as one")
	}
}

func TestFaultsOfOurOwn(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOMEM: true, syscall.ENOBUFS: true,
		syscall.ECONNREFUSED: false, syscall.ENETUNREACH: false, syscall.ECONNRESET: false,
	} {
		if got := isLocal(fmt.Errorf("connect: %w", errno)); got != want {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if isLocal(nil) {
		t.Error("none is one")
	}
}
