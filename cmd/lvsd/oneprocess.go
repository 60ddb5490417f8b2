package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"lvsd/configs"
	"lvsd/internal/control"
	"lvsd/internal/director"
	"lvsd/vip"
	"lvsd/vrrp"
)

// runOneProcess puts the two halves and the control socket together in this
// process and runs them until a signal ends the daemon. The elector ends first:
// while it hands over, the director goes on serving.
func runOneProcess(ctx context.Context, f runFlags, log *slog.Logger) error {
	config, err := f.load()
	if err != nil {
		return err
	}
	network, err := vip.Open()
	if err != nil {
		return err
	}
	defer network.Close()

	var serving *director.Director
	electing, err := newElector(network, *f.runtime, func(instance string, t vrrp.Transition) {
		serving.SetMaster(instance, t.To == vrrp.Master)
	}, nil, log)
	if err != nil {
		return err
	}
	serving, err = newDirector(config, f.load, *f.runtime, electing.Configure, electing.SetReport, nil, log)
	if err != nil {
		return err
	}
	server, err := control.Listen(socketPath(*f.runtime), control.Options{
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
	watchdog, stopWatchdog := watchdogTicks(log)
	defer stopWatchdog()
	g.Go(func() error {
		for {
			select {
			case <-watchdog:
				notify(log, daemon.SdNotifyWatchdog)
			case <-rest.Done():
				return nil
			}
		}
	})
	logStart(log, "lvsd started", config)
	notify(log, daemon.SdNotifyReady)
	err = g.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("lvsd ended")
	return nil
}

// logStart says what has been started.
func logStart(log *slog.Logger, message string, config *configs.Config) {
	log.Info(message, "version", versionString(), "director", config.Director.Name, "config", config.Path,
		"instances", len(config.Instances), "services", len(config.Services))
}
