package waist

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
)

var when = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)

// examples returns the instances of a file that uses every key.
func examples(t testing.TB, file string) []configs.Instance {
	t.Helper()
	config, err := configs.Load(filepath.Join("../../configs", file), "lvs-01")
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Instances) == 0 {
		t.Fatalf("%s has no instance", file)
	}
	return config.Instances
}

func messages(t testing.TB) []message {
	return []message{
		configure{},
		configure{examples(t, "reference.toml")},
		report{"1 checks have no verdict yet", map[string]configs.Finding{"service web": {Reason: "no real server is up"}}},
		switchoverRequest{7, "web", true},
		switchoverReply{7, "instance web: nobody has taken over"},
		ping{},
		statusRequest{7},
		rolesRequest{},
		hello{supervisor.Process{PID: 4711, Since: when, Restarts: 2, RestartedAt: when, Reason: "killed by signal killed"}},
		roles{[]role{{"web", "backup", "started", when, true}}},
		transition{"web", "master", "no master heard", when},
		pong{},
		statusReply{7, []elector.InstanceStatus{{Name: "web", State: "master", Since: when, Addresses: []elector.AddressStatus{{Address: "192.168.50.100/24", Held: true}}}}},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, want := range messages(t) {
		line, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(line, []byte("\n")) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("%s: not one line: %q", want.kind(), line)
		}
		got, err := decode(bytes.TrimSpace(line))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %#v, %v, want %#v", line, got, err, want)
		}
	}
}

// TestInstancesSurviveTheWire takes every example there is: an instance that
// comes out as another one would be another virtual router.
func TestInstancesSurviveTheWire(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v: want 4 or more", len(files), err)
	}
	for _, file := range files {
		want := examples(t, filepath.Base(file))
		line, err := encode(configure{want})
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(line)
		if err != nil || !reflect.DeepEqual(got, configure{want}) {
			t.Errorf("%s: the instances became %+v, %v, want %+v", file, got, err, want)
		}
	}
}

func TestBadLines(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"", "reading a message: unexpected end of JSON input"},
		{"hello", "reading a message: invalid character 'h'"},
		{"{", "reading a message: unexpected end"},
		{"[]", "reading a message: json: cannot unmarshal array"},
		{"null", `there is no type ""`},
		{`{"type":"reboot","body":{}}`, `there is no type "reboot"`},
		{`{"type":"ping"}`, "reading a ping: unexpected end of JSON input"},
		{`{"type":"configure","body":7}`, "reading a configure: json: cannot unmarshal number"},
		{`{"type":"configure","body":{"instances":[{"Name":"web","VRID":256}]}}`, "cannot unmarshal number 256"},
		{`{"type":"configure","body":{"instances":[{"Name":"web"}]}}`, `instance "web" on interface "": both must have a name`},
		{`{"type":"configure","body":{"instances":[{"Name":"web","Interface":"eth2"}]}}`, `instance "web": it has no address`},
	} {
		if _, err := decode([]byte(tt.line)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.line, err, tt.want)
		}
	}
	if m, err := decode([]byte(`{"type":"ping","body":{"new":1},"new":2}`)); m != (ping{}) || err != nil {
		t.Errorf("fields that are not known yet: %v, %v", m, err)
	}
}

func TestAMessageThatIsTooLargeIsNotSent(t *testing.T) {
	large := configure{[]configs.Instance{{Name: strings.Repeat("x", maxLine)}}}
	if _, err := encode(large); err == nil || !strings.Contains(err.Error(), "must be less than 4194304") {
		t.Errorf("encode returned %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages(f) {
		line, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			return
		}
		// What was understood is understood in the same way again.
		again, err := encode(m)
		if err != nil {
			t.Fatalf("%#v cannot be encoded: %v", m, err)
		}
		same, err := decode(again)
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", line, again, err)
		}
		if !reflect.DeepEqual(m, same) {
			t.Errorf("%q is %#v, but encoded again it is %#v", line, m, same)
		}
	})
}

func TestTheInstancesAreRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "elector.json")
	if _, err := Recall(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was remembered: %v", err)
	}
	want := examples(t, "reference.toml")
	if err := Remember(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Recall(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Recall returned %+v, %v, want %+v", got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v: want it for root alone", info.Mode(), err)
	}
	for _, broken := range []string{"", "{", `{"instances":[{"Name":"web"}]}`} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Recall(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: Recall returned %+v, %v", broken, got, err)
		}
	}
	for range 2 {
		if err := Forget(path); err != nil {
			t.Error(err)
		}
	}
}
