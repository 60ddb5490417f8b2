package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootModules are loaded in the guest before it can reach its file system, in this order and after what they need.
var bootModules = []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}

// A kernel is what the guest boots: an image for -kernel, and a folder that holds lib/modules/RELEASE.
type kernel struct {
	image   string
	root    string
	release string
}

// modules returns the folder of the kernel's modules.
func (k kernel) modules() string {
	return filepath.Join(k.root, "lib", "modules", k.release)
}

// bootFiles returns the files of the modules that reach the guest's file system, in the order of loading.
// What is built into the kernel has no file.
func (k kernel) bootFiles() ([]string, error) {
	var files []string
	seen := map[string]bool{}
	for _, m := range bootModules {
		out, err := exec.Command(tool("modprobe"), "-d", k.root, "-S", k.release, "--show-depends", m).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("kernel %s has no module %s: %w: %s", k.release, m, err, bytes.TrimSpace(out))
		}
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) >= 2 && fields[0] == "insmod" && !seen[fields[1]] {
				seen[fields[1]] = true
				files = append(files, fields[1])
			}
		}
	}
	return files, nil
}

// suitable reports why the kernel cannot be the guest's, nil if it can.
func (k kernel) suitable() error {
	f, err := os.Open(k.image)
	if err != nil {
		return fmt.Errorf("reading the kernel: %w", err)
	}
	f.Close()
	if out, err := exec.Command(tool("modprobe"), "-d", k.root, "-S", k.release, "--show-depends", "ip_vs").CombinedOutput(); err != nil {
		return fmt.Errorf("kernel %s has no module ip_vs: %w: %s", k.release, err, bytes.TrimSpace(out))
	}
	_, err = k.bootFiles()
	return err
}

// findKernel returns the kernel that the guest boots: the running machine's own where it is there to be read and has
// what the guest needs (the kernels made for clouds lack 9p), else the distribution's, downloaded once into the
// user's cache folder and never installed.
func findKernel(ctx context.Context) (kernel, error) {
	if runtime.GOARCH != "amd64" {
		return kernel{}, fmt.Errorf("guests are made for amd64 only, this is %s", runtime.GOARCH)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return kernel{}, fmt.Errorf("asking for the running kernel: %w", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	own := kernel{image: "/boot/vmlinuz-" + release, root: "/", release: release}
	ownErr := own.suitable()
	if ownErr == nil {
		return own, nil
	}
	k, err := downloadedKernel(ctx)
	if err != nil {
		return kernel{}, errors.Join(fmt.Errorf("the running kernel cannot be the guest's: %w", ownErr), err)
	}
	return k, nil
}

// cacheFolder returns the folder in which lvsd's tests keep what they downloaded, and makes it.
func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	dir := filepath.Join(base, "lvsd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	return filepath.Abs(dir)
}

// lockFile takes the lock of the given file, waiting until it is free or ctx ends. The lock ends when the returned
// file is closed or the process dies.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock %s: %w", path, err)
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return f, nil
	}
	fmt.Fprintln(os.Stderr, "lab: waiting for another process that has the lock", path)
	locked := make(chan error, 1)
	go func() {
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		return f, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the lock %s: %w", path, context.Cause(ctx))
	}
}

// downloadedKernel returns the kernel that the package linux-image-amd64 stands for, from the cache folder. A kernel
// that was downloaded before stays in use even when the distribution has a newer one.
func downloadedKernel(ctx context.Context) (kernel, error) {
	cache, err := cacheFolder()
	if err != nil {
		return kernel{}, err
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "kernel.lock"))
	if err != nil {
		return kernel{}, err
	}
	defer lock.Close()

	root := filepath.Join(cache, "kernel")
	if k, err := unpackedKernel(root); err == nil {
		return k, nil
	}

	work, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return kernel{}, fmt.Errorf("making a folder for the kernel: %w", err)
	}
	defer os.RemoveAll(work)
	fmt.Fprintln(os.Stderr, "lab: this machine's kernel cannot run the lab; downloading Debian's into", root)
	pkg, err := kernelPackage(ctx)
	if err != nil {
		return kernel{}, err
	}
	if err := runIn(ctx, work, "apt-get", "-q", "download", pkg); err != nil {
		return kernel{}, err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return kernel{}, fmt.Errorf("apt-get download %s left %d packages in %s: %v", pkg, len(debs), work, err)
	}
	tree := filepath.Join(work, "root")
	if err := runIn(ctx, work, "dpkg", "-x", debs[0], tree); err != nil {
		return kernel{}, err
	}
	if _, err := os.Lstat(filepath.Join(tree, "lib")); errors.Is(err, os.ErrNotExist) {
		// Newer packages have /usr/lib only.
		if err := os.Symlink("usr/lib", filepath.Join(tree, "lib")); err != nil {
			return kernel{}, fmt.Errorf("linking lib to usr/lib: %w", err)
		}
	}
	found, err := unpackedKernel(tree)
	if found.release == "" {
		return kernel{}, fmt.Errorf("package %s: %w", pkg, err)
	}
	if err := runIn(ctx, work, tool("depmod"), "-b", tree, found.release); err != nil {
		return kernel{}, err
	}
	if err := extractKernel(ctx, found.image, filepath.Join(tree, "boot", "vmlinux-"+found.release)); err != nil {
		fmt.Fprintln(os.Stderr, "lab: the guest will take longer to boot:", err)
	}
	if found, err = unpackedKernel(tree); err != nil {
		return kernel{}, fmt.Errorf("package %s: %w", pkg, err)
	}
	if err := os.RemoveAll(root); err != nil {
		return kernel{}, fmt.Errorf("removing an unfit kernel: %w", err)
	}
	if err := os.Rename(tree, root); err != nil {
		return kernel{}, fmt.Errorf("putting the kernel in place: %w", err)
	}
	return unpackedKernel(root)
}

// unpackedKernel returns the kernel of an unpacked package, and why it cannot be the guest's. It prefers the image
// that was extracted, which needs no decompression in the guest.
func unpackedKernel(root string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%d kernels in %s: %v", len(images), root, err)
	}
	k := kernel{image: images[0], root: root, release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	if plain := filepath.Join(root, "boot", "vmlinux-"+k.release); exists(plain) {
		k.image = plain
	}
	return k, k.suitable()
}

// kernelPackage returns the name of the package that linux-image-amd64 depends on.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt-cache for linux-image-amd64 (a machine without apt needs its own kernel with 9p in /boot): %w", err)
	}
	s := bufio.NewScanner(bytes.NewReader(out))
	for s.Scan() {
		if name, ok := strings.CutPrefix(strings.TrimSpace(s.Text()), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", errors.New("apt-cache knows no kernel for linux-image-amd64: run apt-get update")
}

// extractKernel writes the ELF image inside a compressed kernel to a file. Decompressing it here, once, instead of
// in each guest saves seven seconds of each boot where the guest's processor is emulated. QEMU starts such an image
// by its PVH entry point.
func extractKernel(ctx context.Context, from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading the kernel: %w", err)
	}
	formats := []struct {
		magic   string
		command []string
	}{
		{"\xfd7zXZ\x00", []string{"xz", "-dc", "--single-stream"}},
		{"\x28\xb5\x2f\xfd", []string{"zstd", "-dc"}},
		{"\x1f\x8b\x08", []string{"gzip", "-dc"}},
	}
	for _, f := range formats {
		for at, rest := 0, b; ; {
			i := bytes.Index(rest, []byte(f.magic))
			if i < 0 {
				break
			}
			at += i
			cmd := exec.CommandContext(ctx, f.command[0], f.command[1:]...)
			cmd.Stdin = bytes.NewReader(b[at:])
			image, _ := cmd.Output() // what follows the stream is an error to some of them
			if bytes.HasPrefix(image, []byte("\x7fELF")) {
				return os.WriteFile(to, image, 0o644)
			}
			at++
			rest = b[at:]
		}
	}
	return fmt.Errorf("found no compressed kernel in %s", from)
}

// readModule returns the contents of a module's file, decompressed.
func readModule(path string) ([]byte, error) {
	commands := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
	command, ok := commands[filepath.Ext(path)]
	if !ok {
		return os.ReadFile(path)
	}
	b, err := exec.Command(command, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	return b, nil
}

// runIn runs a command in a folder and returns its output as part of the error if it fails.
func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// tool returns the path of a program that may be outside of an ordinary user's PATH.
func tool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	return name
}

// exists reports whether there is a file at path.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
