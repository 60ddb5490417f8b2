package vip_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// frozenChild is set for the process that TestStoppedProcessMissesRounds stops.
const frozenChild = "VIP_TEST_FROZEN"

// A process that is stopped over the time of its second burst does not send it
// when it goes on, whatever wakes the Announcer first.
func TestStoppedProcessMissesRounds(t *testing.T) {
	if os.Getenv(frozenChild) != "" {
		announceAndFreeze(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestStoppedProcessMissesRounds$")
	child.Env = append(os.Environ(), frozenChild+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := ""
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "announced":
			time.Sleep(700 * time.Millisecond)
			for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
				if err := child.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
			}
		case strings.HasPrefix(line, "frames"):
			said = line
		}
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	// Five rounds of two frames of the first burst, and nothing of the second.
	if said != "frames before 10, after 0" {
		t.Errorf("%q", said)
	}
}

// announceAndFreeze is the process that is stopped. Many Announcers make it
// likely that each way to wake up happens.
func announceAndFreeze(t *testing.T) {
	const announcers = 20
	wires := make([]*viptest.Wire, announcers)
	kernel := viptest.NewKernel("eth0")
	for i := range wires {
		wires[i] = &viptest.Wire{}
		a := vip.NewAnnouncer(vip.AnnouncerOptions{
			Link: kernel.Link, Dial: wires[i].Dial,
			Delay: 2 * time.Second, Spacing: 20 * time.Millisecond,
		})
		go func() { _ = a.Run(t.Context()) }()
		if err := a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(2100 * time.Millisecond) // and another takeover meanwhile
			_ = a.Announce(t.Context(), viptest.Addresses("eth0", "10.0.0.101/24"))
		}()
	}
	fmt.Println("announced")
	time.Sleep(500 * time.Millisecond)
	before := 0
	for _, w := range wires {
		before = max(before, len(w.Frames()))
	}
	time.Sleep(3 * time.Second)
	after := 0
	for _, w := range wires {
		for _, f := range w.Frames() {
			if f.Address == one[0].Prefix.Addr() {
				after++
			}
		}
	}
	fmt.Printf("frames before %d, after %d\n", before, after)
}
