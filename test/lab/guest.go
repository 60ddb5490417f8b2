package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	guestMemory  = "2560" // MiB; every write to a file in the guest takes from it
	bootTimeout  = 4 * time.Minute
	kvmTimeout   = time.Minute     // for the boot; a broken KVM hangs for ever
	silenceLimit = 3 * time.Minute // the guest says every 5 s that it is alive

	// How much longer than its own timeout a test may run: its own alarm says more about what it was doing.
	alarmSlack = 20 * time.Second
)

// preloadModules are loaded before the program starts, so that no test pays for it. Everything else is loaded by the
// kernel when it is asked for.
const preloadModules = "ip_vs ip_vs_rr ip_vs_wrr ip_vs_wlc veth bridge dummy ipip sch_netem nf_tables nf_conntrack af_packet"

// errNotBooted means that the guest ended or was silent before it had started the program.
var errNotBooted = errors.New("the guest did not boot")

// runInGuest runs this process's executable with its arguments in a guest and returns its exit status. The output
// goes to this process's as it comes. An error means that the guest could not be run to its end; it holds what the
// guest said last on its console.
//
// With a limit the guest is killed when the program has run for so long.
func runInGuest(ctx context.Context, limit time.Duration) (int, error) {
	// The guest must die with this process, whatever ends it: PDEATHSIG follows the thread that starts QEMU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	k, err := findKernel(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "lvsd-lab-")
	if err != nil {
		return 0, fmt.Errorf("making a folder for the guest: %w", err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return 0, fmt.Errorf("making a folder for the guest's files: %w", err)
	}
	built := make(chan error, 1)
	go func() { built <- buildLVSD(ctx, filepath.Join(dir, "lvsd")) }()

	// Guests want all processors: one at a time.
	cache, err := cacheFolder()
	if err != nil {
		return 0, err
	}
	turn, err := lockFile(ctx, filepath.Join(cache, "guest.lock"))
	if err != nil {
		return 0, err
	}
	defer turn.Close()

	flags := newFileFlags(os.Args[1:])
	if err := flags.prepare(out); err != nil {
		return 0, err
	}
	command, err := guestCommand(flags.args, filepath.Join(dir, "lvsd"))
	if err != nil {
		return 0, err
	}
	g := guest{kernel: k, dir: dir, out: out, limit: limit, mark: "\x01lvsd-lab-end-" + rand.Text() + "\x01"}
	image, err := initramfs(k, map[string]string{
		"release": k.release, "modules": k.modules(), "preload": preloadModules, "mark": g.mark,
	}, command)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "initramfs"), image, 0o644); err != nil {
		return 0, fmt.Errorf("writing the guest's initial file system: %w", err)
	}

	ready := func() {
		if err := <-built; err != nil {
			// Only those who ask for the program learn of it.
			_ = os.WriteFile(filepath.Join(dir, "lvsd.error"), []byte(err.Error()), 0o644)
		}
	}
	status, err := g.run(ctx, ready)
	if errors.Is(err, errNotBooted) && g.kvm() && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "lab: trying again without hardware virtualisation:", err)
		g.emulate = true
		status, err = g.run(ctx, ready)
	}
	if e := flags.fetch(out); e != nil && err == nil {
		return status, e
	}
	return status, err
}

// guestCommand returns the shell commands that start this process's program in the guest: same folder, same
// environment, the given arguments.
func guestCommand(args []string, lvsd string) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("looking for the running program: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("asking for the working directory: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cd %s || exit 126\n", quote(dir))
	for _, assignment := range os.Environ() {
		name, value, _ := strings.Cut(assignment, "=")
		if isName(name) && name != "PWD" && name != "OLDPWD" && name != "PATH" {
			fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
		}
	}
	fmt.Fprintf(&b, "export PATH=%s:\"$PATH\"\n", quote(os.Getenv("PATH")))
	fmt.Fprintf(&b, "export %s=1 %s=%s\n", guestVariable, lvsdVariable, quote(lvsd))
	fmt.Fprintf(&b, "exec %s", quote(program))
	for _, a := range args {
		fmt.Fprintf(&b, " %s", quote(a))
	}
	return b.String() + "\n", nil
}

// isName reports whether s can be the name of a shell's variable.
func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// A guest is one virtual machine.
type guest struct {
	kernel  kernel
	dir     string // its files: initial file system, console
	out     string // where the guest can write
	mark    string // ends each of the two outputs
	emulate bool   // leaves KVM alone
	limit   time.Duration
}

// kvm reports whether the guest runs on hardware virtualisation. The device alone says nothing: some machines have
// it without the processor's support, and a guest hangs there.
func (g guest) kvm() bool {
	if g.emulate {
		return false
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(info))
	for _, f := range fields {
		if f == "vmx" || f == "svm" {
			dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
			if err == nil {
				dev.Close()
			}
			return err == nil
		}
	}
	return false
}

// arguments returns QEMU's command line. The three ports to the host are the file descriptors 3 (control), 4 and 5.
func (g guest) arguments() []string {
	// Without help an emulated processor's clock is thought unstable, and a slow one is used. Five-level page tables
	// only cost there. QEMU's AVX is young and no quicker than its SSE; the other extensions make cryptography ten
	// times as quick as on an old processor.
	accel := []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off,avx=off,avx2=off"}
	boot := "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off nokaslr no_timer_check cryptomgr.notests"
	if g.kvm() {
		accel = []string{"-accel", "kvm", "-cpu", "host"}
	} else {
		boot += " tsc=reliable clocksource=tsc"
	}
	share := "security_model=none,multidevs=remap"
	args := append(accel,
		"-machine", "q35", "-smp", strconv.Itoa(min(2, runtime.NumCPU())), "-m", guestMemory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", g.kernel.image, "-initrd", filepath.Join(g.dir, "initramfs"),
		"-append", boot,
		"-chardev", "file,id=console,path="+filepath.Join(g.dir, "console"), "-serial", "chardev:console",
		"-fsdev", "local,id=host,path=/,readonly=on,"+share, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
		"-fsdev", "local,id=out,path="+g.out+","+share, "-device", "virtio-9p-pci,fsdev=out,mount_tag=out",
		"-device", "virtio-serial-pci",
	)
	for i, name := range []string{"control", "stdout", "stderr"} {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", name, 3+i),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=lvsd-%s", name, name))
	}
	return args
}

// run boots the guest, calls ready when the guest is, copies its outputs, and returns the program's exit status.
func (g guest) run(ctx context.Context, ready func()) (int, error) {
	// Without its own context the guest's end could not be told from the caller's.
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", g.arguments()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &complaints, &complaints
	var ports [3]*os.File
	for i := range ports {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("making a socket pair for the guest: %w", err)
		}
		if err := syscall.SetNonblock(pair[0], true); err != nil {
			return 0, fmt.Errorf("making a socket pair for the guest: %w", err)
		}
		ports[i] = os.NewFile(uintptr(pair[0]), "guest")
		defer ports[i].Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(pair[1]), "guest"))
	}
	err := cmd.Start()
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("starting QEMU (package qemu-system-x86): %w", err)
	}

	limit := bootTimeout
	if g.kvm() {
		limit = kvmTimeout
	}
	watchdog := time.AfterFunc(limit, func() { end(fmt.Errorf("nothing heard from it for %s", limit)) })
	defer watchdog.Stop()

	var outputs sync.WaitGroup
	outputs.Go(func() { copyUntil(os.Stdout, ports[1], g.mark) })
	outputs.Go(func() { copyUntil(os.Stderr, ports[2], g.mark) })
	booted, status := false, -1
	lines := bufio.NewScanner(ports[0])
	for status < 0 && lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "ready":
			booted = true
			watchdog.Stop()
			ready()
			fmt.Fprintln(ports[0], "go")
			if g.limit > 0 {
				alarm := time.AfterFunc(g.limit, func() { end(fmt.Errorf("the program went on for longer than %s", g.limit)) })
				defer alarm.Stop()
			}
			limit = silenceLimit
			watchdog.Reset(limit)
		case "alive":
			watchdog.Reset(limit)
		case "exit":
			if n, err := strconv.Atoi(rest); err == nil {
				status = n
			}
		}
	}
	if status >= 0 {
		outputs.Wait() // bounded by the watchdog: QEMU's end closes the ports
	}
	cause := context.Cause(ctx)
	if status >= 0 {
		end(nil)
	} else {
		// It closed its ports: it ends by itself, or hangs in doing so.
		watchdog.Reset(10 * time.Second)
	}
	waitErr := cmd.Wait()
	outputs.Wait()

	switch {
	case status >= 0:
		return status, nil
	case cause != nil:
		err = fmt.Errorf("the guest was ended: %w", cause)
	case waitErr != nil:
		err = fmt.Errorf("QEMU failed: %w: %s", waitErr, bytes.TrimSpace(complaints.Bytes()))
	default:
		err = errors.New("the guest powered off")
	}
	if !booted {
		err = fmt.Errorf("%w: %w", errNotBooted, err)
	}
	return 0, fmt.Errorf("%w\n%s", err, g.lastWords())
}

// lastWords returns the end of the guest's console.
func (g guest) lastWords() string {
	b, err := os.ReadFile(filepath.Join(g.dir, "console"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "--- the last lines of the guest's console:\n" + strings.Join(lines[max(0, len(lines)-60):], "\n") + "\n---"
}

// copyUntil copies from r to w, as it comes, until the mark or the end of r.
func copyUntil(w io.Writer, r io.Reader, mark string) {
	var kept []byte // could be the beginning of the mark
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		kept = append(kept, b[:n]...)
		if i := bytes.Index(kept, []byte(mark)); i >= 0 {
			_, _ = w.Write(kept[:i])
			return
		}
		hold := 0
		for l := min(len(mark)-1, len(kept)); l > 0; l-- {
			if bytes.HasSuffix(kept, []byte(mark[:l])) {
				hold = l
				break
			}
		}
		if err != nil {
			hold = 0
		}
		_, _ = w.Write(kept[:len(kept)-hold])
		kept = append(kept[:0], kept[len(kept)-hold:]...)
		if err != nil {
			return
		}
	}
}
