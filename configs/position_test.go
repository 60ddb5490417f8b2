package configs

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines returns the line of everything below a node, by its path.
func lines(n *node) map[string]int {
	found := make(map[string]int)
	var walk func(path string, n *node)
	walk = func(path string, n *node) {
		for key, child := range n.keys {
			found[path+key] = child.line
			walk(path+key+"/", child)
		}
		for i, child := range n.items {
			at := fmt.Sprintf("%s%d", path, i)
			found[at] = child.line
			walk(at+"/", child)
		}
	}
	walk("", n)
	return found
}

func TestScan(t *testing.T) {
	tests := []struct {
		name string
		text string
		want map[string]int
	}{
		{name: "empty", text: "", want: map[string]int{}},
		{name: "comment without a newline", text: "# nothing", want: map[string]int{}},
		{name: "key", text: "\n a = 1 # one\n\"b\" = 2", want: map[string]int{"a": 2, "b": 3}},
		{name: "carriage returns", text: "a = 1\r\n\r\n# x\r\nb = [\r\n1,\r\n]\r\n", want: map[string]int{"a": 1, "b": 4, "b/0": 5}},
		{name: "byte order mark", text: "\ufeffa = 1", want: map[string]int{"a": 1}},
		{
			name: "dotted keys",
			text: "a.b.c = 1\na . b.\"d e\" = 2\na.'f' = 3",
			want: map[string]int{"a": 1, "a/b": 1, "a/b/c": 1, "a/b/d e": 2, "a/f": 3},
		},
		{
			name: "tables",
			text: "[a]\nx = 1\n[a.b]\ny = 1\n\n[ c . \"d.e\" ]\nz.w = 1",
			want: map[string]int{"a": 1, "a/x": 2, "a/b": 3, "a/b/y": 4, "c": 6, "c/d.e": 6, "c/d.e/z": 7, "c/d.e/z/w": 7},
		},
		{
			name: "table after its own table",
			text: "[a.b]\nx = 1\n[a]\ny = 1",
			want: map[string]int{"a": 3, "a/b": 1, "a/b/x": 2, "a/y": 4},
		},
		{
			name: "arrays of tables",
			text: "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a]]\nx = 2\n[[a.c]]\nz = 1\n[[a.c]]\nz = 2",
			want: map[string]int{
				"a": 1, "a/0": 1, "a/0/x": 2, "a/0/b": 3, "a/0/b/y": 4,
				"a/1": 5, "a/1/x": 6, "a/1/c": 7, "a/1/c/0": 7, "a/1/c/0/z": 8, "a/1/c/1": 9, "a/1/c/1/z": 10,
			},
		},
		{
			name: "array over several lines",
			text: "a = [ # [\n  1, 2,\n\n  # 3, ]\n  [4,\n5], \"]\",\n]\nb = 1",
			want: map[string]int{"a": 1, "a/0": 2, "a/1": 2, "a/2": 5, "a/2/0": 5, "a/2/1": 6, "a/3": 6, "b": 8},
		},
		{
			name: "inline tables",
			text: "a = [{ x = 1, y.z = 2 },\n{ x = 3,\n# }\ny = { z = '}' }, },\n{}]\nb = 1",
			want: map[string]int{
				"a": 1, "a/0": 1, "a/0/x": 1, "a/0/y": 1, "a/0/y/z": 1,
				"a/1": 2, "a/1/x": 2, "a/1/y": 4, "a/1/y/z": 4, "a/2": 5, "b": 6,
			},
		},
		{
			name: "strings over several lines",
			text: "a = \"\"\"\n[x]\ny = 1 # \"\" \\\"\"\"\n\\\n  z\"\"\"\"\"\nb = '''\n\\''''\nc = [\"\"\"\n\"\"\", '''\n''',\n1]",
			want: map[string]int{"a": 1, "b": 6, "c": 8, "c/0": 8, "c/1": 9, "c/2": 11},
		},
		{
			name: "strings that look like more",
			text: "a = \"# \\\" = [ \\\\\"\nb = '# \" = [ \\'\nc = \"\"\nd = ''",
			want: map[string]int{"a": 1, "b": 2, "c": 3, "d": 4},
		},
		{
			name: "escapes in keys",
			text: `"\u00e9\t\x41\U0001F600\\\"" = 1`,
			want: map[string]int{"é\tA😀\\\"": 1},
		},
		{name: "dates and floats", text: "a = 1979-05-27 07:32:00Z\nb = 1.5e3\nc = -inf", want: map[string]int{"a": 1, "b": 2, "c": 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, duplicates, err := scan(tt.text)
			if err != nil || duplicates != nil {
				t.Fatalf("scan: %v, duplicates %v", err, duplicates)
			}
			if diff := cmp.Diff(tt.want, lines(root)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			data, err := decodeTOML(tt.text)
			if err != nil {
				t.Fatalf("the library does not take it: %v", err)
			}
			if missing := uncovered(data, root, ""); missing != "" {
				t.Errorf("no position for %s", missing)
			}
		})
	}
}

// uncovered returns the path of a value that has no node of its own, or "".
func uncovered(data any, n *node, path string) string {
	if n == nil || n.line < 1 {
		return path + " itself"
	}
	switch v := reflect.ValueOf(data); v.Kind() {
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if missing := uncovered(v.MapIndex(key).Interface(), n.keys[key.String()], path+"/"+key.String()); missing != "" {
				return missing
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			var item *node
			if i < len(n.items) {
				item = n.items[i]
			}
			if missing := uncovered(v.Index(i).Interface(), item, fmt.Sprintf("%s/%d", path, i)); missing != "" {
				return missing
			}
		}
	}
	return ""
}

func TestScanFindsDuplicates(t *testing.T) {
	tests := []struct {
		text string
		want duplicate
	}{
		{"a = 1\nb = 2\na = 3", duplicate{"a", 3, 1}},
		{"[a]\n[b]\n[a]", duplicate{"a", 3, 1}},
		{"[a.\"b c\"]\nx = 1\n\nx = 2", duplicate{`a."b c".x`, 4, 2}},
		{"[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2", duplicate{"a.x", 5, 4}},
		{"a = { x = 1,\nx = 2 }", duplicate{"a.x", 2, 1}},
		{"a = 1\n[a]", duplicate{"a", 2, 1}},
	}
	for _, tt := range tests {
		_, got, err := scan(tt.text)
		if err != nil || len(got) != 1 || got[0] != tt.want {
			t.Errorf("scan(%q): %v, %v, want %v", tt.text, got, err, tt.want)
		}
		if _, err := decodeTOML(tt.text); err == nil {
			t.Errorf("the library takes %q", tt.text)
		}
	}
}

// What nests deep costs the TOML library a stack frame a level, which ends the
// process when there are enough of them: it must never see such a text.
func TestScanRefusesWhatNestsTooDeep(t *testing.T) {
	const many = 1 << 20
	for name, text := range map[string]string{
		"arrays":        "\na = " + strings.Repeat("[", many),
		"inline tables": "\n" + strings.Repeat("a = {", many),
		"dotted key":    "\n" + strings.Repeat("a.", many) + "a = 1",
		"header":        "\n[" + strings.Repeat("a.", many) + "a]",
	} {
		_, _, err := scan(text)
		if tooDeep := (depthError{}); !errors.As(err, &tooDeep) || tooDeep.line != 2 {
			t.Errorf("%s: %v, want a depthError of line 2", name, err)
		}
	}
}

func TestScanEndsOnWhatIsNotTOML(t *testing.T) {
	for _, text := range []string{
		"a", "a =", "= 1", "a = \n", "[a", "[[a]", "[]", "[a.]", "a. = 1", "a = [1", "a = {b = 1", "a = {b}",
		`a = "`, `a = "\`, "a = \"\n\"", `a = """`, `a = """\`, "a = '''x''", `"\u12" = 1`, `"\q" = 1`, `"\xzz" = 1`, "a = 1\na.b = 2", "a = 1\n[a.b]", "a = [,]",
	} {
		if _, _, err := scan(text); !errors.Is(err, errSyntax) {
			t.Errorf("scan(%q): %v, want %v", text, err, errSyntax)
		}
	}
}
