package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// A Half is one of the two processes of a [Director] that its main process has started, as it was when it was asked
// for. The main process starts it again when it ends: then it is another Half.
type Half struct {
	Name string // elector or director
	PID  int

	lab *Lab
}

// Half returns the half of a name, as the director's status tells of it.
func (d *Director) Half(name string) *Half {
	l := d.Host.lab
	l.Helper()
	var status struct {
		Halves []struct {
			Name string
			PID  int
		}
	}
	if err := json.Unmarshal(d.Status(), &status); err != nil {
		l.Fatalf("status of lvsd on %s: %v", d.Host.Name, err)
	}
	for _, h := range status.Halves {
		if h.Name == name {
			return &Half{h.Name, h.PID, l}
		}
	}
	l.Fatalf("lvsd on %s has no half %q", d.Host.Name, name)
	return nil
}

// Kill ends the half at once (kill -9).
func (h *Half) Kill() { h.lab.Helper(); h.Signal(syscall.SIGKILL) }

// Freeze stops the half where it is (SIGSTOP).
func (h *Half) Freeze() { h.lab.Helper(); h.Signal(syscall.SIGSTOP) }

// Signal sends a signal to the half.
func (h *Half) Signal(s syscall.Signal) {
	h.lab.Helper()
	if err := syscall.Kill(h.PID, s); err != nil {
		h.lab.Fatalf("sending %s to the %s half, process %d: %v", s, h.Name, h.PID, err)
	}
}

// Memory returns the bytes of memory that lvsd occupies, all its processes together.
func (d *Director) Memory() int64 {
	d.Host.lab.Helper()
	sum := d.Process.Memory()
	for _, child := range children(d.PID()) {
		sum += memory(d.Host.lab, child)
	}
	return sum
}

// children lists the processes that a process has started.
func children(pid int) []int {
	var all []int
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil // it has ended
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(b)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
