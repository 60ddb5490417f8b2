package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each file testdata/invalid-KIND.toml has one kind of problem, and beside it
// invalid-KIND.want with exactly what is reported.
func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid-*.toml")
	if err != nil {
		t.Fatal(err)
	}
	wants, err := filepath.Glob("testdata/invalid-*.want")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 || len(files) != len(wants) {
		t.Fatalf("%d files and %d wants, want the same number, at least 60", len(files), len(wants))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			config, err := Load(file, "lvs-01")
			if config != nil {
				t.Error("there is a configuration")
			}
			problems := Problems(nil)
			if !errors.As(err, &problems) {
				t.Fatalf("error %v, want Problems", err)
			}
			if diff := cmp.Diff(string(want), problems.Error()+"\n"); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// write puts a configuration into a temporary folder and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lvsd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused loads a file that must be refused, and compares what is said, without
// the folder.
func refused(t *testing.T, path, director, want string) {
	t.Helper()
	config, err := Load(path, director)
	if config != nil || err == nil {
		t.Fatalf("Load: %v, %v, want an error", config, err)
	}
	got := strings.ReplaceAll(err.Error(), filepath.Dir(path)+string(filepath.Separator), "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	refused(t, filepath.Join(t.TempDir(), "lvsd.toml"), "lvs-01", "lvsd.toml: does not exist: must be a file")
}

func TestFileBelowAFile(t *testing.T) {
	refused(t, filepath.Join(write(t, ""), "lvsd.toml"), "lvs-01",
		"lvsd.toml: cannot be read, not a directory: must be a file that lvsd may read")
}

func TestFileThatIsADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lvsd.toml")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "lvs-01", "lvsd.toml: is a directory: must be a file")
}

func TestFileThatIsADevice(t *testing.T) {
	refused(t, "/dev/zero", "lvs-01", "zero: is not a regular file: must be one")
}

// The memory of a process is a regular file with nothing to read at its start.
func TestFileThatCannotBeRead(t *testing.T) {
	refused(t, "/proc/self/mem", "lvs-01", "mem: cannot be read, input/output error: must be a file that lvsd may read")
}

func TestFileThatIsTooLarge(t *testing.T) {
	refused(t, write(t, strings.Repeat("# ten bytes", 10<<20/11)), "lvs-01",
		"lvsd.toml: is larger than 4 MiB: must be smaller")
}

func TestFileOfTheLargestSize(t *testing.T) {
	text := strings.Repeat("# sixteen bytes\n", maxFile/16)
	if len(text) != maxFile {
		t.Fatalf("%d bytes, want %d", len(text), maxFile)
	}
	if content, err := readFile(write(t, text), maxFile); err != nil || string(content) != text {
		t.Errorf("%d bytes, %v", len(content), err)
	}
}

func TestFileOfGarbage(t *testing.T) {
	refused(t, write(t, "\x7fELF\x02\x01\x01\x00\x00"), "lvs-01", "lvsd.toml:1: control character 0x7f: must be TOML in UTF-8")
	refused(t, write(t, "\n\xff\xfe\x00\x01"), "lvs-01", "lvsd.toml:2: byte 0xff is not UTF-8: must be TOML in UTF-8")
	refused(t, write(t, "[\x00s\x00"), "lvs-01", "lvsd.toml:1: control character 0x00: must be TOML in UTF-8")
}

func TestEmptyPath(t *testing.T) {
	if _, err := Load("", "lvs-01"); err == nil {
		t.Error("no error")
	}
}

const two = `
[director.lvs-01]
[director."lvs-02.example.com"]
`

func TestUnknownDirector(t *testing.T) {
	refused(t, write(t, two), "lvs-03", `lvsd.toml:2: director "lvs-03" is none of the directors: --name must be "lvs-01" or "lvs-02.example.com"`)
}

func TestUnknownHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	refused(t, write(t, two), "", `lvsd.toml:2: this host, "`+host+`", is none of the directors: --name must be "lvs-01" or "lvs-02.example.com"`)
}

// A machine that is no director can check the file all the same.
func TestCheckIsForNoDirector(t *testing.T) {
	if err := Check(write(t, two)); err != nil {
		t.Error(err)
	}
	want := `testdata/invalid-real-weight.toml:7: service "web": real 3: weight 70000: must be 0 to 65535`
	if err := Check("testdata/invalid-real-weight.toml"); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Check: %v, want %s", err, want)
	}
}

// An advertisement has room for 255 addresses; a thousand can move with it.
func TestTooManyAddresses(t *testing.T) {
	text := func(advertised, extra int) string {
		var b strings.Builder
		b.WriteString("[vrrp.web]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\n")
		for i := range advertised + extra {
			if i == advertised {
				b.WriteString("]\nextra_addresses = [\n")
			}
			fmt.Fprintf(&b, "  \"10.0.%d.%d/16\",\n", i/200, 1+i%200)
		}
		return b.String() + "]\n"
	}
	for _, n := range []int{0, 745} {
		i := load(t, text(255, n), "lvs-01").Instances[0]
		if len(i.Addresses) != 255 || len(i.ExtraAddresses) != n {
			t.Errorf("%d addresses and %d extra addresses, want 255 and %d", len(i.Addresses), len(i.ExtraAddresses), n)
		}
	}
	refused(t, write(t, text(256, 0)), "lvs-01", `lvsd.toml:260: vrrp "web": 256 addresses: must be 1 to 255: put the others into extra_addresses`)
	refused(t, write(t, text(255, 746)), "lvs-01",
		`lvsd.toml:1007: vrrp "web": 1001 addresses and extra_addresses: must be at most 1000: make it several instances`)
}

func TestPageThatIsTooLarge(t *testing.T) {
	path := write(t, `[service.web]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22" }]
sorry = { page = "page.html" }
`)
	page := filepath.Join(filepath.Dir(path), "page.html")
	if err := os.WriteFile(page, make([]byte, maxPage), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, "lvs-01"); err != nil {
		t.Errorf("a page of 1 MiB: %v", err)
	}
	if err := os.WriteFile(page, make([]byte, maxPage+1), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "lvs-01", `lvsd.toml:4: service "web": sorry: page "page.html": page.html is larger than 1 MiB: must be smaller`)
}
