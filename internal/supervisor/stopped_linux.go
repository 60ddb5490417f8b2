package supervisor

import (
	"bytes"
	"fmt"
	"os"
)

// stopped says whether a process is stopped by a signal. A debugger is none.
func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false // it has ended
	}
	// The name of the process, in parentheses, may hold anything.
	return bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" T "))
}
