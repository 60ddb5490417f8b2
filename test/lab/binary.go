package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// lvsdVariable holds the path of the lvsd binary: set by who runs the tests to try a binary of their own, and for the
// program in the guest.
const lvsdVariable = "LVSD_BINARY"

// LVSD returns the path of an lvsd binary built from this module, or the one that the environment variable
// LVSD_BINARY names.
func LVSD() (string, error) { return lvsd() }

var lvsd = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(lvsdVariable); path != "" {
		if exists(path) {
			return path, nil
		}
		why, err := os.ReadFile(path + ".error")
		if err != nil {
			return "", fmt.Errorf("%s names %s: %w", lvsdVariable, path, os.ErrNotExist)
		}
		return "", errors.New(string(why))
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "lvsd")
	return path, buildLVSD(context.Background(), path)
})

// buildLVSD builds the lvsd binary into the file at path, or copies the one that the environment names. The file
// appears complete or not at all.
func buildLVSD(ctx context.Context, path string) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), "lvsd-")
	if err != nil {
		return fmt.Errorf("making a file for lvsd: %w", err)
	}
	fresh.Close()
	defer os.Remove(fresh.Name())
	if own := os.Getenv(lvsdVariable); own != "" {
		if err := copyFile(own, fresh.Name()); err != nil {
			return err
		}
	} else {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", fresh.Name(), "lvsd/cmd/lvsd").CombinedOutput()
		if err != nil {
			return fmt.Errorf("go build lvsd/cmd/lvsd: %w\n%s", err, strings.TrimSpace(string(out)))
		}
	}
	if err := os.Chmod(fresh.Name(), 0o755); err != nil {
		return fmt.Errorf("making lvsd executable: %w", err)
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return fmt.Errorf("putting lvsd in place: %w", err)
	}
	return nil
}
