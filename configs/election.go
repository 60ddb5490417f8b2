package configs

import (
	"fmt"
	"path/filepath"
	"time"

	"lvsd/vrrp"
)

// Defaults of a tracked script, as those of a check.
const (
	defaultScriptInterval = 2 * time.Second
	defaultScriptTimeout  = time.Second
	defaultScriptRise     = 2
	defaultScriptFall     = 3
	defaultScriptUser     = "nobody"
)

// Track is something on which the priority of an instance depends, or whether it
// takes part at all: exactly one of Interface, Script, File and Service is set.
type Track struct {
	Interface string   // up while the interface is
	Script    []string // an absolute path and arguments; up while it ends with status 0
	File      string   // absolute path; holds a number
	Service   string   // up while any real server of it is

	// Weight is added to the priority: while up if it is positive, while down if
	// it is negative. 0 means that the instance is in Fault while down. For a file
	// the number in it is multiplied by Weight, and -254 or less is a Fault.
	Weight int

	// Of a Script.
	Interval, Timeout time.Duration
	Rise, Fall        int
	User              string
}

// Finding is what was found out about a Track.
type Finding struct {
	Up     bool   `json:"up"`
	Number int    `json:"number"` // of a file
	Reason string `json:"reason"` // why it is down, in plain words
}

// String names what is tracked: "interface eth3", "script /usr/local/bin/check".
func (t Track) String() string {
	switch {
	case t.Interface != "":
		return "interface " + t.Interface
	case len(t.Script) > 0:
		return "script " + t.Script[0]
	case t.File != "":
		return "file " + t.File
	default:
		return "service " + t.Service
	}
}

// Key is the same for two tracks that look at the same thing in the same way,
// whatever it weighs.
func (t Track) Key() string {
	t.Weight = 0
	return fmt.Sprintf("%s%q %s %s %d %d %s", t, t.Script, t.Interval, t.Timeout, t.Rise, t.Fall, t.User)
}

// checkElection notes what cannot work in how an instance is elected.
func (b *builder) checkElection(name string, raw *rawInstance) {
	version, ipv6 := vrrp.Version(raw.Version.or(int(vrrp.Version3))), raw.ipv6()
	interval := raw.AdvertInterval
	if version == vrrp.Version2 {
		if ipv6 {
			b.add(raw.Version.at, "version 2: is for IPv4 only: must be 3")
		}
		if interval.good() && (interval.is%time.Second != 0 || interval.is < vrrp.MinInterval2) {
			b.add(interval.at, "advert_interval %q: must be whole seconds in version 2", interval.is)
		}
	} else if interval.good() && interval.is > vrrp.MaxInterval {
		b.add(interval.at, "advert_interval %q: must be 10ms to 40.95s", interval.is)
	}
	if version == vrrp.Version3 && raw.Password.set() {
		b.add(raw.Password.at, "password: does nothing in version 3: must be left out, or version be 2")
	}
	if raw.Password.good() && raw.Password.is == "" {
		b.add(raw.Password.at, `password "": must be left out or not be empty`)
	}
	if raw.Checksum.good() && (version == vrrp.Version2 || ipv6) {
		b.add(raw.Checksum.at, "checksum %q: does nothing in version 2 and for IPv6: must be left out", raw.Checksum.is)
	}
	if raw.PreemptDelay.or(0) > 0 && !raw.Preempt.or(true) {
		b.add(raw.PreemptDelay.at, "preempt_delay: does nothing with preempt = false: must be left out, or preempt be true")
	}
	if raw.Unicast.or(false) {
		b.checkUnicast(raw, ipv6)
	}
	if g := raw.Group; g.good() {
		b.checkGroup(name, g)
	}
	for _, t := range raw.Track {
		if t != nil {
			b.checkTrack(t)
		}
	}
}

// ipv6 says whether the advertised addresses are IPv6.
func (i *rawInstance) ipv6() bool { return i.advertises().Is6() }

// checkUnicast notes directors that the others could not reach.
func (b *builder) checkUnicast(raw *rawInstance, ipv6 bool) {
	if len(b.directors) < 2 {
		b.add(raw.Unicast.at, "unicast: needs the addresses of all directors: must be two [director.NAME] tables or more")
	}
	for _, name := range sortedKeys(b.directors) {
		d := b.directors[name]
		switch {
		case !d.Address.set():
			b.add(d.at, "address is missing: must be set, since %s is unicast (%s)", raw.at.table, raw.Unicast.at)
		case d.Address.good() && d.Address.is.Is6() != ipv6:
			b.add(d.Address.at, "address %q: must be of the family of the addresses of %s, which is unicast (%s)", d.Address.is, raw.at.table, raw.Unicast.at)
		}
	}
}

// checkGroup notes a group of one.
func (b *builder) checkGroup(name string, group value[string]) {
	if right := wrongName(group.is); right != "" {
		b.add(group.at, "group %s: %s", show(group.is), right)
		return
	}
	for other, raw := range b.instances {
		if other != name && raw.Group.or("") == group.is {
			return
		}
	}
	b.add(group.at, "group %q: no other instance is in it: must be the same name on all that move together", group.is)
}

// checkTrack notes what cannot be tracked.
func (b *builder) checkTrack(t *rawTrack) {
	b.checkInterface(t.Interface)
	n := 0
	for _, set := range []bool{t.Interface.set(), len(t.Script) > 0, t.File.set(), t.Service.set()} {
		if set {
			n++
		}
	}
	if n != 1 {
		b.add(t.at, "must have exactly one of interface, script, file and service")
	}
	if t.Service.good() && b.services[t.Service.is] == nil {
		b.add(t.Service.at, "service %s: there is no such service: %s", show(t.Service.is), suggest(t.Service.is, sortedKeys(b.services)))
	}
	if t.File.good() && !filepath.IsAbs(t.File.is) {
		b.add(t.File.at, "file %s: must be an absolute path", show(t.File.is))
	}
	if t.File.good() && t.Weight.good() && t.Weight.is == 0 {
		b.add(t.Weight.at, "weight 0: must be left out or not be 0, since the number in the file is multiplied by it")
	}
	if len(t.Script) > 0 {
		if s := t.Script[0]; s.good() && !filepath.IsAbs(s.is) {
			b.add(s.at, "script %s: must be an absolute path, with its arguments as further elements", show(s.is))
		}
		if t.Timeout.or(defaultScriptTimeout) > t.Interval.or(defaultScriptInterval) {
			b.add(t.at, "timeout %s: must be at most the interval, %s", t.Timeout.or(defaultScriptTimeout), t.Interval.or(defaultScriptInterval))
		}
		return
	}
	for key, at := range map[string]place{
		"interval": t.Interval.at, "timeout": t.Timeout.at, "rise": t.Rise.at, "fall": t.Fall.at, "user": t.User.at,
	} {
		if at.line > 0 {
			b.add(at, "%s: does nothing without a script: must be left out", key)
		}
	}
}

// elect fills in how an instance is elected on one director.
func (i *rawInstance) elect(instance *Instance, d *rawDirector, directors map[string]*rawDirector) {
	instance.Version = vrrp.Version(i.Version.or(int(vrrp.Version3)))
	instance.Password = i.Password.or("")
	instance.PreemptDelay = i.PreemptDelay.or(0)
	instance.Group = i.Group.or("")
	switch i.Checksum.or("auto") {
	case "pseudo-header":
		instance.Checksum = vrrp.ChecksumAlwaysPseudoHeader
	case "rfc9568":
		instance.Checksum = vrrp.ChecksumAlwaysMessage
	}
	if i.Unicast.or(false) {
		instance.Source = d.Address.is
		for _, name := range sortedKeys(directors) {
			if other := directors[name]; other != d {
				instance.Peers = append(instance.Peers, other.Address.is)
			}
		}
	}
	for _, t := range i.Track {
		if t != nil { // it was no table
			instance.Track = append(instance.Track, t.build())
		}
	}
}

func (t *rawTrack) build() Track {
	track := Track{Interface: t.Interface.is, File: t.File.is, Service: t.Service.is, Weight: t.Weight.or(0)}
	if t.File.set() {
		track.Weight = t.Weight.or(1)
	}
	for _, word := range t.Script {
		track.Script = append(track.Script, word.is)
	}
	if len(track.Script) > 0 {
		track.Interval, track.Timeout = t.Interval.or(defaultScriptInterval), t.Timeout.or(defaultScriptTimeout)
		track.Rise, track.Fall = t.Rise.or(defaultScriptRise), t.Fall.or(defaultScriptFall)
		track.User = t.User.or(defaultScriptUser)
	}
	return track
}
