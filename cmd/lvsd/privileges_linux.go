package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

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
		log.Debug("memory is not locked: it may be swapped out; grant CAP_IPC_LOCK or LimitMEMLOCK=infinity", "error", p.memory)
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

// lockMemory keeps what this process uses in memory. The program itself is read
// in; of all else only what is used is locked, when it is used first, for the Go
// runtime maps a hundred times as much.
func lockMemory() error {
	// A finite limit counts what is mapped: to meet it later would be fatal.
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil && !mayLockAnything() {
		return fmt.Errorf("raising the limit of locked memory: %w", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("locking the memory: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("locking the program: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil || rights[0] != 'r' || !strings.Contains(line, "/") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, from, to-from, 0); errno != 0 {
			return fmt.Errorf("locking the program: %w", errno)
		}
	}
	return nil
}

// mayLockAnything says whether no limit counts for this process.
func mayLockAnything() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
