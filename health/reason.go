package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// timeoutError is the cause with which the context of a check ends at its deadline. It knows the whole timeout,
// which a checker that only sees the deadline does not.
type timeoutError time.Duration

func (e timeoutError) Error() string { return "timed out after " + time.Duration(e).String() }

func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

var (
	errTimedOut = errors.New("timed out")
	errClosed   = errors.New("closed by the server")
)

// explain puts an error of a connection that is bound to ctx into plain words, without the addresses and the
// names of system calls that package net puts around it.
func explain(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		if _, ok := ctx.Deadline(); ok {
			<-ctx.Done() // the timer of a dialer may be a moment ahead of the one of the context
		}
		switch cause := context.Cause(ctx); cause {
		case nil, context.DeadlineExceeded:
			return errTimedOut
		default:
			return cause
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE) {
		return errClosed
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// isLocal says whether err is of our own making: the director is out of files or memory. It says nothing about
// the server that was to be checked.
func isLocal(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// cleanError is an error with another text.
type cleanError struct {
	text string
	error
}

func (e cleanError) Error() string { return e.text }

func (e cleanError) Unwrap() error { return e.error }

// clean returns err with a text that is printable and has at most [MaxReason] bytes, whatever a server put
// into it. It returns nil for nil.
func clean(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if cleaned := printable(text); cleaned != text {
		return cleanError{cleaned, err}
	}
	return err
}

// printable escapes what is not printable in text and cuts it to [MaxReason] bytes, but not within an escape or a
// character.
func printable(text string) string {
	const end = "..."
	var b strings.Builder
	cut := 0 // where to cut if the rest does not fit
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		piece := text[:size]
		text = text[size:]
		if !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			piece = strconv.Quote(piece)
			piece = piece[1 : len(piece)-1]
		}
		b.WriteString(piece)
		if b.Len() <= MaxReason-len(end) {
			cut = b.Len()
		}
		if b.Len() > MaxReason {
			return b.String()[:cut] + end
		}
	}
	return b.String()
}

// quote returns a piece of a reply in double quotes, escaped, and cut to [maxQuote] bytes.
func quote[T string | []byte](piece T) string {
	quoted := strconv.Quote(string(piece[:min(len(piece), maxQuote)]))
	if len(piece) <= maxQuote && len(quoted) <= maxQuote {
		return quoted
	}
	const end = `..."`
	return strings.ToValidUTF8(quoted[:min(len(quoted)-1, maxQuote-len(end))], "") + end
}

// span returns a duration as people say it: "3 days", "5 hours".
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		word string
	}{{day, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if n := d.Round(u.unit) / u.unit; n >= 2 {
			return fmt.Sprintf("%d %s", n, u.word)
		}
	}
	if n := d.Round(time.Second) / time.Second; n != 1 {
		return fmt.Sprintf("%d seconds", n)
	}
	return "1 second"
}

// size returns a number of bytes that is a whole number of KiB or MiB as people write it.
func size(bytes int) string {
	if bytes%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
