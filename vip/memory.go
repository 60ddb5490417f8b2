package vip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// memory is the set of addresses that lvsd may have put on the machine, kept in
// a file so that a later process knows which of the addresses that it finds are
// lvsd's own. It is used by one goroutine.
type memory struct {
	path  string
	ours  set
	saved bool // the file says what ours says
	said  bool // that the file cannot be written
	log   *slog.Logger
}

// memoryFile is the file's content.
type memoryFile struct {
	Addresses []Address `json:"addresses"`
}

// loadMemory reads the file at path. A file that is missing, as it is at the first
// start, or that makes no sense, which is said once, counts as empty: then only
// what the configuration names is known to be lvsd's own. With an empty path
// nothing is kept.
func loadMemory(path string, log *slog.Logger) *memory {
	m := &memory{path: path, ours: set{}, log: log}
	if path == "" {
		return m
	}
	addresses, err := readMemory(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Debug("no memory of earlier addresses, only those of the configuration count as own", "file", path)
	case err != nil:
		log.Warn("memory of earlier addresses is unusable, only those of the configuration count as own", "file", path, "error", err)
	default:
		m.ours, m.saved = newSet(addresses), true
	}
	return m
}

func readMemory(path string) ([]Address, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f memoryFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for i, a := range f.Addresses {
		if a.Interface == "" || !a.Prefix.IsValid() {
			return nil, fmt.Errorf("reading %s: address %d is incomplete", path, i+1)
		}
	}
	return f.Addresses, nil
}

// list returns what is remembered, sorted.
func (m *memory) list() []Address {
	return slices.SortedFunc(maps.Keys(m.ours), Address.Compare)
}

// update remembers what is to be held, and forgets what is neither held nor on
// the machine any more. It is called between the look at the kernel and the
// changes, so that an address is in the file before it is on an interface: a
// crash between the two leaves nothing behind that nobody knows.
func (m *memory) update(d Desired, have []Entry) {
	ours := newSet(d.Held)
	known := newSet(d.Known)
	for _, e := range have {
		if m.ours.has(e.Address) || known.has(e.Address) {
			ours[e.Address] = struct{}{}
		}
	}
	if !maps.Equal(ours, m.ours) {
		m.ours, m.saved = ours, false
	}
	m.save()
}

// save writes the file if it is not up to date. An error is said once, and the
// next update tries again: an address is never refused because of its memory.
func (m *memory) save() {
	if m.path == "" || m.saved {
		return
	}
	err := writeMemory(m.path, m.list())
	switch {
	case err == nil:
		m.saved, m.said = true, false
	case !m.said:
		m.said = true
		m.log.Warn("addresses cannot be remembered for the next start", "file", m.path, "error", err)
	}
}

func writeMemory(path string, addresses []Address) error {
	if addresses == nil {
		addresses = []Address{}
	}
	b, err := json.MarshalIndent(memoryFile{Addresses: addresses}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding addresses: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o644)
}
