package director

import (
	"context"
	"fmt"
	"maps"

	"lvsd/configs"
	"lvsd/health"
)

// tell tells the elector what has changed of what it needs to know.
func (d *Director) tell() {
	now := report{notReady: d.notReady(), findings: d.trackers.findings()}
	for _, t := range tracksOf(d.model.config) {
		if t.Service != "" {
			now.findings[t.Key()] = d.findService(t.Service)
		}
	}
	if d.told != nil && d.told.notReady == now.notReady && maps.Equal(d.told.findings, now.findings) {
		return
	}
	d.told = &now
	d.options.Report(now.notReady, now.findings)
}

// report is what the elector needs to know: why this director does not serve yet,
// and what was found out about what is tracked, by the keys of the tracks.
type report struct {
	notReady string
	findings map[string]configs.Finding
}

// tracksOf lists what the instances track.
func tracksOf(config *configs.Config) []configs.Track {
	var all []configs.Track
	for _, i := range config.Instances {
		all = append(all, i.Track...)
	}
	return all
}

// findService says whether any real server of a service is in service here. One
// that is yet to be checked counts as if it were.
func (d *Director) findService(name string) configs.Finding {
	for _, s := range d.model.config.Services {
		if s.Name != name {
			continue
		}
		if served, awaited := served(d.model, s); served || awaited {
			return configs.Finding{Up: true}
		}
	}
	return configs.Finding{Reason: "no real server is up"}
}

// notReady says why a takeover should wait, when this director has just been
// started: not all checks have a first verdict, or the kernel's table is not yet
// in place.
func (d *Director) notReady() string {
	if d.ready {
		return ""
	}
	waiting := 0
	for _, v := range d.model.verdicts {
		if v.State == health.Unknown {
			waiting++
		}
	}
	switch {
	case waiting > 0:
		return fmt.Sprintf("%d checks have no verdict yet", waiting)
	case d.table == nil:
		d.ready = true
		return ""
	}
	if !d.awaited {
		d.awaited = true
		d.await()
	}
	return "the IPVS table is not yet in place"
}

// awaitTable waits until the table that is planned is in the kernel.
func (d *Director) awaitTable(ctx context.Context) {
	if d.table.Applied(ctx) == nil {
		d.mailbox.put(tableApplied{})
	}
}
