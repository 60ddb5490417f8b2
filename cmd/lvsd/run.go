package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"lvsd/configs"
	"lvsd/internal/supervisor"
)

// The names of the two halves, as they appear in the log, in the status, and as
// subcommands.
const (
	electorHalf  = "elector"
	directorHalf = "director"
)

// abandonTimeout bounds how long the kernel may take to give up the addresses of
// an elector half that does not come back.
const abandonTimeout = 2 * time.Second

// runFlags are the flags of lvsd run.
type runFlags struct {
	config, name, runtime *string
	log                   logFlags
}

func runCommand() *cobra.Command {
	var f runFlags
	var one *bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon.

It is three processes: this one starts the two halves, lvsd elector, which owns
the addresses, and lvsd director, which checks and serves, and starts one again
that dies or hangs. With --one-process all is in this process, for containers
that allow no more; then a crash or a hang takes all of it.

SIGHUP reads the configuration again; a file with a problem changes nothing.
SIGTERM and SIGINT hand the addresses over and take what is ours out of the
kernel; a second one ends the daemon at once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.log.logger()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(*f.runtime, 0o755); err != nil {
				return fmt.Errorf("making the runtime folder: %w", err)
			}
			lock, err := takeRuntime(*f.runtime)
			if err != nil {
				return err
			}
			defer lock.Close()
			if *one {
				return runOneProcess(cmd.Context(), f, log)
			}
			return supervise(cmd.Context(), f, lock, log)
		},
	}
	f.config = addConfigFlag(cmd)
	f.name = addNameFlag(cmd)
	f.runtime = addRuntimeFlag(cmd)
	f.log = addLogFlags(cmd)
	one = cmd.Flags().Bool("one-process", false, "run both halves in this process, with nobody to start one again")
	return cmd
}

// load reads the configuration.
func (f runFlags) load() (*configs.Config, error) { return configs.Load(*f.config, *f.name) }

// arguments returns the command line of a half.
func (f runFlags) arguments(half string, more ...string) []string {
	return append([]string{half, "--runtime-dir", *f.runtime, "--log-format", *f.log.format, "--log-level", *f.log.level}, more...)
}

// supervise runs the two halves until a signal ends the daemon. The elector ends
// first: while it hands over, the director goes on serving.
func supervise(ctx context.Context, f runFlags, lock *os.File, log *slog.Logger) error {
	s := supervisor.New(supervisor.Options{
		Halves: []supervisor.Half{
			{Name: electorHalf, Args: f.arguments(electorHalf), Abandon: func() { abandon(ctx, *f.runtime, log) }},
			{Name: directorHalf, Args: f.arguments(directorHalf, "--config", *f.config, "--name", *f.name)},
		},
		Keep: []*os.File{lock},
		Ready: func() {
			log.Info("lvsd started", "version", versionString(), "pid", os.Getpid(), "config", *f.config)
			notify(log, daemon.SdNotifyReady)
		},
		Log: log,
	})
	ctx, end := context.WithCancel(ctx)
	defer end()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	watchdog, stop := watchdogTicks(log)
	defer stop()
	var reloaded chan struct{} // not nil while a reload is under way
	var again bool             // another one was asked for
	var killed os.Signal
	for {
		select {
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && reloaded == nil:
				reloaded = reload(ctx, s, log)
			case sig == syscall.SIGHUP:
				again = true
			case ctx.Err() == nil:
				notify(log, daemon.SdNotifyStopping)
				end()
			default:
				killed = sig
				s.Kill()
			}
		case <-reloaded:
			reloaded = nil
			if again {
				again = false
				reloaded = reload(ctx, s, log)
			}
		case <-watchdog:
			notify(log, daemon.SdNotifyWatchdog)
		case err := <-ended:
			if killed != nil {
				dieBy(killed.(syscall.Signal))
			}
			return tidy(ctx, err, *f.runtime, log)
		}
	}
}

// reload makes the director half read the configuration again. The channel that
// it returns is closed when that has been done, or refused.
func reload(ctx context.Context, s *supervisor.Supervisor, log *slog.Logger) chan struct{} {
	done := make(chan struct{})
	notify(log, daemon.SdNotifyReloading)
	go func() {
		defer close(done)
		s.Reload(ctx, directorHalf) // it has logged why it was refused
		if ctx.Err() == nil {
			notify(log, daemon.SdNotifyReady)
		}
	}()
	return done
}

// tidy does what a half has left undone that did not end as it should.
func tidy(ctx context.Context, err error, runtime string, log *slog.Logger) error {
	switch {
	case errors.Is(err, supervisor.ErrRefused):
		return errNotWell // it has said why
	case err != nil:
		log.Error("releasing what a half of lvsd has left", "error", err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := release(ctx, runtime, log); err != nil {
			return err
		}
	}
	log.Info("lvsd ended")
	return nil
}

// abandon releases the addresses of an elector half that does not come back.
// Somebody else has taken them over by now, if there is anybody.
func abandon(ctx context.Context, runtime string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	if err := releaseAddresses(ctx, addressState(runtime), log); err != nil {
		log.Error("releasing the addresses", "error", err)
	}
}

// dieBy ends this process as the signal would have ended it.
func dieBy(sig syscall.Signal) {
	signal.Reset(sig)
	_ = syscall.Kill(os.Getpid(), sig)
	time.Sleep(time.Second) // it comes at any moment
}

// watchdogTicks returns a channel that ticks whenever systemd is to be told that
// this process lives, if it wants to be.
func watchdogTicks(log *slog.Logger) (ticks <-chan time.Time, stop func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("asking for the watchdog of systemd", "error", err)
	}
	if limit == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(limit / 4)
	return t.C, t.Stop
}

// notify tells systemd how the daemon is, if it runs under systemd.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling systemd", "state", state, "error", err)
	}
}
