package elector

import (
	"cmp"
	"fmt"
	"strings"

	"lvsd/configs"
	"lvsd/vrrp"
)

// standing is what all that is tracked makes of an instance.
type standing struct {
	priority uint8
	fault    string // "" if there is none
	unknown  string // what nothing is known of yet, "" if all is
}

// weigh returns the standing of an instance. It is pure. The effective priority
// stays within 1 to 254, and the owner's 255 never changes.
func weigh(priority uint8, tracks []configs.Track, find func(configs.Track) (configs.Finding, bool)) standing {
	s := standing{priority: priority}
	sum := int(priority)
	var faults []string
	for _, t := range tracks {
		f, known := find(t)
		switch {
		case !known:
			s.unknown = cmp.Or(s.unknown, t.String())
		case t.File != "":
			add := f.Number * t.Weight
			if add <= -vrrp.PriorityOwner+1 {
				faults = append(faults, fmt.Sprintf("%s says %d", t, f.Number))
			}
			sum += min(add, vrrp.PriorityOwner-2)
		case t.Weight == 0 && !f.Up:
			faults = append(faults, fmt.Sprintf("%s is down: %s", t, f.Reason))
		case t.Weight > 0 && f.Up, t.Weight < 0 && !f.Up:
			sum += t.Weight
		}
	}
	if priority != vrrp.PriorityOwner {
		s.priority = uint8(max(1, min(sum, vrrp.PriorityOwner-1)))
	}
	s.fault = strings.Join(faults, "; ")
	return s
}
