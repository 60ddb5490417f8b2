package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodConfig = `
[vrrp.web]
interface = "eth2"
vrid      = 51
addresses = ["192.168.50.100/24"]
`

const badConfig = `
[vrrp.web]
interface = "eth2"
vrid      = 256
addresses = ["192.168.50.100/24"]

[service.web]
listen = ["192.168.50.100:80"]
real   = [{ address = "192.168.50.22", weight = 70000 }]
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lvsd.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommandLine(t *testing.T) {
	good, bad := write(t, goodConfig), write(t, badConfig)
	nobody := t.TempDir()
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // part of it
		stderr string // part of it
	}{
		{"a good file", []string{"check", good}, 0, "lvsd.toml: fine\n", ""},
		{"a bad file", []string{"check", bad}, 1, "", `lvsd.toml:4: vrrp "web": vrid 256: must be 1 to 255`},
		{"all problems at once", []string{"check", bad}, 1, "", `lvsd.toml:9: service "web": real 1: weight 70000: must be 0 to 65535`},
		{"no file", []string{"check", filepath.Join(nobody, "none.toml")}, 1, "", "none.toml"},
		{"two files", []string{"check", good, bad}, 2, "", "lvsd check takes one file, got 2"},
		{"version", []string{"version"}, 0, "lvsd ", ""},
		{"version with an argument", []string{"version", "x"}, 2, "", `lvsd version takes no argument, got "x"`},
		{"help", []string{"--help"}, 0, "Available Commands:", ""},
		{"no command", nil, 0, "Available Commands:", ""},
		{"a command that is not", []string{"frobnicate"}, 2, "", `there is no command "frobnicate"`},
		{"a flag that is not", []string{"status", "--frobnicate"}, 2, "", "unknown flag: --frobnicate; see lvsd status --help"},
		{"an output that is not", []string{"status", "-o", "xml"}, 2, "", `--output "xml": must be table or json`},
		{"status of nobody", []string{"status", "--runtime-dir", nobody}, 1, "", "is it running?"},
		{"run in one process with a bad file", []string{"run", "--one-process", "--config", bad, "--runtime-dir", nobody}, 1, "", "vrid 256"},
		{"run with a bad level", []string{"run", "--config", good, "--log-level", "loud"}, 2, "", `--log-level "loud"`},
		{"run with a bad format", []string{"run", "--config", good, "--log-format", "xml"}, 2, "", `--log-format "xml"`},
		{"release of nothing", []string{"release", "--runtime-dir", nobody}, 0, "", ""},
		{"completion", []string{"completion", "bash"}, 0, "bash completion", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(tt.args, &stdout, &stderr)
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("lvsd %v: exit code %d\nstdout: %s\nstderr: %s\nwant exit code %d, stdout with %q, stderr with %q",
					tt.args, code, stdout.String(), stderr.String(), tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestTheConfigurationOfTheReadmeIsGood checks what a new user copies first.
func TestTheConfigurationOfTheReadmeIsGood(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```toml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("README.md has no configuration")
	}
	file := write(t, text)
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "sorry.html"), []byte("back soon"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"check", file}, &stdout, &stderr); code != 0 {
		t.Errorf("lvsd check: %s", stderr.String())
	}
}
