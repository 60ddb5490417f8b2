package ipvs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/google/renameio/v2"
)

// A memory remembers in a file which services are ours, so that what an older
// configuration left behind is removed after a crash, and what others made is
// not. A service is remembered before it is made and forgotten after it is gone.
type memory struct {
	path string // "" keeps nothing on disk
	keys map[Key]bool
	// dirty is true while the file does not say what keys says.
	dirty bool
}

// memoryFile is the content of the file.
type memoryFile struct {
	Services []Key `json:"services"`
}

// errMemory is wrapped by the error of loadMemory for a file that can be read and
// makes no sense.
var errMemory = errors.New("not a memory of services")

// loadMemory reads the file; one that does not exist is an empty memory.
func loadMemory(path string) (*memory, error) {
	m := &memory{path: path, keys: make(map[Key]bool)}
	if path == "" {
		return m, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which services are ours: %w", err)
	}
	var file memoryFile
	if err := json.Unmarshal(b, &file); err != nil {
		return m, fmt.Errorf("reading which services are ours from %s: %w: %w", path, errMemory, err)
	}
	for _, k := range file.Services {
		m.keys[k] = true
	}
	return m, nil
}

// set replaces what is remembered and writes the file if it differs. After an
// error the file is written with the next call, whatever that remembers.
func (m *memory) set(keys map[Key]bool) error {
	if !maps.Equal(m.keys, keys) {
		m.keys = keys
		m.dirty = true
	}
	if !m.dirty || m.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(memoryFile{Services: sortedKeys(keys)}, "", "\t")
	if err != nil {
		return fmt.Errorf("remembering which services are ours: %w", err)
	}
	if err := renameio.WriteFile(m.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("remembering which services are ours: %w", err)
	}
	m.dirty = false
	return nil
}
