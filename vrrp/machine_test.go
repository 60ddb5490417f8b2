package vrrp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/vrrp"
)

const (
	second = time.Second
	ms     = time.Millisecond
	us     = time.Microsecond

	// Of priority 100 and an interval of one second.
	skew = 609375 * us
	down = 3*second + skew
)

// suspicion is what follows an advertisement of a router that loses, or leaves, while this one is Master.
func suspicion(priority uint8) vrrp.Action {
	return vrrp.Arm{Timer: vrrp.RivalTimer, After: vrrp.MasterDownInterval(priority, time.Second)}
}

func heard(priority uint8, n int, interval time.Duration) vrrp.Received {
	return vrrp.Received{
		Advertisement: vrrp.Advertisement{Version: vrrp.Version3, VRID: 51, Priority: priority, Interval: interval, Addresses: vips},
		Source:        host(n),
	}
}

// The router under test has priority 100 and the address 10.99.0.5.
var (
	toBackup = []vrrp.Event{vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{}}
	toMaster = append(toBackup[:2:2], vrrp.Expired{Timer: vrrp.DownTimer})
	adopting = []vrrp.Event{vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{Holding: true}}
	leaving  = append(toMaster[:3:3], vrrp.Shutdown{})
)

func after(events []vrrp.Event, more ...vrrp.Event) []vrrp.Event {
	return append(events[:len(events):len(events)], more...)
}

func changed(change func(*vrrp.Config)) vrrp.Config {
	c := config(100)
	change(&c)
	return c
}

func transition(from, to vrrp.State, reason string) vrrp.Transition {
	return vrrp.Transition{From: from, To: to, Reason: reason}
}

// step is one step of a machine that has lived through given.
type step struct {
	name   string
	config vrrp.Config // the zero one stands for config(100)
	given  []vrrp.Event
	event  vrrp.Event
	want   []vrrp.Action
}

var (
	noPreempt = changed(func(c *vrrp.Config) { c.Preempt = false })
	owner     = changed(func(c *vrrp.Config) { c.Priority = 255 })
	shortly   = changed(func(c *vrrp.Config) { c.Interval = 10 * ms })
)

func TestMachine(t *testing.T) {
	testSteps(t, []step{
		// Initialize
		{
			name: "startup", given: toBackup[:1], event: vrrp.Startup{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}, transition(vrrp.Initialize, vrrp.Backup, "started")},
		},
		{
			name: "startup of the owner (FSM-01)", config: owner, event: vrrp.Startup{},
			want: []vrrp.Action{
				vrrp.Take{},
				vrrp.Send{Priority: 255},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Initialize, vrrp.Master, "started as the owner of the addresses"),
			},
		},
		{
			name: "startup of the owner without preemption (FSM-15)", config: changed(func(c *vrrp.Config) { c.Priority, c.Preempt = 255, false }), event: vrrp.Startup{},
			want: []vrrp.Action{
				vrrp.Take{},
				vrrp.Send{Priority: 255},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Initialize, vrrp.Master, "started as the owner of the addresses"),
			},
		},
		{
			name: "startup with the addresses on the interface", event: vrrp.Startup{Holding: true},
			want: []vrrp.Action{
				vrrp.Arm{Timer: vrrp.DownTimer, After: second + skew},
				transition(vrrp.Initialize, vrrp.Backup, "started with the addresses on the interface"),
			},
		},
		{
			name: "startup in a fault", given: []vrrp.Event{vrrp.Failed{Reason: "cable cut"}}, event: vrrp.Startup{},
			want: []vrrp.Action{transition(vrrp.Initialize, vrrp.Fault, "cable cut")},
		},
		{
			name: "startup in a fault with the addresses", given: []vrrp.Event{vrrp.Failed{Reason: "cable cut"}}, event: vrrp.Startup{Holding: true},
			want: []vrrp.Action{vrrp.Release{}, transition(vrrp.Initialize, vrrp.Fault, "cable cut")},
		},
		{name: "a fault before startup waits for it", event: vrrp.Failed{Reason: "cable cut"}},
		{name: "an advertisement before startup", event: heard(200, 9, second)},
		{name: "shutdown before startup", event: vrrp.Shutdown{}, want: []vrrp.Action{vrrp.Done{}}},
		{name: "startup after shutdown", given: []vrrp.Event{vrrp.Shutdown{}}, event: vrrp.Startup{}},
		{name: "startup twice", given: toBackup, event: vrrp.Startup{}},

		// Backup
		{
			name: "noticed so late that the master may have been frozen, too", given: after(toBackup, heard(200, 9, second)), event: vrrp.Expired{Timer: vrrp.DownTimer, Late: second + 1},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 2*second + 1}},
		},
		{
			name: "which then speaks", given: after(toBackup, heard(200, 9, second), vrrp.Expired{Timer: vrrp.DownTimer, Late: second + 1}), event: heard(200, 9, second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}},
		},
		{
			name: "no master heard (FSM-04)", given: toBackup, event: vrrp.Expired{Timer: vrrp.DownTimer},
			want: []vrrp.Action{
				vrrp.Take{},
				vrrp.Send{Priority: 100},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Backup, vrrp.Master, "no master heard"),
			},
		},
		{
			name: "shutdown as backup (FSM-05)", given: toBackup, event: vrrp.Shutdown{},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.DownTimer}, transition(vrrp.Backup, vrrp.Initialize, "shutdown"), vrrp.Done{}},
		},
		{name: "priority 0 (FSM-07)", given: toBackup, event: heard(0, 9, second), want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: skew}}},
		{
			name: "priority 0 after a learned interval (FSM-08)", given: after(toBackup, heard(200, 9, 40950*ms)), event: heard(0, 9, 40950*ms),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 24953906250}},
		},
		{
			name: "a better router after priority 0 (FSM-10)", given: after(toBackup, heard(0, 9, second)), event: heard(200, 8, second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}},
		},
		{name: "higher priority", given: toBackup, event: heard(101, 9, second), want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}}},
		{name: "equal priority (FSM-11)", given: toBackup, event: heard(100, 1, second), want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}}},
		{name: "lower priority (FSM-12)", given: toBackup, event: heard(99, 9, second)},
		{name: "lower priority without preemption (FSM-13)", config: noPreempt, given: toBackup, event: heard(1, 9, second), want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}}},
		{
			name: "another interval is learned (TMR-06)", given: toBackup, event: heard(200, 9, 2*second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 2 * down}},
		},
		{
			name: "a shorter interval is learned (TMR-08)", given: after(toBackup, heard(200, 9, 2*second)), event: heard(200, 9, 100*ms),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 360937500}},
		},
		{
			name: "an owner that has yielded hears lower priorities", config: changed(func(c *vrrp.Config) { c.Priority, c.Preempt = 255, false }),
			given: []vrrp.Event{vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{}, heard(255, 9, second)}, event: heard(254, 9, second),
		},
		{
			name: "an owner that has yielded hears the other resign (FSM-24)", config: owner,
			given: []vrrp.Event{vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{}, heard(255, 9, second)}, event: heard(0, 9, second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: second / 256}},
		},
		{
			name: "a fault as backup", given: toBackup, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.DownTimer}, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},
		{name: "a stale advertisement timer as backup", given: toBackup, event: vrrp.Expired{Timer: vrrp.AdvertTimer}},
		{name: "recovery without a fault", given: toBackup, event: vrrp.Recovered{}},

		// Backup that found the addresses
		{
			name: "adoption ends in mastership", given: adopting, event: vrrp.Expired{Timer: vrrp.DownTimer},
			want: []vrrp.Action{
				vrrp.Take{},
				vrrp.Send{Priority: 100},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Backup, vrrp.Master, "no master heard"),
			},
		},
		{
			name: "adoption meets a better master", given: adopting, event: heard(200, 9, second),
			want: []vrrp.Action{
				vrrp.Shift{Timer: vrrp.DownTimer, By: 2 * second},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down},
			},
		},
		{
			name: "adoption meets a master that will be preempted", given: adopting, event: heard(50, 9, second),
			want: []vrrp.Action{
				vrrp.Shift{Timer: vrrp.DownTimer, By: 2 * second},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
			},
		},
		{
			name: "adoption hears the second advertisement", given: after(adopting, heard(200, 9, second)), event: heard(200, 9, second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}},
		},
		{name: "adoption hears the master resign", given: adopting, event: heard(0, 9, second), want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: skew}}},
		{name: "adoption lets go", given: after(adopting, heard(200, 9, second)), event: vrrp.Expired{Timer: vrrp.ReleaseTimer}, want: []vrrp.Action{vrrp.Release{}}},
		{
			name: "shutdown in adoption", given: adopting, event: vrrp.Shutdown{},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.DownTimer}, transition(vrrp.Backup, vrrp.Initialize, "shutdown"), vrrp.Release{}, vrrp.Done{}},
		},
		{
			name: "a fault in adoption", given: adopting, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.DownTimer}, vrrp.Release{}, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},

		// Master
		{
			name: "an advertisement is due", given: toMaster, event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{
			name: "an advertisement is late, but not given up by the others", given: toMaster, event: vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{
			name: "frozen for longer than the others wait (TMR-11)", given: toMaster, event: vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.AdvertTimer, After: down + 1 + skew}},
		},
		{name: "a loser is not answered while listening", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}), event: heard(50, 9, second), want: []vrrp.Action{suspicion(50)}},
		{name: "priority 0 is not answered while listening", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}), event: heard(0, 9, second), want: []vrrp.Action{suspicion(0)}},
		{
			name: "asserting after listening, with a rival", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}, heard(50, 9, second)), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}, vrrp.Announce{}},
		},
		{
			name: "asserting after listening, alone", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{
			name: "the learned interval does not say when the others have given up (TMR-07)", given: after(toBackup, heard(200, 9, 2*second), vrrp.Expired{Timer: vrrp.DownTimer}), event: vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.AdvertTimer, After: down + 1 + skew}},
		},
		{
			name: "nor does an adoption before", given: after(adopting, vrrp.Expired{Timer: vrrp.DownTimer}), event: vrrp.Expired{Timer: vrrp.AdvertTimer, Late: second + skew + 1},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{
			name: "master again, the listening is over", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}, heard(200, 9, second), vrrp.Expired{Timer: vrrp.DownTimer}), event: heard(50, 9, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(50)},
		},
		{
			name: "the rival is forgotten afterwards", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}, heard(50, 9, second), vrrp.Expired{Timer: vrrp.AdvertTimer}), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{
			name: "a better one while listening", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}), event: heard(200, 9, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 200"),
			},
		},
		{
			name: "higher priority as master", given: toMaster, event: heard(101, 9, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 101"),
			},
		},
		{
			name: "higher priority with another interval as master", given: toMaster, event: heard(101, 9, 2*second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100, Interval: 2 * second},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: 2 * down},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 101"),
			},
		},
		{
			name: "higher priority as master without preemption (FSM-16)", config: noPreempt, given: toMaster, event: heard(200, 9, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 200"),
			},
		},
		{
			name: "the linger is no longer than the interval", config: shortly, given: toMaster, event: heard(200, 9, 10*ms),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down / 100},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 10 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 200"),
			},
		},
		{
			name: "equal priority, higher address (FSM-18)", given: toMaster, event: heard(100, 6, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: down},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.6 has the same priority 100 and the higher address"),
			},
		},
		{
			name: "equal priority, lower address (FSM-17)", given: toMaster, event: heard(100, 4, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(100)},
		},
		{
			name: "lower priority as master (FSM-20)", given: toMaster, event: heard(1, 9, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(1)},
		},
		{
			name: "priority 0 as master (FSM-22)", given: toMaster, event: heard(0, 9, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 100},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				vrrp.Announce{},
				vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms},
				suspicion(0),
			},
		},
		{name: "a second loser at once (RX-43)", given: after(toMaster, heard(1, 9, second)), event: heard(2, 8, second), want: []vrrp.Action{suspicion(2)}},
		{name: "a second resignation at once (RX-43)", given: after(toMaster, heard(0, 9, second)), event: heard(0, 9, second), want: []vrrp.Action{suspicion(0)}},
		{name: "the pause after an answer ends", given: after(toMaster, heard(1, 9, second)), event: vrrp.Expired{Timer: vrrp.ReplyTimer}},
		{
			name: "a second loser after the pause", given: after(toMaster, heard(1, 9, second), vrrp.Expired{Timer: vrrp.ReplyTimer}), event: heard(2, 8, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(2)},
		},
		{
			name: "two owners, the other address is lower (FSM-23)", config: owner, given: toBackup, event: heard(255, 4, second),
			want: []vrrp.Action{vrrp.Send{Priority: 255}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(255)},
		},
		{
			name: "two owners, the other address is higher (FSM-23)", config: owner, given: toBackup, event: heard(255, 6, second),
			want: []vrrp.Action{
				vrrp.Send{Priority: 255},
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256},
				vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms},
				transition(vrrp.Master, vrrp.Backup, "10.99.0.6 has the same priority 255 and the higher address"),
			},
		},
		{
			name: "shutdown as master (FSM-06)", given: toMaster, event: vrrp.Shutdown{},
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Send{Priority: 0},
				vrrp.Arm{Timer: vrrp.HandoverTimer, After: second},
				transition(vrrp.Master, vrrp.Initialize, "shutdown"),
			},
		},
		{
			name: "a fault as master", given: toMaster, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Send{Priority: 0},
				vrrp.Release{},
				transition(vrrp.Master, vrrp.Fault, "cable cut"),
			},
		},
		{name: "a stale down timer as master", given: toMaster, event: vrrp.Expired{Timer: vrrp.DownTimer}},
		{name: "a stale release timer as master", given: toMaster, event: vrrp.Expired{Timer: vrrp.ReleaseTimer}},
		{name: "a stale handover timer as master", given: toMaster, event: vrrp.Expired{Timer: vrrp.HandoverTimer}},

		// After Master
		{name: "the linger ends", given: after(toMaster, heard(200, 9, second)), event: vrrp.Expired{Timer: vrrp.ReleaseTimer}, want: []vrrp.Action{vrrp.Release{}}},
		{
			name: "master again within the linger", given: after(toMaster, heard(200, 9, second), heard(0, 9, second)), event: vrrp.Expired{Timer: vrrp.DownTimer},
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.ReleaseTimer},
				vrrp.Take{},
				vrrp.Send{Priority: 100},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Backup, vrrp.Master, "10.99.0.9 resigned"),
			},
		},
		{
			name: "shutdown within the linger", given: after(toMaster, heard(200, 9, second)), event: vrrp.Shutdown{},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.DownTimer}, transition(vrrp.Backup, vrrp.Initialize, "shutdown")},
		},
		{
			name: "the linger ends after shutdown", given: after(toMaster, heard(200, 9, second), vrrp.Shutdown{}), event: vrrp.Expired{Timer: vrrp.ReleaseTimer},
			want: []vrrp.Action{vrrp.Release{}, vrrp.Done{}},
		},
		{
			name: "a fault within the linger", given: after(toMaster, heard(200, 9, second)), event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.DownTimer},
				vrrp.Cancel{Timer: vrrp.ReleaseTimer},
				vrrp.Release{},
				transition(vrrp.Backup, vrrp.Fault, "cable cut"),
			},
		},
		{
			name: "the learned interval does not survive mastership (TMR-07)", given: after(toBackup, heard(200, 9, 2*second), vrrp.Expired{Timer: vrrp.DownTimer}), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},

		// Handing over
		{
			name: "the successor is heard", given: leaving, event: heard(50, 9, second),
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.HandoverTimer}, vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms}},
		},
		{name: "the successor is heard again", given: after(leaving, heard(50, 9, second)), event: heard(50, 9, second)},
		{name: "somebody else resigns", given: leaving, event: heard(0, 9, second)},
		{name: "the linger after the successor ends", given: after(leaving, heard(50, 9, second)), event: vrrp.Expired{Timer: vrrp.ReleaseTimer}, want: []vrrp.Action{vrrp.Release{}, vrrp.Done{}}},
		{
			name: "no successor after an interval", given: leaving, event: vrrp.Expired{Timer: vrrp.HandoverTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 0}, vrrp.Arm{Timer: vrrp.HandoverTimer, After: second}},
		},
		{
			name: "no successor after an interval of 10 ms", config: shortly, given: leaving, event: vrrp.Expired{Timer: vrrp.HandoverTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 0}, vrrp.Arm{Timer: vrrp.HandoverTimer, After: 500 * ms}},
		},
		{name: "no successor after two intervals", given: after(leaving, vrrp.Expired{Timer: vrrp.HandoverTimer}), event: vrrp.Expired{Timer: vrrp.HandoverTimer}, want: []vrrp.Action{vrrp.Release{}, vrrp.Done{}}},
		{
			name: "the successor is heard after the repeat", given: after(leaving, vrrp.Expired{Timer: vrrp.HandoverTimer}), event: heard(50, 9, second),
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.HandoverTimer}, vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms}},
		},
		{name: "shutdown twice", given: leaving, event: vrrp.Shutdown{}},
		{
			name: "a fault while handing over", given: leaving, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.HandoverTimer}, vrrp.Cancel{Timer: vrrp.ReleaseTimer}, vrrp.Release{}, vrrp.Done{}},
		},

		// Fault
		{name: "an advertisement in a fault", given: after(toBackup, vrrp.Failed{Reason: "cable cut"}), event: heard(200, 9, second)},
		{name: "another reason", given: after(toBackup, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Failed{Reason: "no address"}},
		{
			name: "recovery", given: after(toMaster, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}, transition(vrrp.Fault, vrrp.Backup, "recovered")},
		},
		{
			name: "recovery after a learned interval", given: after(toBackup, heard(200, 9, 2*second), vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: down}, transition(vrrp.Fault, vrrp.Backup, "recovered")},
		},
		{
			name: "recovery of the owner", config: owner, given: after(toBackup, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{
				vrrp.Take{},
				vrrp.Send{Priority: 255},
				vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
				transition(vrrp.Fault, vrrp.Master, "recovered as the owner of the addresses"),
			},
		},
		{
			name: "shutdown in a fault", given: after(toBackup, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Shutdown{},
			want: []vrrp.Action{transition(vrrp.Fault, vrrp.Initialize, "shutdown"), vrrp.Done{}},
		},

		// Configure
		{name: "the same configuration as backup (FSM-31)", given: toBackup, event: vrrp.Configure{Config: config(100)}},
		{name: "the same configuration as master (FSM-31)", given: toMaster, event: vrrp.Configure{Config: config(100)}},
		{
			name: "a higher priority as backup (TMR-16)", given: toBackup, event: vrrp.Configure{Config: config(200)},
			want: []vrrp.Action{vrrp.Shift{Timer: vrrp.DownTimer, By: -390625 * us}},
		},
		{
			name: "a lower priority as backup of a slower master", given: after(toBackup, heard(200, 9, 2*second)), event: vrrp.Configure{Config: config(50)},
			want: []vrrp.Action{vrrp.Shift{Timer: vrrp.DownTimer, By: 390625 * us}},
		},
		{
			name: "another interval as backup, nobody heard", given: toBackup, event: vrrp.Configure{Config: shortly},
			want: []vrrp.Action{vrrp.Shift{Timer: vrrp.DownTimer, By: down/100 - down}},
		},
		{name: "another interval as backup of a master", given: after(toBackup, heard(200, 9, second)), event: vrrp.Configure{Config: shortly}},
		{name: "another priority as master (FSM-32)", given: toMaster, event: vrrp.Configure{Config: config(200)}},
		{
			name: "which is in the next advertisement", given: after(toMaster, vrrp.Configure{Config: config(200)}), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 200}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}},
		},
		{name: "another interval as master (FSM-32)", given: toMaster, event: vrrp.Configure{Config: shortly}},
		{
			name: "which counts from the next advertisement", given: after(toMaster, vrrp.Configure{Config: shortly}), event: vrrp.Expired{Timer: vrrp.AdvertTimer},
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: 10 * ms}},
		},
		{name: "another address as master (FSM-32)", given: toMaster, event: vrrp.Configure{Config: changed(func(c *vrrp.Config) { c.Addresses = vips[:1] })}, want: []vrrp.Action{vrrp.Take{}}},
		{name: "another address as backup", given: toBackup, event: vrrp.Configure{Config: changed(func(c *vrrp.Config) { c.Addresses = vips[:1] })}},
		{name: "another source as master", given: toMaster, event: vrrp.SourceChanged{Source: host(7)}},
		{
			name: "which decides between equals", given: after(toMaster, vrrp.SourceChanged{Source: host(7)}), event: heard(100, 6, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Announce{}, vrrp.Arm{Timer: vrrp.ReplyTimer, After: 100 * ms}, suspicion(100)},
		},
	})
}

func testSteps(t *testing.T, steps []step) {
	t.Helper()
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.config
			if c.VRID == 0 {
				c = config(100)
			}
			m := vrrp.NewMachine(c)
			for _, ev := range tt.given {
				m.Step(ev)
			}
			before := m.State()
			got := m.Step(tt.event)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("actions (-want +got)\n%s", diff)
			}
			after := before
			for _, a := range tt.want {
				if tr, ok := a.(vrrp.Transition); ok {
					after = tr.To
				}
			}
			if m.State() != after {
				t.Errorf("state %s, want %s", m.State(), after)
			}
		})
	}
}

// Why a Backup becomes Master, in plain words.
func TestReasonToBecomeMaster(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given []vrrp.Event
		late  time.Duration
		want  string
	}{
		{name: "nobody was ever heard", given: toBackup, want: "no master heard"},
		{name: "nobody, and that was noticed late", given: toBackup, late: second, want: "no master heard"},
		{name: "nobody since the recovery", given: after(toBackup, heard(200, 9, second), vrrp.Failed{Reason: "cable cut"}, vrrp.Recovered{}), want: "no master heard"},
		{name: "the addresses were there", given: adopting, want: "no master heard"},
		{name: "the addresses were there, but a master, too", given: after(adopting, heard(200, 9, second)), want: "no advertisement from 10.99.0.9 for 3.609s"},
		{name: "the master is silent", given: after(toBackup, heard(200, 9, second)), want: "no advertisement from 10.99.0.9 for 3.609s"},
		{name: "the master is silent, which was noticed late", given: after(toBackup, heard(200, 9, second)), late: second - 375*us, want: "no advertisement from 10.99.0.9 for 4.609s"},
		{
			name: "the master is silent, which was noticed so late that it was given a moment", late: 10 * ms,
			given: after(toBackup, heard(200, 9, second), vrrp.Expired{Timer: vrrp.DownTimer, Late: 2 * second}), want: "no advertisement from 10.99.0.9 for 6.619s",
		},
		{name: "a master with another interval is silent", given: after(toBackup, heard(200, 9, 10*ms)), want: "no advertisement from 10.99.0.9 for 36ms"},
		{name: "the last of two masters is silent", given: after(toBackup, heard(200, 9, second), heard(150, 8, second)), want: "no advertisement from 10.99.0.8 for 3.609s"},
		{name: "the one that this master yielded to is silent", given: after(toMaster, heard(200, 9, second)), want: "no advertisement from 10.99.0.9 for 3.609s"},
		{name: "the master resigned", given: after(toBackup, heard(200, 9, second), heard(0, 9, second)), want: "10.99.0.9 resigned"},
		{name: "a master that was never heard before resigned", given: after(toBackup, heard(0, 9, second)), want: "10.99.0.9 resigned"},
		{name: "it resigned, and a worse one is there before us", given: after(toBackup, heard(0, 9, second), heard(50, 8, second)), want: "10.99.0.9 resigned"},
		{name: "it resigned, and its successor is silent", given: after(toBackup, heard(0, 9, second), heard(200, 8, second)), want: "no advertisement from 10.99.0.8 for 3.609s"},
		{name: "it resigned in adoption", given: after(adopting, heard(0, 9, second)), want: "10.99.0.9 resigned"},
		{name: "the master is worse", given: after(toBackup, heard(99, 9, second)), want: "10.99.0.9 has the lower priority 99"},
		{name: "the master is worse, and there are two", given: after(toBackup, heard(99, 9, second), heard(98, 8, second)), want: "10.99.0.9 has the lower priority 99"},
		{name: "the master became worse", given: after(toBackup, heard(200, 9, second), heard(50, 9, second)), want: "10.99.0.9 has the lower priority 50"},
		{name: "this router became better", given: after(toBackup, heard(150, 9, second), vrrp.Configure{Config: config(200)}, heard(150, 9, second)), want: "10.99.0.9 has the lower priority 150"},
		{name: "the master is silent, and a worse one was heard", given: after(toBackup, heard(200, 9, second), heard(50, 8, second)), want: "no advertisement from 10.99.0.9 for 3.609s"},
		{
			name:  "a worse master that is not preempted is silent",
			given: after(toBackup, vrrp.Configure{Config: changed(func(c *vrrp.Config) { c.Preempt = false })}, heard(50, 9, second)),
			want:  "no advertisement from 10.99.0.9 for 3.609s",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vrrp.NewMachine(config(100))
			for _, ev := range tt.given {
				m.Step(ev)
			}
			actions := m.Step(vrrp.Expired{Timer: vrrp.DownTimer, Late: tt.late})
			if diff := cmp.Diff(transition(vrrp.Backup, vrrp.Master, tt.want), actions[len(actions)-1]); diff != "" {
				t.Errorf("transition (-want +got)\n%s", diff)
			}
		})
	}
}

// Addresses are compared as unsigned numbers in network byte order, RFC 9568, section 6.4.3.
func TestEqualPrioritiesCompareAddressesUnsigned(t *testing.T) {
	for _, tt := range []struct{ own, other string }{
		{"127.255.255.255", "128.0.0.0"},
		{"10.0.0.9", "10.0.0.10"},
		{"10.0.255.1", "10.1.0.0"},
		{"fe80::ff", "fe80::100"},
		{"7fff::", "8000::"},
	} {
		t.Run("FSM-19 "+tt.own+" and "+tt.other, func(t *testing.T) {
			own, other := netip.MustParseAddr(tt.own), netip.MustParseAddr(tt.other)
			for _, yields := range []bool{true, false} {
				m := vrrp.NewMachine(config(100))
				m.Step(vrrp.SourceChanged{Source: own})
				m.Step(vrrp.Startup{})
				m.Step(vrrp.Expired{Timer: vrrp.DownTimer})
				ev := heard(100, 0, second)
				ev.Source = other
				m.Step(ev)
				if got := m.State() == vrrp.Backup; got != yields {
					t.Errorf("%s yields to %s: %v, want %v", own, other, got, yields)
				}
				own, other = other, own
			}
		})
	}
}
