package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lvsd/configs"
	"lvsd/internal/control"
	"lvsd/internal/director"
	"lvsd/internal/elector"
	"lvsd/ipvs"
	"lvsd/vip"
	"lvsd/vrrp"
)

func runCommand() *cobra.Command {
	var config, name, runtime, format, level *string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon.

SIGHUP reads the configuration again; a file with a problem changes nothing.
SIGTERM and SIGINT hand the addresses over and take what is ours out of the
kernel; a second one ends the daemon at once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(os.Stderr, *format, *level)
			if err != nil {
				return usageError{err}
			}
			return runDaemon(cmd.Context(), *config, *name, *runtime, log)
		},
	}
	config = addConfigFlag(cmd)
	name = addNameFlag(cmd)
	runtime = addRuntimeFlag(cmd)
	format = cmd.Flags().String("log-format", "auto", "text, json, or auto: text on a terminal, json otherwise")
	level = cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	return cmd
}

// runDaemon puts the two halves and the control socket together and runs them
// until a signal ends the daemon. The elector ends first: while it hands over,
// the director goes on serving.
func runDaemon(ctx context.Context, path, name, runtime string, log *slog.Logger) error {
	load := func() (*configs.Config, error) { return configs.Load(path, name) }
	config, err := load()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(runtime, 0o755); err != nil {
		return fmt.Errorf("making the runtime folder: %w", err)
	}
	network, err := vip.Open()
	if err != nil {
		return err
	}
	defer network.Close()

	var serving *director.Director
	electing, err := elector.New(elector.Options{
		Network:   network,
		Open:      vrrp.Listen,
		Announcer: vip.NewAnnouncer(vip.AnnouncerOptions{Link: network.Link, Log: log}),
		OnTransition: func(instance string, t vrrp.Transition) {
			serving.SetMaster(instance, t.To == vrrp.Master)
		},
		StateFile: addressState(runtime),
		Log:       log,
	})
	if err != nil {
		return err
	}
	serving, err = director.New(config, director.Options{
		Load:         load,
		Configure:    electing.Configure,
		OpenIPVS:     func() (ipvs.Kernel, error) { return ipvs.Open() },
		OpenHandover: func() (director.Handover, error) { return ipvs.OpenHandover() },

		CheckSchedulers: ipvs.CheckSchedulers,

		StateFile: serviceState(runtime),
		Log:       log,
	})
	if err != nil {
		return err
	}
	server, err := control.Listen(socketPath(runtime), control.Options{
		Version:  versionString(),
		Elector:  electing,
		Director: serving,
		Log:      log,
	})
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)

	g, ctx := errgroup.WithContext(ctx)
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	g.Go(func() error {
		defer stopRest()
		return electing.Run(ctx)
	})
	g.Go(func() error { return serving.Run(rest) })
	g.Go(func() error { return server.Run(rest) })
	g.Go(func() error {
		for {
			select {
			case <-hangup:
				notify(log, daemon.SdNotifyReloading)
				_ = serving.Reload(rest) // the director has logged why it was refused
				notify(log, daemon.SdNotifyReady)
			case <-ctx.Done():
				stop() // a second signal ends the daemon at once
				notify(log, daemon.SdNotifyStopping)
				return nil
			}
		}
	})
	log.Info("lvsd started", "version", versionString(), "director", config.Director.Name, "config", path,
		"instances", len(config.Instances), "services", len(config.Services))
	notify(log, daemon.SdNotifyReady)
	err = g.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("lvsd ended")
	return nil
}

// notify tells systemd how the daemon is, if it runs under systemd.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling systemd", "state", state, "error", err)
	}
}
