package vrrp

import (
	"fmt"
	"time"
)

// Timer names one of the timers that a Machine has its runner keep.
type Timer uint8

const (
	// AdvertTimer is the Adver_Timer of RFC 9568: the Master's next advertisement is due.
	AdvertTimer Timer = iota
	// DownTimer is the Active_Down_Timer of RFC 9568: the Backup has not heard the Master for too long.
	DownTimer
	// ReleaseTimer ends the time in which a router that is Master no more still answers for the addresses.
	ReleaseTimer
	// HandoverTimer runs while a Master that shuts down waits for its successor.
	HandoverTimer
	// ReplyTimer holds back further answers to routers that lose against this Master.
	ReplyTimer
	// RivalTimer runs while another router may be Master too.
	RivalTimer
	// PreemptTimer runs while a Backup bears with a Master of lower priority.
	PreemptTimer

	timers // how many there are
)

// String returns the name of the timer.
func (t Timer) String() string {
	switch t {
	case AdvertTimer:
		return "advert"
	case DownTimer:
		return "down"
	case ReleaseTimer:
		return "release"
	case HandoverTimer:
		return "handover"
	case ReplyTimer:
		return "reply"
	case RivalTimer:
		return "rival"
	case PreemptTimer:
		return "preempt"
	}
	return fmt.Sprintf("timer %d", uint8(t))
}

const (
	// maxLinger bounds the time in which a former Master still answers for the addresses, for packets on the way
	// to it and for successors that advertise first and put the addresses on later, as keepalived does.
	maxLinger = 100 * time.Millisecond
	// minHandover is how long a Master that shuts down waits at least after its second priority 0: at intervals of
	// a few milliseconds the successor may be a busy machine that is late by many of them.
	minHandover = 500 * time.Millisecond
	// replyPause lies between two answers to routers that lose against this Master: ten a second.
	replyPause = 100 * time.Millisecond
)

// skewTime is the Skew_Time: in version 3 (256 - Priority) * Active_Adver_Interval / 256, RFC 9568, section 6.1, in
// version 2 (256 - Priority) / 256 seconds whatever the interval, RFC 3768, section 6.1. It is exact to the nanosecond,
// so that neighbouring priorities never fall together.
func skewTime(v Version, priority uint8, interval time.Duration) time.Duration {
	if v == Version2 {
		interval = time.Second
	}
	return time.Duration(256-int(priority)) * interval / 256
}

// masterDownInterval is the Active_Down_Interval of RFC 9568, section 6.1: 3 * Active_Adver_Interval + Skew_Time.
func masterDownInterval(v Version, priority uint8, interval time.Duration) time.Duration {
	return 3*interval + skewTime(v, priority, interval)
}
