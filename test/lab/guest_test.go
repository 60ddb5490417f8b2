package lab

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestKernelHasIPVS is what the guest is for: wherever the tests run, ipvsadm talks to IPVS.
func TestKernelHasIPVS(t *testing.T) {
	out, err := exec.Command("ipvsadm", "-Ln").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "IP Virtual Server version") {
		t.Fatalf("ipvsadm -Ln: %v\n%s", err, out)
	}
}

// TestFileFlags checks that what a test binary writes for its caller finds its way out of the guest, and that the
// rest of the arguments is left alone.
func TestFileFlags(t *testing.T) {
	f := newFileFlags([]string{
		"-test.testlogfile=/x/log", "-test.v=true", "-test.outputdir=/home/me", "-test.coverprofile=c.out",
		"--test.cpuprofile=/abs/cpu", "-test.gocoverdir=/x/cover", "-test.run=A=B", "-demo", "word",
	})
	want := []string{
		"-test.v=true", "-test.coverprofile=/run/lvsd-lab/out/coverprofile", "-test.cpuprofile=/run/lvsd-lab/out/cpuprofile",
		"-test.gocoverdir=/run/lvsd-lab/out/gocoverdir", "-test.run=A=B", "-demo", "word",
	}
	if !slices.Equal(f.args, want) {
		t.Errorf("arguments\n got %q\nwant %q", f.args, want)
	}

	out, home := t.TempDir(), t.TempDir()
	f = newFileFlags([]string{"-test.coverprofile=c.out", "-test.outputdir=" + home, "-test.trace=" + home + "/t", "-test.gocoverdir=" + home})
	if err := f.prepare(out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"coverprofile", "gocoverdir/counters"} {
		if err := os.WriteFile(out+"/"+name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.fetch(out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"c.out": "coverprofile", "counters": "gocoverdir/counters"} {
		got, err := os.ReadFile(home + "/" + name)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v, want %q", name, got, err, want)
		}
	}
	if exists(home + "/t") {
		t.Error("a file appeared that the guest did not write")
	}
}

// TestCopyUntil feeds the output of a guest in every possible pair of pieces.
func TestCopyUntil(t *testing.T) {
	const mark = "\x01end\x01"
	const all = "one\n\x01en two\x01e" + mark + "later"
	for i := range len(all) {
		var got strings.Builder
		copyUntil(&got, &pieces{all[:i], all[i:]}, mark)
		if want := "one\n\x01en two\x01e"; got.String() != want {
			t.Errorf("split at %d: %q, want %q", i, got.String(), want)
		}
	}
	var got strings.Builder
	copyUntil(&got, &pieces{"cut off \x01e"}, mark)
	if want := "cut off \x01e"; got.String() != want {
		t.Errorf("without a mark: %q, want %q", got.String(), want)
	}
}

// pieces is a reader that returns one piece a call.
type pieces []string

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	*p = (*p)[1:]
	return n, nil
}
