package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat, USER_HZ of the kernel.
const clockTick = 10 * time.Millisecond

// cpuTime returns the time that the processes of the daemon have run, in user mode
// and in the kernel.
func (d *daemon) cpuTime() time.Duration {
	var sum time.Duration
	for _, pid := range d.family() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		// The second field is the name in parentheses, which may have anything in it.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime
			ticks, _ := strconv.Atoi(f)
			sum += time.Duration(ticks) * clockTick
		}
	}
	return sum
}

// memory returns the bytes of memory that the processes of the daemon occupy
// (VmRSS).
func (d *daemon) memory() int64 {
	var sum int64
	for _, pid := range d.family() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}
