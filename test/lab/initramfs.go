package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The first script is the init of the guest's initial file system, the second is the init of its root file system.
var (
	//go:embed guest/init.sh
	initScript []byte
	//go:embed guest/main.sh
	mainScript []byte
)

// initramfs returns the guest's initial file system, a cpio archive that is not compressed: a busybox, the modules
// that reach the root file system, the two scripts, and settings, shell assignments for both scripts.
func initramfs(k kernel, settings map[string]string, command string) ([]byte, error) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("looking for busybox (package busybox-static): %w", err)
	}
	busybox, err := os.ReadFile(box)
	if err != nil {
		return nil, fmt.Errorf("reading busybox: %w", err)
	}
	files, err := k.bootFiles()
	if err != nil {
		return nil, err
	}

	var a archive
	a.folder("bin")
	a.folder("modules")
	a.file("bin/busybox", 0o755, busybox)
	var order strings.Builder
	for i, path := range files {
		module, err := readModule(path)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("modules/%02d-%s", i, strings.SplitAfter(filepath.Base(path), ".ko")[0])
		a.file(name, 0o644, module)
		fmt.Fprintf(&order, "/%s\n", name)
	}
	var assignments strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&assignments, "%s=%s\n", name, quote(value))
	}
	a.file("modules/order", 0o644, []byte(order.String()))
	a.file("settings", 0o644, []byte(assignments.String()))
	a.file("command", 0o644, []byte(command))
	a.file("main", 0o755, mainScript)
	a.file("init", 0o755, initScript)
	return a.bytes(), nil
}

// An archive is a cpio archive in the form that the kernel unpacks ("newc", see the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	b     bytes.Buffer
	inode int
}

func (a *archive) folder(name string)                         { a.add(name, 0o040755, nil) }
func (a *archive) file(name string, mode int, content []byte) { a.add(name, 0o100000|mode, content) }

func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	fmt.Fprintf(&a.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(content)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad() {
	a.b.Write(make([]byte, (4-a.b.Len()%4)%4))
}

func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.b.Bytes()
}

// quote returns s as one word of a shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
