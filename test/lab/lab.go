package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
)

// T is what a lab asks of the test that it belongs to. [testing.TB] has it; [With] gives it to a program.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// A Lab is a set of hosts and the segments between them. It vanishes at the end of its test, with every process that
// was started in it. Its methods, and those of all that is in it, end the test when something cannot be done, unless
// they return an error; like [testing.T.Fatalf] they are then to be called from the test's goroutine.
type Lab struct {
	T
	dir string
}

// New makes an empty lab for a test.
func New(t T) *Lab {
	t.Helper()
	return &Lab{T: t, dir: t.TempDir()}
}

// With makes a lab for a program that is no test, calls f with it, and cleans up. What the lab has to say goes to
// logf. The error is what made f stop early.
func With(logf func(format string, args ...any), f func(*Lab)) (err error) {
	dir, err := os.MkdirTemp("", "lvsd-lab-")
	if err != nil {
		return fmt.Errorf("making a folder for the lab: %w", err)
	}
	p := &program{logf: logf, dir: dir}
	p.Cleanup(func() { os.RemoveAll(dir) })
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case failure:
			p.failed = true
			err = cause.error
		default:
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
		for i := len(p.cleanups) - 1; i >= 0; i-- {
			p.cleanups[i]()
		}
	}()
	f(New(p))
	return nil
}

// program is the T of a program.
type program struct {
	logf     func(string, ...any)
	dir      string
	failed   bool
	cleanups []func()
}

// failure is the panic of a program's Fatalf.
type failure struct{ error }

func (p *program) Helper()                           {}
func (p *program) Logf(format string, args ...any)   { p.logf(format, args...) }
func (p *program) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }
func (p *program) Failed() bool                      { return p.failed }
func (p *program) Cleanup(f func())                  { p.cleanups = append(p.cleanups, f) }
func (p *program) TempDir() string                   { return p.dir }

// Eventually waits until done returns true, and fails the test after the limit. It looks every 20 ms.
func (l *Lab) Eventually(limit time.Duration, what string, done func() bool) {
	l.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > limit {
			l.Fatalf("waited %s for: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// folder makes a folder for the files of something in the lab.
func (l *Lab) folder(name string) string {
	l.Helper()
	dir, err := os.MkdirTemp(l.dir, name+"-")
	if err != nil {
		l.Fatalf("making a folder for %s: %v", name, err)
	}
	return dir
}

// write writes a file that everybody may read.
func (l *Lab) write(path string, content []byte) {
	l.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.Fatalf("writing %s: %v", path, err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		l.Fatalf("writing %s: %v", path, err)
	}
}
