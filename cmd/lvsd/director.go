package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lvsd/internal/control"
	"lvsd/internal/director"
	"lvsd/internal/supervisor"
	"lvsd/internal/waist"
)

const (
	// rolesPatience is how long the first plan waits for the elector half to say
	// of which instances this director is master.
	rolesPatience = 300 * time.Millisecond

	// handoverPatience is how long a director half whose supervisor has died goes
	// on serving while the elector half hands over.
	handoverPatience = 2 * time.Minute
	handoverPause    = 20 * time.Millisecond
)

func directorCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:    directorHalf,
		Short:  "Run the half of the daemon that checks and serves",
		Hidden: true, // lvsd run starts it
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.log.logger()
			if err != nil {
				return err
			}
			return runHalf(cmd.Context(), directorHalf, func(ctx context.Context, tie *supervisor.Tie) error {
				return runDirector(ctx, tie, f, log.With("half", directorHalf))
			})
		},
	}
	f.config = addConfigFlag(cmd)
	f.name = addNameFlag(cmd)
	f.runtime = addRuntimeFlag(cmd)
	f.log = addLogFlags(cmd)
	return cmd
}

// runDirector runs a director that tells an elector half what is configured, and
// the control socket, until ctx ends.
func runDirector(ctx context.Context, tie *supervisor.Tie, f runFlags, log *slog.Logger) error {
	config, err := f.load()
	if err != nil {
		return refusedError{err}
	}
	var serving *director.Director
	electing := waist.NewClient(waist.ClientOptions{
		Path:     electorSocket(*f.runtime),
		OnMaster: func(instance string, master bool) { serving.SetMaster(instance, master) },
		Log:      log,
	})
	serving, err = newDirector(config, f.load, *f.runtime, electing.Configure, electing.Report, tie.Alive, log)
	if err != nil {
		return refusedError{err}
	}
	pid, started := tie.Daemon()
	server, err := control.Listen(socketPath(*f.runtime), control.Options{
		Version:  versionString(),
		PID:      pid,
		Started:  started,
		Elector:  electing,
		Director: serving,
		Halves:   func() []control.HalfStatus { return halves(electing, tie.Process()) },
		Log:      log,
	})
	if err != nil {
		return refusedError{err}
	}

	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	rest, stopRest := context.WithCancel(failed)
	defer stopRest()
	g.Go(func() error { return electing.Run(rest) })
	select {
	case <-electing.Reached():
	case <-time.After(rolesPatience):
	case <-ctx.Done():
	}
	g.Go(func() error { return serving.Run(rest) })
	g.Go(func() error { return server.Run(rest) })
	g.Go(func() error {
		defer stopRest()
		return obey(ctx, rest, tie, electing, serving)
	})
	g.Go(func() error {
		select {
		case <-electing.Reached():
			logStart(log, "serving", config)
			tie.Ready()
		case <-rest.Done():
		}
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// obey reloads when it is told to, until ctx ends or the half fails. If the
// supervisor has died, the elector half is handing over: until that is done the
// director serves.
func obey(ctx, running context.Context, tie *supervisor.Tie, e *waist.Client, d *director.Director) error {
	for {
		select {
		case <-tie.Reload():
			_ = d.Reload(running) // it has logged why it was refused
			tie.Reloaded()
			continue
		case <-ctx.Done():
		case <-running.Done():
			return nil
		}
		break
	}
	if !errors.Is(context.Cause(ctx), supervisor.ErrOrphan) {
		return nil
	}
	for begin := time.Now(); time.Since(begin) < handoverPatience; time.Sleep(handoverPause) {
		if _, connected, _ := e.Peer(); !connected || running.Err() != nil {
			break
		}
	}
	return nil
}

// halves describes the two halves.
func halves(electing *waist.Client, self supervisor.Process) []control.HalfStatus {
	peer, connected, since := electing.Peer()
	e := halfStatus(electorHalf, peer)
	if !connected {
		e.AwaySince = since
	}
	return []control.HalfStatus{e, halfStatus(directorHalf, self)}
}

func halfStatus(name string, p supervisor.Process) control.HalfStatus {
	return control.HalfStatus{
		Name: name, PID: p.PID, Since: p.Since,
		Restarts: p.Restarts, RestartedAt: p.RestartedAt, RestartReason: p.Reason,
	}
}
