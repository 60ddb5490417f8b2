package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"lvsd/ipvs"
	"lvsd/vip"
)

// releaseTimeout bounds how long the kernel may take to give everything up.
const releaseTimeout = 10 * time.Second

// crashes are the results of a service after which systemd starts it again, see
// SERVICE_RESULT in systemd.exec(5) and Restart= in the unit.
var crashes = []string{"signal", "core-dump", "exit-code", "watchdog", "oom-kill"}

func releaseCommand() *cobra.Command {
	var runtime *string
	var systemd *bool
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Take out of the kernel what a killed daemon left",
		Long: `Take the addresses and the IPVS services out of the kernel that a killed
daemon left there. It is what the systemd units run after the daemon has ended;
after a proper end it finds nothing to do. It refuses to work while lvsd runs.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(os.Stderr, "auto", "info")
			if err != nil {
				return err
			}
			if result := os.Getenv("SERVICE_RESULT"); *systemd && slices.Contains(crashes, result) {
				log.Info("nothing is released: the daemon is about to be started again", "result", result)
				return nil
			}
			lock, err := takeRuntime(*runtime)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // nobody has ever run there
			case err != nil:
				return fmt.Errorf("releasing what was left: %w", err)
			}
			defer lock.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), releaseTimeout)
			defer cancel()
			return release(ctx, *runtime, log)
		},
	}
	runtime = addRuntimeFlag(cmd)
	systemd = cmd.Flags().Bool("systemd", false, "run by ExecStopPost=: release nothing after a crash, for the daemon is started again")
	return cmd
}

// release takes out of the kernel what was left there.
func release(ctx context.Context, runtime string, log *slog.Logger) error {
	return errors.Join(
		releaseAddresses(ctx, addressState(runtime), log),
		releaseServices(ctx, serviceState(runtime), log),
	)
}

func releaseAddresses(ctx context.Context, state string, log *slog.Logger) error {
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	network, err := vip.Open()
	if err != nil {
		return err
	}
	defer network.Close()
	r, err := vip.NewReconciler(network, vip.Options{StateFile: state, Log: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.Run(ctx, nil) //nolint:errcheck // Apply tells what went wrong
	return r.Apply(ctx, vip.Desired{})
}

func releaseServices(ctx context.Context, state string, log *slog.Logger) error {
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kernel, err := ipvs.Open()
	if err != nil {
		return err
	}
	r, err := ipvs.NewReconciler(kernel, ipvs.Options{StateFile: state, Log: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.Run(ctx) //nolint:errcheck // Clear tells what went wrong
	connections, err := ipvs.OpenHandover()
	if err != nil {
		return errors.Join(err, r.Clear(ctx))
	}
	defer connections.Close()
	return errors.Join(r.Clear(ctx), connections.Guard(nil, nil), connections.Sync("", 0))
}
