package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"lvsd/internal/supervisor"
)

// refusedError is why a half cannot start: to start it again would not help.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// runHalf runs a half until its supervisor tells it to end, or, if somebody has
// started it by hand, a signal does. The context of body is done then; its cause
// is supervisor.ErrOrphan when the supervisor has died.
func runHalf(ctx context.Context, name string, body func(ctx context.Context, tie *supervisor.Tie) error) error {
	tie, err := supervisor.Attach()
	if err != nil {
		return err
	}
	// ps and top tell the halves apart by this. It is only a name.
	_ = os.WriteFile("/proc/self/comm", []byte("lvsd-"+name), 0)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if tie == nil {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends it at once
		return body(ctx, nil)
	}
	// They may come to all processes of the service, or of the terminal: the
	// supervisor says what follows from them, and in which order. They are caught
	// and not ignored: what this process starts would ignore them, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ticking, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tie.Run(ticking, end)
	}()
	err = body(ctx, tie)
	stop()
	<-ended
	return err
}
