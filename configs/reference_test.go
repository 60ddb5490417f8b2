package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// entry is one key of the reference with what is written above it.
type entry struct {
	line    int // index of the line that has the key
	key     string
	value   string
	comment string
}

var (
	keyLine = regexp.MustCompile(`^#?([a-z_]+) *= (.*)$`)
	// A default that is a value begins like one; others are words.
	literalDefault = regexp.MustCompile(`Default: ("[^"]*"|[0-9]+|true|false|\[\]|\{\})`)
)

// reference returns the lines of reference.toml with all keys that are
// commented out put in, and its entries. A key without a comment above it is
// only there to make the file whole.
func reference(t *testing.T) ([]string, []entry) {
	t.Helper()
	text, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	var entries []entry
	comment := ""
	for i, line := range lines {
		m := keyLine.FindStringSubmatch(line)
		switch {
		case m != nil:
			lines[i] = strings.TrimPrefix(line, "#")
			if comment != "" {
				entries = append(entries, entry{i, m[1], m[2], comment})
			}
			comment = ""
		case strings.HasPrefix(line, "#"):
			comment = strings.TrimSpace(comment + " " + strings.TrimPrefix(line, "#"))
		default:
			comment = ""
		}
	}
	if len(entries) < 50 {
		t.Fatalf("%d documented keys, want at least 50", len(entries))
	}
	return lines, entries
}

// loadReference loads the reference with one line replaced, for all directors.
func loadReference(t *testing.T, folder string, lines []string, at int, instead string) ([]*Config, error) {
	t.Helper()
	changed := append([]string(nil), lines...)
	if at >= 0 {
		changed[at] = instead
	}
	path := filepath.Join(folder, "reference.toml")
	if err := os.WriteFile(path, []byte(strings.Join(changed, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	var configs []*Config
	for _, director := range []string{"lvs-01", "lvs-02"} {
		config, err := Load(path, director)
		if err != nil {
			return nil, err
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// referenceFolder makes a folder with the files that the reference names.
func referenceFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	page, err := os.ReadFile("sorry.html")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sorry.html"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	certify(t, folder, "sorry", ecdsaKey(t), time.Hour)
	certify(t, folder, "ca", ecdsaKey(t), time.Hour)
	if err := os.Rename(filepath.Join(folder, "ca.crt"), filepath.Join(folder, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Every default that the reference states is the one in force: a file with it
// is the same as a file without the key. Every key that is said to be required
// is, and no other.
func TestReferenceStatesTheDefaultsInForce(t *testing.T) {
	lines, entries := reference(t)
	folder := referenceFolder(t)
	if _, err := loadReference(t, folder, lines, -1, ""); err != nil {
		t.Fatal(err)
	}
	literals := 0
	for _, e := range entries {
		t.Run(fmt.Sprintf("%d %s", e.line+1, e.key), func(t *testing.T) {
			without, err := loadReference(t, folder, lines, e.line, "")
			if strings.Contains(e.comment, "Required") {
				if err == nil {
					t.Error("is said to be required, and is not")
				}
				return
			}
			if !strings.Contains(e.comment, "Default: ") {
				t.Fatal("neither a default nor that it is required is stated")
			}
			m := literalDefault.FindStringSubmatch(e.comment)
			if m == nil {
				if !regexp.MustCompile(`Default: (none|that of) ?`).MatchString(e.comment) {
					t.Errorf("the default is neither a value nor none nor that of something: %s", e.comment)
				}
				return
			}
			literals++
			// Where another key needs something else than the default, both
			// files are refused, with the same words.
			with, withErr := loadReference(t, folder, lines, e.line, e.key+" = "+m[1])
			if fmt.Sprint(withErr) != fmt.Sprint(err) {
				t.Fatalf("with %s: %v, without: %v", m[1], withErr, err)
			}
			if !reflect.DeepEqual(with, without) {
				t.Errorf("%s is not the default", m[1])
			}
		})
	}
	if literals < 24 {
		t.Errorf("%d defaults were compared, want at least 24", literals)
	}
}

// documented walks over a raw value and notes which keys of which type were in
// the file.
func documented(v reflect.Value, found map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			documented(v.Elem(), found)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			documented(v.MapIndex(key), found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			documented(v.Index(i), found)
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			key := f.Tag.Get("toml")
			if key == "" {
				continue
			}
			field := v.FieldByIndex(f.Index)
			if isSet(field) {
				found[v.Type().Name()+"."+key] = true
			}
			if _, ok := field.Addr().Interface().(scalar); !ok && field.Kind() != reflect.Slice || isTables(field) {
				documented(field, found)
			}
		}
	}
}

func isTables(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Pointer
}

// known notes all keys of a raw type and the types below it.
func known(t reflect.Type, all map[string]reflect.StructTag) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]()) {
		return
	}
	for _, f := range reflect.VisibleFields(t) {
		if key := f.Tag.Get("toml"); key != "" {
			all[t.Name()+"."+key] = f.Tag
			known(f.Type, all)
		}
	}
}

// Every key that the decoder knows is in the reference, and described there with
// its range and its words.
func TestReferenceHasEveryKey(t *testing.T) {
	lines, entries := reference(t)
	r := new(report)
	raw := parse("reference.toml", strings.Join(lines, "\n"), r)
	if raw == nil || len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	found := make(map[string]bool)
	documented(reflect.ValueOf(raw), found)
	all := make(map[string]reflect.StructTag)
	known(reflect.TypeFor[rawFile](), all)
	if len(all) < 60 {
		t.Fatalf("%d keys, want at least 60", len(all))
	}
	comments := make(map[string]string) // of all entries of a key
	for _, e := range entries {
		comments[e.key] += e.comment + "\n"
	}
	headers := strings.Join(lines, "\n")
	for name, tag := range all {
		typ, key, _ := strings.Cut(name, ".")
		if typ == "rawServiceDefaults" {
			continue // they are serviceKeys, as those of rawService
		}
		if !found[name] {
			t.Errorf("%s is not in the reference", name)
		}
		comment := comments[key]
		if comment == "" && !strings.Contains(headers, "["+key) && !strings.Contains(headers, "."+key+"]") {
			t.Errorf("%s is not described", name)
		}
		if low := tag.Get("min"); low != "" {
			if want := "Range: " + low + " to "; !strings.Contains(comment, want) {
				t.Errorf("%s: the reference does not say %q: %s", name, want, comment)
			}
			if high := tag.Get("max"); !strings.Contains(comment, " to "+high) {
				t.Errorf("%s: the reference does not say up to %s: %s", name, high, comment)
			}
		}
		if step := tag.Get("step"); step != "" && !strings.Contains(comment, "a multiple of "+step) {
			t.Errorf("%s: the reference does not say a multiple of %s: %s", name, step, comment)
		}
		for _, word := range strings.Fields(tag.Get("oneof")) {
			if !strings.Contains(comment, `"`+word+`"`) {
				t.Errorf("%s: the reference does not say %q: %s", name, word, comment)
			}
		}
		for _, kind := range strings.Fields(tag.Get("types")) {
			if !strings.Contains(comment, `"`+kind+`"`) {
				t.Errorf("%s: the reference does not say that it is for %q: %s", name, kind, comment)
			}
		}
	}
}

// The bounds in the reference, and so those of the tags, are the ones in force.
func TestReferenceStatesTheRangesInForce(t *testing.T) {
	lines, entries := reference(t)
	folder := referenceFolder(t)
	ranges := regexp.MustCompile(`Range: ([0-9.]+(?:ms|s|h)?) to ([0-9.]+(?:ms|s|h)?)`)
	tested := 0
	for _, e := range entries {
		m := ranges.FindStringSubmatch(e.comment)
		if m == nil || e.key == "status" || e.key == "listen" {
			continue
		}
		tested++
		outside := []string{"-1", "1000000"}
		inside := m[1:]
		if strings.HasPrefix(e.value, `"`) {
			outside = []string{`"-1ms"`, `"1000000h"`}
			inside = []string{`"` + m[1] + `"`, `"` + m[2] + `"`}
		}
		for _, value := range outside {
			_, err := loadReference(t, folder, lines, e.line, e.key+" = "+value)
			if want := fmt.Sprintf("%s %s: must be %s to %s", e.key, value, m[1], m[2]); err == nil || !strings.Contains(err.Error(), want) {
				// A mask has another upper bound for each family.
				if e.key != "persistence_mask" {
					t.Errorf("%d: %s = %s: %v, want %s", e.line+1, e.key, value, err, want)
				}
			}
		}
		for _, value := range inside {
			// It may not go together with other values, but by itself it will do.
			if _, err := loadReference(t, folder, lines, e.line, e.key+" = "+value); err != nil {
				if strings.Contains(err.Error(), fmt.Sprintf("%s %s: must be", e.key, value)) {
					t.Errorf("%d: %s = %s: %v", e.line+1, e.key, value, err)
				}
			}
		}
	}
	if tested < 15 {
		t.Errorf("%d ranges were tested, want at least 15", tested)
	}
}
