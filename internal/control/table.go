package control

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lvsd/internal/director"
)

// Write prints a status for people. Durations are relative to now.
func Write(w io.Writer, s Status, now time.Time) error {
	p := &printer{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), now: now}
	p.row("director %s, lvsd %s, pid %d, up %s", s.Director, s.Version, s.PID, p.ago(s.StartedAt))
	p.row("configuration %s, loaded %s ago", s.Config.File, p.ago(s.Config.LoadedAt))
	if len(s.Directors) > 1 {
		p.row("")
		p.row("DIRECTOR\tADDRESS\tPRIORITY")
		for _, d := range s.Directors {
			self := ""
			if d.Name == s.Director {
				self = " (this one)"
			}
			p.row("%s\t%s\t%d%s", d.Name, orDash(d.Address), d.Priority, self)
		}
	}
	if len(s.Instances) > 0 {
		p.row("")
		p.row("INSTANCE\tINTERFACE\tVRID\tPRIORITY\tSTATE\tSINCE\tREASON\tADDRESSES")
		for _, i := range s.Instances {
			var addresses []string
			for _, a := range i.Addresses {
				mark := ""
				if a.Held {
					mark = "*"
				}
				addresses = append(addresses, a.Address+mark)
			}
			priority := strconv.Itoa(int(i.Priority))
			if i.EffectivePriority != i.Priority {
				priority += fmt.Sprintf(" (%d)", i.EffectivePriority)
			}
			reason := i.Reason
			if i.Waiting != "" {
				reason += "; " + i.Waiting
			}
			p.row("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", i.Name, i.Interface, i.VRID, priority, i.State,
				p.ago(i.Since), reason, strings.Join(addresses, " "))
		}
	}
	for _, service := range s.Services {
		p.row("")
		p.row("SERVICE\tPROTOCOL\tSCHEDULER\tSTATE\tLISTEN")
		p.row("%s\t%s\t%s\t%s\t%s", service.Name, service.Protocol, service.Scheduler, service.State, strings.Join(service.Listen, " "))
		p.flush()
		p.row("  REAL SERVER\tSTATE\tSINCE\tFORWARD\tWEIGHT\tKERNEL\tACTIVE\tINACTIVE\tREASON")
		for _, real := range service.RealServers {
			for n, d := range real.Destinations {
				state, since, reason := real.State, p.ago(real.Since), real.Reason
				if n > 0 {
					state, since, reason = "", "", ""
				}
				p.destination(d, state, since, reason)
			}
		}
		for _, d := range service.Sorry {
			p.destination(d, "sorry", "-", "no real server is up")
		}
		p.flush()
	}
	if len(s.Problems) > 0 {
		p.row("")
		for _, problem := range s.Problems {
			p.row("PROBLEM: %s", problem)
		}
	}
	p.flush()
	return p.err
}

// printer writes aligned rows and keeps the first error.
type printer struct {
	w   *tabwriter.Writer
	now time.Time
	err error
}

func (p *printer) row(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format+"\n", args...); err != nil && p.err == nil {
		p.err = err
	}
}

// flush ends a block of aligned rows.
func (p *printer) flush() {
	if err := p.w.Flush(); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *printer) destination(d director.Destination, state, since, reason string) {
	p.row("  %s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s", d.Address, state, since, d.Forward,
		orAbsent(d.Weight), orAbsent(d.KernelWeight), d.ActiveConnections, d.InactiveConnections, reason)
}

// ago is how long ago t was, in whole seconds.
func (p *printer) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return p.now.Sub(t).Truncate(time.Second).String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orAbsent(weight *int) string {
	if weight == nil {
		return "-"
	}
	return strconv.Itoa(*weight)
}
