package director

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"lvsd/configs"
)

// runScript runs a tracked script once. It returns why it is down, in plain
// words, or nothing if it has ended with status 0.
//
// The script gets no shell, no input, an environment of its own and its user;
// at the timeout it is killed with all its children.
func runScript(ctx context.Context, t configs.Track) (why string) {
	path := t.Script[0]
	if err := trusted(path); err != nil {
		return "refused: " + err.Error()
	}
	credential, err := credentialOf(t.User)
	if err != nil {
		return "refused: " + err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, t.Script[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	if cmd.Process != nil {
		// What the script has left running belongs to it, too.
		if e := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) && err == nil {
			err = e
		}
	}
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("did not end within %s", t.Timeout)
	case err != nil:
		return err.Error()
	}
	return ""
}

// trusted says whether nobody but root can change what a path names.
func trusted(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid != 0 {
			return fmt.Errorf("%s belongs to another user than root: change its owner", at)
		}
		if info.Mode()&0o022 != 0 {
			return fmt.Errorf("%s can be written by others than root: chmod go-w", at)
		}
		if at == path && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// credentialOf returns the ids of a user, without further groups.
func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
