package main

import (
	"log/slog"

	"lvsd/configs"
	"lvsd/internal/director"
	"lvsd/internal/elector"
	"lvsd/ipvs"
	"lvsd/vip"
	"lvsd/vrrp"
)

// newElector puts an elector together. The caller closes the network after its
// end.
func newElector(network *vip.Linux, runtime string, onTransition func(string, vrrp.Transition), alive func(), log *slog.Logger) (*elector.Elector, error) {
	return elector.New(elector.Options{
		Network:      network,
		Open:         vrrp.Listen,
		Announcer:    vip.NewAnnouncer(vip.AnnouncerOptions{Link: network.Link, Log: log}),
		OnTransition: onTransition,
		StateFile:    addressState(runtime),
		HoldFile:     holdState(runtime),
		Alive:        alive,
		Log:          log,
	})
}

// newDirector puts a director together.
func newDirector(config *configs.Config, load func() (*configs.Config, error), runtime string, configure func([]configs.Instance), report func(string, map[string]configs.Finding), alive func(), log *slog.Logger) (*director.Director, error) {
	return director.New(config, director.Options{
		Load:            load,
		Configure:       configure,
		Report:          report,
		OpenIPVS:        func() (ipvs.Kernel, error) { return ipvs.Open() },
		CheckSchedulers: ipvs.CheckSchedulers,
		OpenHandover:    func() (director.Handover, error) { return ipvs.OpenHandover() },
		StateFile:       serviceState(runtime),
		Alive:           alive,
		Log:             log,
	})
}
