package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// busy says whether a thread of a process waits for a processor or for a disk,
// or runs: such a process may be slow, or its machine loaded, without hanging.
func busy(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // the thread has ended
		}
		// The name of the thread, in parentheses, may hold anything.
		_, state, found := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(") "))
		if found && len(state) > 0 && (state[0] == 'R' || state[0] == 'D') {
			return true
		}
	}
	return false
}
