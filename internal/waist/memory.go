package waist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"

	"lvsd/configs"
)

// memory is the file in which the elector half keeps its configuration, for
// itself: started again after a crash it elects before the director half has
// connected. A new daemon reads its configuration from where it is written.
type memory struct {
	Instances []configs.Instance `json:"instances"`
}

// Remember writes the instances to the file at path. Only root may read it: an
// instance may have a password.
func Remember(path string, instances []configs.Instance) error {
	b, err := json.MarshalIndent(memory{instances}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the instances: %w", err)
	}
	if err := renameio.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("remembering the instances: %w", err)
	}
	return nil
}

// Recall reads the instances from the file at path. The error wraps
// fs.ErrNotExist if there is none.
func Recall(path string) ([]configs.Instance, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recalling the instances: %w", err)
	}
	var m memory
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("recalling the instances: reading %s: %w", path, err)
	}
	if err := check(m.Instances); err != nil {
		return nil, fmt.Errorf("recalling the instances: reading %s: %w", path, err)
	}
	return m.Instances, nil
}

// Forget removes the file at path.
func Forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the instances: %w", err)
	}
	return nil
}
