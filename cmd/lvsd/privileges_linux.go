package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// The elector's heap is small and stays so: a collection is over at once.
	electorGCPercent   = 50
	electorMemoryLimit = 256 << 20

	// realTimePriority is the lowest: enough to go before everything that is not
	// real-time.
	realTimePriority = 1
)

// privileges are what the elector half asked the kernel for, so that it is never
// late: an error each for what it did not get.
type privileges struct{ realTime, memory error }

// takePrivileges makes this process one that is never late, as far as the kernel
// permits.
func takePrivileges() privileges {
	debug.SetGCPercent(electorGCPercent)
	debug.SetMemoryLimit(electorMemoryLimit)
	return privileges{realTime: goBeforeOthers(), memory: lockMemory()}
}

func (p privileges) log(log *slog.Logger) {
	if p.realTime != nil {
		log.Info("no real-time scheduling: on a loaded machine advertisements may be late; grant CAP_SYS_NICE or LimitRTPRIO=1", "error", p.realTime)
	}
	if p.memory != nil {
		log.Debug("memory is not locked: it may be swapped out; grant LimitMEMLOCK=infinity", "error", p.memory)
	}
}

// goBeforeOthers makes every thread of this process a real-time thread. Those
// that the Go runtime starts later inherit it, which is wanted: any of them may
// come to send an advertisement. SCHED_RESET_ON_FORK would prevent just that; it
// is meant for processes that start others, and the elector starts none.
func goBeforeOthers() error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realTimePriority}
	seen := make(map[string]bool)
	for again := true; again; {
		again = false // a thread may have come from one that was not real-time yet
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing the threads: %w", err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil || seen[task.Name()] {
				continue
			}
			if err := unix.SchedSetAttr(tid, attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("making a thread a real-time one: %w", err)
			}
			seen[task.Name()], again = true, true
		}
	}
	return nil
}

// lockMemory keeps what this process uses in memory. What is mapped now is read
// in; what comes later is locked when it is first used, or the runtime's large
// reservations would be filled with zeros.
func lockMemory() error {
	// A finite limit counts address space, of which the Go runtime reserves a lot:
	// to meet it later would be fatal.
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("raising the limit of locked memory: %w", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT); err != nil {
		return fmt.Errorf("locking the memory: %w", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("locking the memory that comes: %w", err)
	}
	return nil
}
