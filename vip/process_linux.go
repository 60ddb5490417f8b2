package vip

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPID is the kernel's PID_MAX_LIMIT. The port of a netlink socket is the id
// of the process that opened it, as that process sees it: in a container it may
// be another one than here. If the id is taken, by an earlier socket of the
// process, the kernel chooses a number far above; libnl adds a multiple of
// maxPID.
const maxPID = 1 << 22

// searchTime bounds the search for the owner of a socket. Tests on a busy machine
// take longer.
var searchTime = 10 * time.Millisecond

func isPID(port uint32) bool { return port < maxPID }

// process returns a process in words.
func process(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("a process that has ended (pid %d)", pid)
	}
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), pid)
}

// owner returns the process with an rtnetlink socket of the given port in words.
func owner(port uint32) string {
	inode := inodeOf(port)
	if inode == "" {
		return fmt.Sprintf("a process that has ended (netlink port %d)", port)
	}
	socket := "socket:[" + inode + "]"
	if pid := int(port % maxPID); hasOpen(pid, socket) {
		return process(pid)
	}
	start := time.Now()
	for _, pid := range processes() {
		if hasOpen(pid, socket) {
			return process(pid)
		}
		if time.Since(start) > searchTime {
			break
		}
	}
	return fmt.Sprintf("an unknown process (netlink port %d)", port)
}

// inodeOf returns the inode of the rtnetlink socket with the given port, "" if
// there is none.
func inodeOf(port uint32) string {
	// The thread's own, for the network namespace is that of the thread.
	table, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		// sk, protocol, port, groups, ..., inode; rtnetlink is protocol 0.
		f := strings.Fields(line)
		if len(f) >= 10 && f[1] == "0" && f[2] == strconv.FormatUint(uint64(port), 10) {
			return f[9]
		}
	}
	return ""
}

// processes returns the ids of all processes, those that run longest first.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// hasOpen reports whether a process has a file open that links to the target.
func hasOpen(pid int, target string) bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		to, err := os.Readlink(folder + "/" + e.Name())
		return err == nil && to == target
	})
}
