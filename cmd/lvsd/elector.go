package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
	"lvsd/internal/waist"
	"lvsd/vip"
)

func electorCommand() *cobra.Command {
	var runtime *string
	var flags logFlags
	cmd := &cobra.Command{
		Use:    electorHalf,
		Short:  "Run the half of the daemon that owns the addresses",
		Hidden: true, // lvsd run starts it
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := flags.logger()
			if err != nil {
				return err
			}
			return runHalf(cmd.Context(), electorHalf, func(ctx context.Context, tie *supervisor.Tie) error {
				return runElector(ctx, tie, *runtime, log.With("half", electorHalf))
			})
		},
	}
	runtime = addRuntimeFlag(cmd)
	flags = addLogFlags(cmd)
	return cmd
}

// runElector runs an elector under the orders of a director half, which connects
// to it, until ctx ends.
func runElector(ctx context.Context, tie *supervisor.Tie, runtime string, log *slog.Logger) error {
	comfort := takePrivileges()
	network, err := vip.Open()
	if err != nil {
		return refusedError{err}
	}
	defer network.Close()
	var electing *elector.Elector
	server, err := waist.Listen(electorSocket(runtime), waist.ServerOptions{
		Process:    tie.Process(),
		Memory:     electorMemory(runtime),
		OnDirector: func(reason string) { electing.SetAbsent(reason) },
		Log:        log,
	})
	if err != nil {
		return refusedError{err}
	}
	electing, err = newElector(network, runtime, server.OnTransition, tie.Alive, log)
	if err != nil {
		return refusedError{err}
	}
	if err := recall(tie, electorMemory(runtime), electing, log); err != nil {
		log.Warn("waiting for the director half to say what is configured", "error", err)
	}

	g, ctx := errgroup.WithContext(ctx)
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	g.Go(func() error {
		defer stopRest()
		return electing.Run(ctx)
	})
	// The director half is told how the hand-over goes.
	g.Go(func() error {
		return server.Run(rest, &configurable{Elector: electing, first: func() { comfort.log(log) }})
	})
	tie.Ready()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recall gives the elector of a half that was started again the instances that
// it had. A new daemon has nothing to recall: its configuration may be another.
func recall(tie *supervisor.Tie, memory string, e *elector.Elector, log *slog.Logger) error {
	if !tie.Restarted() {
		return waist.Forget(memory)
	}
	instances, err := waist.Recall(memory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it died before it was told any
	case err != nil:
		return err
	}
	log.Info("going on with the instances from before", "instances", len(instances))
	e.Configure(instances)
	return nil
}

// configurable is an elector that says something when it is configured first.
type configurable struct {
	*elector.Elector
	once  sync.Once
	first func()
}

// Configure implements waist.Elector.
func (c *configurable) Configure(instances []configs.Instance) {
	c.once.Do(c.first)
	c.Elector.Configure(instances)
}
