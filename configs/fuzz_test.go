package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the text of a file is, loading it does not panic, every problem has a
// line of the file, and every value has a position.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"*.toml", "testdata/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	for _, text := range []string{
		"a = [\n{ x = 1 },\n", "\ufeff[vrrp.a]\nvrid = 0", "a=\"\"\"\n\\\n\"\"\"", "a.b = 1\n[a]\nc = 2", "a=1\r\n[[a]]", "a = 0x", "a = 1e",
		"[service.x]\nlisten = []\nreal = [{}]\n", "real = [1, {a = 2}]", "a = 2024-02-30", "a = 23:61:00", "[a]\n[a.b]\n[[a]]",
	} {
		f.Add(text)
	}
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(folder, "lvsd.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		root, _, scanErr := scan(text)
		if line, _ := badText(text); line == 0 && !errors.As(scanErr, new(depthError)) {
			if data, err := decodeTOML(text); err == nil {
				if missing := uncovered(data, root, ""); missing != "" {
					t.Errorf("no position for %s (%v)", missing, scanErr)
				}
			}
		}
		if strings.Contains(text, "include") {
			return // it could read any file of the machine
		}
		config, err := Load(path, "lvs-01")
		if err == nil {
			if config == nil {
				t.Error("neither a configuration nor an error")
			}
			return
		}
		problems := Problems(nil)
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("error %v, want Problems", err)
		}
		last := 1 + strings.Count(text, "\n")
		for _, p := range problems {
			if p.File != path || p.Line < 1 || p.Line > last || p.Text == "" || strings.Contains(p.String(), "\n") {
				t.Errorf("problem %+v in a file of %d lines", p, last)
			}
		}
	})
}
