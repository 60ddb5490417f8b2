package vip_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lvsd/vip"
)

// TestMain checks that everything that was started has also ended.
func TestMain(m *testing.M) {
	vip.SetSearchTime(time.Second)
	goleak.VerifyTestMain(m)
}

// bubble runs a test, on virtual time, under the number of its case in
// conformance_test.go.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// logbook collects what is logged at Info and above, without times.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// lines returns the lines that contain every one of the words.
func (l *logbook) lines(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
next:
	for line := range strings.Lines(l.b.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		found = append(found, strings.TrimSpace(line))
	}
	return found
}

// join concatenates lists of addresses.
func join(lists ...[]vip.Address) []vip.Address {
	var all []vip.Address
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// entries lists addresses as a kernel does on which they are as lvsd wants them.
func entries(addresses []vip.Address) []vip.Entry {
	var all []vip.Entry
	for _, a := range addresses {
		all = append(all, vip.Entry{Address: a})
	}
	return all
}
