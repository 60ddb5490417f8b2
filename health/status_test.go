package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStatusRanges(t *testing.T) {
	for _, test := range []struct {
		text string
		want StatusRanges
		back string // what String returns, if not text
		err  string
	}{
		{"200-399", StatusRanges{{200, 399}}, "", ""},
		{"200", StatusRanges{{200, 200}}, "", ""},
		{"200,204,300-302", StatusRanges{{200, 200}, {204, 204}, {300, 302}}, "", ""},
		{" 200 , 300 - 302 ", StatusRanges{{200, 200}, {300, 302}}, "200,300-302", ""},
		{"404-404", StatusRanges{{404, 404}}, "404", ""},
		{"100-599", StatusRanges{{100, 599}}, "", ""},
		{"", nil, "", "status: is empty, must be a list like 200,204,300-399"},
		{" ", nil, "", "status: is empty, must be a list like 200,204,300-399"},
		{"200,", nil, "", `status "": must be a code from 100 to 599, or a range of them like 200-399`},
		{"ok", nil, "", `status "ok": must be a code from 100 to 599, or a range of them like 200-399`},
		{"2xx", nil, "", `status "2xx": must be a code from 100 to 599, or a range of them like 200-399`},
		{"99", nil, "", `status "99": must be a code from 100 to 599, or a range of them like 200-399`},
		{"200-600", nil, "", `status "200-600": must be a code from 100 to 599, or a range of them like 200-399`},
		{"200-", nil, "", `status "200-": must be a code from 100 to 599, or a range of them like 200-399`},
		{"-200", nil, "", `status "-200": must be a code from 100 to 599, or a range of them like 200-399`},
		{"+200", nil, "", `status "+200": must be a code from 100 to 599, or a range of them like 200-399`},
		{"200-300-400", nil, "", `status "200-300-400": must be a code from 100 to 599, or a range of them like 200-399`},
		{"65736", nil, "", `status "65736": must be a code from 100 to 599, or a range of them like 200-399`},
		{"399-200", nil, "", `status "399-200": range begins after its end, must be 200-399`},
	} {
		t.Run(test.text, func(t *testing.T) {
			var got StatusRanges
			wantReason(t, got.UnmarshalText([]byte(test.text)), test.err)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			back := test.back
			if back == "" {
				back = test.text
			}
			if text, err := got.MarshalText(); test.err == "" && (string(text) != back || err != nil) {
				t.Errorf("written as %q, %v; want %q", text, err, back)
			}
		})
	}
}

func TestStatusRangesContains(t *testing.T) {
	list := StatusRanges{{200, 204}, {301, 301}}
	for code, want := range map[int]bool{199: false, 200: true, 204: true, 205: false, 300: false, 301: true, 302: false, 0: false} {
		if got := list.Contains(code); got != want {
			t.Errorf("%d: %v", code, got)
		}
	}
}

func TestStatesInWords(t *testing.T) {
	for state, want := range map[State]string{Unknown: "unknown", Up: "up", Down: "down", 7: "State(7)"} {
		if text, err := state.MarshalText(); string(text) != want || err != nil {
			t.Errorf("%q, %v; want %q", text, err, want)
		}
	}
}
