package lab

import "path/filepath"

// Keepalived returns a keepalived on the host, not started, that does VRRP alone. Its configuration is the text.
func (h *Host) Keepalived(config string) *Process {
	l := h.lab
	l.Helper()
	dir := l.folder(h.Name + "-keepalived")
	file := filepath.Join(dir, "keepalived.conf")
	l.write(file, []byte(config))
	return h.Process("keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file="+file,
		"--pid="+filepath.Join(dir, "keepalived.pid"), "--vrrp_pid="+filepath.Join(dir, "vrrp.pid"))
}

// Children lists the ids of the processes that the process has started and that have not ended.
func (p *Process) Children() []int { return children(p.PID()) }
