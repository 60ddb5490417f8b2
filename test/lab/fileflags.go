package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// guestOut is the folder of the guest that the host sees too.
const guestOut = "/run/lvsd-lab/out"

// fileFlags are the arguments of a test binary for the guest: what makes it write files is turned to the folder that
// the host sees, from where fetch carries the files to where they were asked for.
type fileFlags struct {
	args  []string
	files map[string]string // name below the folder -> path on the host; a folder's ends with a slash
}

// newFileFlags rewrites a test binary's arguments. The log of what a test read (-test.testlogfile), which serves to
// reuse results without running the test, is dropped: a result from the guest depends on more than files.
func newFileFlags(args []string) fileFlags {
	f := fileFlags{files: map[string]string{}}
	base := ""
	for _, a := range args {
		if dir, ok := cutFlag(a, "test.outputdir"); ok {
			base = dir
		}
	}
	for _, a := range args {
		f.args = append(f.args, f.rewrite(a, base)...)
	}
	return f
}

func (f *fileFlags) rewrite(arg, base string) []string {
	if _, ok := cutFlag(arg, "test.testlogfile"); ok {
		return nil
	}
	if _, ok := cutFlag(arg, "test.outputdir"); ok {
		return nil
	}
	for _, name := range []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace"} {
		if path, ok := cutFlag(arg, "test."+name); ok && path != "" {
			if !filepath.IsAbs(path) {
				path = filepath.Join(base, path)
			}
			f.files[name] = path
			return []string{"-test." + name + "=" + filepath.Join(guestOut, name)}
		}
	}
	if dir, ok := cutFlag(arg, "test.gocoverdir"); ok && dir != "" {
		f.files["gocoverdir/"] = dir
		return []string{"-test.gocoverdir=" + filepath.Join(guestOut, "gocoverdir")}
	}
	return []string{arg}
}

// cutFlag returns the value of an argument of the form -name=value, which is how the go command passes them.
func cutFlag(arg, name string) (string, bool) {
	return strings.CutPrefix(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), name+"=")
}

// prepare makes the folders that the flags name.
func (f fileFlags) prepare(out string) error {
	for name := range f.files {
		if strings.HasSuffix(name, "/") {
			if err := os.Mkdir(filepath.Join(out, name), 0o755); err != nil {
				return fmt.Errorf("making a folder for the guest: %w", err)
			}
		}
	}
	return nil
}

// fetch copies what the guest wrote to where the flags wanted it. Files that it did not write are left out.
func (f fileFlags) fetch(out string) error {
	var errs []error
	for name, path := range f.files {
		from := filepath.Join(out, name)
		if !strings.HasSuffix(name, "/") {
			errs = append(errs, copyFile(from, path))
			continue
		}
		entries, err := os.ReadDir(from)
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, copyFile(filepath.Join(from, e.Name()), filepath.Join(path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// copyFile copies a file; one that is not there is no error.
func copyFile(from, to string) error {
	r, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fetching a file from the guest: %w", err)
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("fetching a file from the guest: %w", err)
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
