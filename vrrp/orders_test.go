package vrrp_test

import (
	"testing"
	"time"

	"lvsd/vrrp"
)

// becoming is what a machine does to become Master, with what it cancels before.
func becoming(priority uint8, reason string, before ...vrrp.Action) []vrrp.Action {
	return append(before,
		vrrp.Take{},
		vrrp.Send{Priority: priority},
		vrrp.Arm{Timer: vrrp.AdvertTimer, After: second},
		transition(vrrp.Backup, vrrp.Master, reason),
	)
}

var (
	shut = vrrp.Gate{Reason: "the director is not ready"}
	open = vrrp.Gate{}

	downOver   = vrrp.Expired{Timer: vrrp.DownTimer}
	cancelDown = vrrp.Cancel{Timer: vrrp.DownTimer}
	wait       = vrrp.Arm{Timer: vrrp.DownTimer, After: down}
	waitSkew   = vrrp.Arm{Timer: vrrp.DownTimer, After: skew}
	linger     = vrrp.Arm{Timer: vrrp.ReleaseTimer, After: 100 * ms}

	handover       = vrrp.Arm{Timer: vrrp.HandoverTimer, After: second}
	handoverOver   = vrrp.Expired{Timer: vrrp.HandoverTimer}
	cancelHandover = vrrp.Cancel{Timer: vrrp.HandoverTimer}

	leave   = vrrp.StepDown{Reason: "switchover", Resign: true}
	giveWay = vrrp.StepDown{Reason: "another one of the group has given way"}
)

// A gate keeps a Backup from becoming Master; whose turn has come meanwhile becomes it when the gate opens.
func TestMachineAtAGate(t *testing.T) {
	waiting := []vrrp.Event{shut, vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{}, downOver}
	atGate := []vrrp.Event{shut, vrrp.SourceChanged{Source: host(5)}, vrrp.Startup{}}
	testSteps(t, []step{
		{name: "shut before the turn", given: toBackup, event: shut},
		{name: "open before the turn", given: after(toBackup, shut), event: open},
		{name: "the turn at a shut gate", given: after(toBackup, shut), event: downOver},
		{name: "the gate opens", given: after(toBackup, shut, downOver), event: open, want: becoming(100, "no master heard", cancelDown)},
		{name: "shut since before the start", given: waiting, event: open, want: becoming(100, "no master heard", cancelDown)},
		{name: "the gate has another reason", given: waiting, event: vrrp.Gate{Reason: "held back by an operator"}},
		{name: "it opens twice", given: after(waiting, open), event: open},
		{name: "a better master comes while waiting", given: waiting, event: heard(200, 9, second), want: []vrrp.Action{wait}},
		{name: "then the gate opens for nobody", given: after(waiting, heard(200, 9, second)), event: open},
		{
			name: "that one falls silent", given: after(waiting, heard(200, 9, second), downOver), event: open,
			want: becoming(100, "no advertisement from 10.99.0.9 for 3.609s", cancelDown),
		},
		{name: "an equal master comes while waiting", given: waiting, event: heard(100, 9, second), want: []vrrp.Action{wait}},
		{name: "a worse master comes while waiting", given: waiting, event: heard(50, 9, second)},
		{name: "it is replaced when the gate opens", given: after(waiting, heard(50, 9, second)), event: open, want: becoming(100, "no master heard", cancelDown)},
		{name: "a worse master that is not preempted comes while waiting", config: noPreempt, given: waiting, event: heard(50, 9, second), want: []vrrp.Action{wait}},
		{name: "it is left alone when the gate opens", config: noPreempt, given: after(waiting, heard(50, 9, second)), event: open},
		{name: "somebody resigns while waiting", given: waiting, event: heard(0, 9, second), want: []vrrp.Action{waitSkew}},
		{name: "the gate opens within the skew time", given: after(waiting, heard(0, 9, second)), event: open},
		{name: "the gate opens after the skew time", given: after(waiting, heard(0, 9, second), downOver), event: open, want: becoming(100, "10.99.0.9 resigned", cancelDown)},
		{
			name: "the turn over a worse master", given: after(toBackup, shut, heard(50, 9, second), downOver), event: open,
			want: becoming(100, "10.99.0.9 has the lower priority 50", cancelDown),
		},
		{name: "a master at a gate that shuts", given: toMaster, event: shut},
		{name: "goes on", given: after(toMaster, shut), event: vrrp.Expired{Timer: vrrp.AdvertTimer}, want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Arm{Timer: vrrp.AdvertTimer, After: second}}},
		{
			name: "yields to a better one", given: after(toMaster, shut), event: heard(200, 9, second),
			want: []vrrp.Action{vrrp.Send{Priority: 100}, vrrp.Cancel{Timer: vrrp.AdvertTimer}, wait, linger, transition(vrrp.Master, vrrp.Backup, "10.99.0.9 has priority 200")},
		},
		{name: "and waits at the gate then", given: after(toMaster, shut, heard(200, 9, second)), event: downOver},
		{
			name: "a fault while waiting", given: waiting, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{cancelDown, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},
		{name: "the gate opens in a fault", given: after(waiting, vrrp.Failed{Reason: "cable cut"}), event: open},
		{
			name: "after the fault it waits anew", given: after(waiting, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{wait, transition(vrrp.Fault, vrrp.Backup, "recovered")},
		},
		{name: "and not for the turn of before", given: after(waiting, vrrp.Failed{Reason: "cable cut"}, vrrp.Recovered{}), event: open},
		{
			name: "shutdown while waiting", given: waiting, event: vrrp.Shutdown{},
			want: []vrrp.Action{cancelDown, transition(vrrp.Backup, vrrp.Initialize, "shutdown"), vrrp.Done{}},
		},
		{name: "the gate opens after a shutdown", given: after(waiting, vrrp.Shutdown{}), event: open},

		{
			name: "the owner starts at a shut gate", config: owner, given: atGate[:2], event: vrrp.Startup{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}, transition(vrrp.Initialize, vrrp.Backup, "started")},
		},
		{name: "which opens", config: owner, given: atGate, event: open, want: becoming(255, "started as the owner of the addresses", cancelDown)},
		{name: "the owner at a shut gate hears somebody", config: owner, given: atGate, event: heard(254, 9, second)},
		{name: "and replaces it when the gate opens", config: owner, given: after(atGate, heard(254, 9, second)), event: open, want: becoming(255, "started as the owner of the addresses", cancelDown)},
		{
			name: "the owner at a shut gate hears another owner", config: owner, given: atGate, event: heard(255, 9, second),
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}},
		},
		{name: "and leaves that one alone", config: owner, given: after(atGate, heard(255, 9, second)), event: open},
		{
			name: "the owner starts at a shut gate with the addresses", config: owner, given: atGate[:2], event: vrrp.Startup{Holding: true},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}, transition(vrrp.Initialize, vrrp.Backup, "started")},
		},
		{
			name: "the owner recovers at a shut gate", config: owner, given: after(atGate, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}, transition(vrrp.Fault, vrrp.Backup, "recovered")},
		},
		{
			name: "adoption ends at a shut gate", given: []vrrp.Event{shut, vrrp.Startup{Holding: true}}, event: downOver,
		},
		{
			name: "and the addresses stay until it opens", given: []vrrp.Event{shut, vrrp.Startup{Holding: true}, downOver}, event: open,
			want: becoming(100, "no master heard", cancelDown),
		},
	})
}

// A Master that steps down hands over as one that shuts down, but stays.
func TestMachineStepsDown(t *testing.T) {
	left := after(toMaster, leave)
	succeeded := after(left, heard(50, 9, second))
	testSteps(t, []step{
		{
			name: "stepping down", given: toMaster, event: leave,
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.AdvertTimer}, vrrp.Send{Priority: 0}, handover, wait, transition(vrrp.Master, vrrp.Backup, "switchover"),
			},
		},
		{
			name: "stepping down without a word", given: toMaster, event: giveWay,
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.AdvertTimer}, wait, transition(vrrp.Master, vrrp.Backup, "another one of the group has given way")},
		},
		{
			name: "stepping down beside a rival", given: after(toMaster, heard(50, 9, second)), event: leave,
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.AdvertTimer},
				vrrp.Cancel{Timer: vrrp.RivalTimer},
				vrrp.Send{Priority: 0},
				handover, wait,
				transition(vrrp.Master, vrrp.Backup, "switchover"),
			},
		},
		{
			name: "stepping down while listening after a freeze", given: after(toMaster, vrrp.Expired{Timer: vrrp.AdvertTimer, Late: down + 1}), event: leave,
			want: []vrrp.Action{
				vrrp.Cancel{Timer: vrrp.AdvertTimer}, vrrp.Send{Priority: 0}, handover, wait, transition(vrrp.Master, vrrp.Backup, "switchover"),
			},
		},
		{
			name: "stepping down after another interval was learned and forgotten", given: after(toBackup, heard(200, 9, 2*second), downOver), event: giveWay,
			want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.AdvertTimer}, wait, transition(vrrp.Master, vrrp.Backup, "another one of the group has given way")},
		},
		{name: "it is said again after an interval", given: left, event: handoverOver, want: []vrrp.Action{vrrp.Send{Priority: 0}, handover}},
		{name: "and no third time", given: after(left, handoverOver), event: handoverOver},
		{name: "stepping down twice", given: left, event: leave},
		{name: "the successor is heard", given: left, event: heard(50, 9, second), want: []vrrp.Action{cancelHandover, linger, wait}},
		{name: "a better successor is heard", given: left, event: heard(200, 9, second), want: []vrrp.Action{cancelHandover, linger, wait}},
		{name: "the successor is heard after the repeat", given: after(left, handoverOver), event: heard(50, 9, second), want: []vrrp.Action{cancelHandover, linger, wait}},
		{name: "the successor is heard late", given: after(left, handoverOver, handoverOver), event: heard(50, 9, second), want: []vrrp.Action{linger, wait}},
		{name: "the successor of a silent step is heard", given: after(toMaster, giveWay), event: heard(50, 9, second), want: []vrrp.Action{linger, wait}},
		{name: "the successor is heard again", given: succeeded, event: heard(50, 9, second), want: []vrrp.Action{wait}},
		{name: "the addresses go", given: succeeded, event: vrrp.Expired{Timer: vrrp.ReleaseTimer}, want: []vrrp.Action{vrrp.Release{}}},
		{name: "the handover timer was too slow", given: succeeded, event: handoverOver},
		{
			name: "the successor falls silent", given: succeeded, event: downOver,
			want: becoming(100, "no advertisement from 10.99.0.9 for 3.609s", vrrp.Cancel{Timer: vrrp.ReleaseTimer}),
		},
		{name: "the successor resigns", given: succeeded, event: heard(0, 9, second), want: []vrrp.Action{waitSkew}},
		{name: "nobody has taken over", given: after(left, handoverOver, handoverOver), event: downOver, want: becoming(100, "nobody has taken over")},
		{name: "nobody has taken over, and the second word is not over", given: after(left, handoverOver), event: downOver, want: becoming(100, "nobody has taken over", cancelHandover)},
		{name: "nobody has taken over at a shut gate", given: after(left, shut), event: downOver},
		{name: "which opens", given: after(left, handoverOver, handoverOver, shut, downOver), event: open, want: becoming(100, "nobody has taken over", cancelDown)},
		{name: "another one resigns, too", given: left, event: heard(0, 9, second), want: []vrrp.Action{waitSkew}},
		{name: "so nobody has taken over", given: after(left, heard(0, 9, second)), event: downOver, want: becoming(100, "nobody has taken over", cancelHandover)},
		{
			name: "it is master again and replaces others again", given: after(left, downOver, heard(200, 9, second)), event: heard(50, 9, second),
		},

		{name: "a backup that steps down", given: toBackup, event: leave},
		{name: "does not preempt", given: after(toBackup, leave), event: heard(50, 9, second), want: []vrrp.Action{wait}},
		{name: "takes over when the others are gone", given: after(toBackup, leave, heard(50, 9, second)), event: downOver, want: becoming(100, "no advertisement from 10.99.0.9 for 3.609s")},
		{name: "and preempts after that", given: after(toBackup, leave, downOver, heard(200, 9, second)), event: heard(50, 9, second)},
		{name: "an owner that has stepped down", config: owner, given: after(toBackup, leave), event: heard(50, 9, second), want: []vrrp.Action{vrrp.Cancel{Timer: vrrp.HandoverTimer}, linger, vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}}},
		{name: "stepping down before the start", event: leave},

		{
			name: "a fault after stepping down", given: left, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{cancelHandover, cancelDown, vrrp.Release{}, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},
		{
			name: "a fault within the linger after stepping down", given: succeeded, event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{cancelDown, vrrp.Cancel{Timer: vrrp.ReleaseTimer}, vrrp.Release{}, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},
		{
			name: "after the fault it still does not preempt", given: after(left, vrrp.Failed{Reason: "cable cut"}, vrrp.Recovered{}), event: heard(50, 9, second),
			want: []vrrp.Action{wait},
		},
		{name: "stepping down in a fault", given: after(toMaster, vrrp.Failed{Reason: "cable cut"}), event: leave},
		{
			name: "counts after the fault", given: after(toMaster, vrrp.Failed{Reason: "cable cut"}, leave, vrrp.Recovered{}), event: heard(50, 9, second),
			want: []vrrp.Action{wait},
		},
		{
			name: "stepping down once more in a fault takes nothing back", given: after(left, vrrp.Failed{Reason: "cable cut"}, leave, vrrp.Recovered{}), event: heard(50, 9, second),
			want: []vrrp.Action{wait},
		},
		{
			name: "an owner that has stepped down recovers from a fault", config: owner, given: after(toBackup, leave, vrrp.Failed{Reason: "cable cut"}), event: vrrp.Recovered{},
			want: []vrrp.Action{vrrp.Arm{Timer: vrrp.DownTimer, After: 3*second + second/256}, transition(vrrp.Fault, vrrp.Backup, "recovered")},
		},

		{
			name: "shutdown while nobody has taken over", given: left, event: vrrp.Shutdown{},
			want: []vrrp.Action{cancelDown, vrrp.Send{Priority: 0}, handover, transition(vrrp.Backup, vrrp.Initialize, "shutdown")},
		},
		{
			name: "then the successor is heard", given: after(left, vrrp.Shutdown{}), event: heard(50, 9, second),
			want: []vrrp.Action{cancelHandover, linger},
		},
		{name: "or nobody", given: after(left, vrrp.Shutdown{}, handoverOver), event: handoverOver, want: []vrrp.Action{vrrp.Release{}, vrrp.Done{}}},
		{name: "shutdown within the linger after stepping down", given: succeeded, event: vrrp.Shutdown{}, want: []vrrp.Action{cancelDown, transition(vrrp.Backup, vrrp.Initialize, "shutdown")}},
		{
			name: "shutdown after the addresses have gone", given: after(succeeded, vrrp.Expired{Timer: vrrp.ReleaseTimer}), event: vrrp.Shutdown{},
			want: []vrrp.Action{cancelDown, transition(vrrp.Backup, vrrp.Initialize, "shutdown"), vrrp.Done{}},
		},
	})
}

// Reclaim takes back what stepping down has given away.
func TestMachineReclaims(t *testing.T) {
	aside := after(toBackup, leave, heard(50, 9, second))
	now := vrrp.Reclaim{Now: true}
	testSteps(t, []step{
		{name: "reclaiming", given: aside, event: vrrp.Reclaim{}},
		{name: "makes it preempt", given: after(aside, vrrp.Reclaim{}), event: heard(50, 9, second)},
		{name: "when the timer is over", given: after(aside, vrrp.Reclaim{}, heard(50, 9, second)), event: downOver, want: becoming(100, "10.99.0.9 has the lower priority 50")},
		{name: "reclaiming now", given: aside, event: now, want: becoming(100, "told to take over", cancelDown)},
		{name: "reclaiming now without having stepped down", given: after(toBackup, heard(50, 9, second)), event: now, want: becoming(100, "told to take over", cancelDown)},
		{name: "reclaiming now from a better master", given: after(toBackup, leave, heard(200, 9, second)), event: now},
		{name: "reclaiming now from an equal one", given: after(toBackup, leave, heard(100, 9, second)), event: now},
		{name: "reclaiming now where nobody was heard", given: toBackup, event: now, want: becoming(100, "told to take over", cancelDown)},
		{name: "reclaiming now from one that has resigned", given: after(aside, heard(0, 9, second)), event: now, want: becoming(100, "told to take over", cancelDown)},
		{name: "reclaiming now without preemption", config: noPreempt, given: after(toBackup, heard(50, 9, second)), event: now},
		{name: "reclaiming now at a shut gate", given: after(aside, shut), event: now},
		{name: "which opens", given: after(aside, shut, now), event: open, want: becoming(100, "told to take over", cancelDown)},
		{name: "after the better one at the gate has come", given: after(aside, shut, now, heard(200, 9, second)), event: open},
		{name: "the owner reclaims", config: owner, given: after(toBackup, leave, heard(254, 9, second)), event: now, want: becoming(255, "told to take over", vrrp.Cancel{Timer: vrrp.DownTimer}, vrrp.Cancel{Timer: vrrp.ReleaseTimer})},
		{name: "reclaiming before anybody has taken over", given: after(toMaster, leave), event: now, want: becoming(100, "told to take over", cancelDown, cancelHandover)},
		{
			name: "reclaiming within the linger", given: after(toMaster, leave, heard(50, 9, second)), event: now,
			want: becoming(100, "told to take over", cancelDown, vrrp.Cancel{Timer: vrrp.ReleaseTimer}),
		},
		{name: "reclaiming as master", given: toMaster, event: now},
		{name: "reclaiming in a fault", given: after(toMaster, leave, vrrp.Failed{Reason: "cable cut"}), event: now},
		{
			name: "counts after the fault", given: after(toMaster, leave, vrrp.Failed{Reason: "cable cut"}, now, vrrp.Recovered{}), event: heard(50, 9, second),
		},
		{name: "reclaiming before the start", event: now},
		{
			name: "what was heard before a fault does not count", given: after(toBackup, heard(200, 9, second), vrrp.Failed{Reason: "cable cut"}, vrrp.Recovered{}), event: now,
			want: becoming(100, "told to take over", cancelDown),
		},
	})
}

// A Backup bears with a worse Master for a time.
func TestMachineDelaysPreemption(t *testing.T) {
	var (
		delayed = changed(func(c *vrrp.Config) { c.PreemptDelay = 3 * second })
		delay   = vrrp.Arm{Timer: vrrp.PreemptTimer, After: 3 * second}
		over    = vrrp.Expired{Timer: vrrp.PreemptTimer}
		cancel  = vrrp.Cancel{Timer: vrrp.PreemptTimer}
		worse   = heard(50, 9, second)
	)
	testSteps(t, []step{
		{name: "FSM-26 a worse master", config: delayed, given: toBackup, event: worse, want: []vrrp.Action{delay, wait}},
		{name: "FSM-26 once more", config: delayed, given: after(toBackup, worse), event: worse, want: []vrrp.Action{wait}},
		{name: "FSM-26 another worse master", config: delayed, given: after(toBackup, worse), event: heard(60, 8, second), want: []vrrp.Action{wait}},
		{name: "FSM-26 the delay is over", config: delayed, given: after(toBackup, worse), event: over},
		{name: "FSM-26 then it is not listened to", config: delayed, given: after(toBackup, worse, over), event: worse},
		{name: "FSM-26 and replaced", config: delayed, given: after(toBackup, worse, over, worse), event: downOver, want: becoming(100, "10.99.0.9 has the lower priority 50")},
		{name: "FSM-27 it dies before", config: delayed, given: after(toBackup, worse), event: downOver, want: becoming(100, "no advertisement from 10.99.0.9 for 3.609s", cancel)},
		{name: "FSM-27 it resigns before", config: delayed, given: after(toBackup, worse), event: heard(0, 9, second), want: []vrrp.Action{waitSkew}},
		{name: "FSM-27 nobody is there", config: delayed, given: toBackup, event: downOver, want: becoming(100, "no master heard")},
		{name: "its interval is learned", config: delayed, given: toBackup, event: heard(50, 9, 2*second), want: []vrrp.Action{delay, vrrp.Arm{Timer: vrrp.DownTimer, After: 2 * down}}},
		{name: "a better master ends the delay", config: delayed, given: after(toBackup, worse), event: heard(200, 8, second), want: []vrrp.Action{cancel, wait}},
		{name: "after it the delay begins anew", config: delayed, given: after(toBackup, worse, heard(200, 8, second)), event: worse, want: []vrrp.Action{delay, wait}},
		{name: "a better master takes back that the delay is over", config: delayed, given: after(toBackup, worse, over, heard(200, 8, second)), event: worse, want: []vrrp.Action{delay, wait}},
		{name: "after mastership the delay begins anew", config: delayed, given: after(toBackup, worse, over, downOver, heard(200, 8, second)), event: worse, want: []vrrp.Action{delay, wait}},
		{name: "after a fault the delay begins anew", config: delayed, given: after(toBackup, worse, over, vrrp.Failed{Reason: "cable cut"}, vrrp.Recovered{}), event: worse, want: []vrrp.Action{delay, wait}},
		{
			name: "a fault ends the delay", config: delayed, given: after(toBackup, worse), event: vrrp.Failed{Reason: "cable cut"},
			want: []vrrp.Action{cancel, cancelDown, transition(vrrp.Backup, vrrp.Fault, "cable cut")},
		},
		{
			name: "a shutdown ends the delay", config: delayed, given: after(toBackup, worse), event: vrrp.Shutdown{},
			want: []vrrp.Action{cancel, cancelDown, transition(vrrp.Backup, vrrp.Initialize, "shutdown"), vrrp.Done{}},
		},
		{name: "told to take over", config: delayed, given: after(toBackup, worse), event: vrrp.Reclaim{Now: true}, want: becoming(100, "told to take over", cancelDown, cancel)},
		{name: "without preemption there is no delay", config: changed(func(c *vrrp.Config) { c.Preempt, c.PreemptDelay = false, 3*second }), given: toBackup, event: worse, want: []vrrp.Action{wait}},
		{
			name:   "the owner knows no delay",
			config: changed(func(c *vrrp.Config) { c.Priority, c.PreemptDelay = 255, 3*second }), given: after(toBackup, heard(255, 9, second)), event: heard(50, 9, second),
		},
		{
			name: "a delay that is taken away", config: delayed, given: after(toBackup, worse, vrrp.Configure{Config: config(100)}), event: worse,
		},
		{
			name: "one that has stepped down has no delay", config: delayed, given: after(toBackup, leave), event: worse, want: []vrrp.Action{wait},
		},
	})
}

// Preemption is delayed on a real schedule: the Master's advertisements are accepted until the delay is over, and the
// last of them counts.
func TestPreemptionIsDelayed(t *testing.T) {
	c := config(100)
	c.PreemptDelay = 3 * time.Second
	numbered(t, "FSM-26", c, func(t *testing.T, r *router, p *peer) {
		r.read()
		sleep(20 * ms)
		p.repeat(8, 50, time.Second)
		// That of 3.02 s comes when the delay is over.
		want(t, &r.diary,
			"5.629375s take", "5.629375s send 100", "5.629375s backup to master: 10.99.0.9 has the lower priority 50",
			"6.02s send 100", "6.02s announce", "6.629375s send 100", "7.02s send 100", "7.02s announce", "7.629375s send 100")
	})
	numbered(t, "FSM-27", c, func(t *testing.T, r *router, p *peer) {
		r.read()
		sleep(20 * ms)
		p.repeat(2, 50, time.Second)
		sleep(4 * time.Second)
		want(t, &r.diary,
			"4.629375s take", "4.629375s send 100", "4.629375s backup to master: no advertisement from 10.99.0.9 for 3.609s", "5.629375s send 100")
	})
}
