package configs

import (
	"strings"
	"testing"
)

func TestSuggest(t *testing.T) {
	known := []string{"address", "check", "forward", "port", "weight"}
	for word, want := range map[string]string{
		"wieght":  `did you mean "weight"?`,
		"weigth":  `did you mean "weight"?`,
		"adress":  `did you mean "address"?`,
		"checks":  `did you mean "check"?`,
		"Port":    `did you mean "port"?`,
		"forwad":  `did you mean "forward"?`,
		"colour":  `must be "address", "check", "forward", "port" or "weight"`,
		"x":       `must be "address", "check", "forward", "port" or "weight"`,
		"":        `must be "address", "check", "forward", "port" or "weight"`,
		"forward": `did you mean "forward"?`,
	} {
		if got := suggest(word, known); got != want {
			t.Errorf("suggest(%q): %s, want %s", word, got, want)
		}
	}
	if got, want := suggest("a", nil), "there are none"; got != want {
		t.Errorf("suggest of nothing: %s, want %s", got, want)
	}
	if got, want := suggest(strings.Repeat("port", 1<<20), []string{"port"}), `must be "port"`; got != want {
		t.Errorf("suggest of a very long word: %s, want %s", got, want)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "ab", 2},
		{"rise", "rise", 0},
		{"rise", "rice", 1},
		{"rise", "ries", 1}, // neighbours exchanged
		{"rise", "raise", 1},
		{"fall", "rise", 4},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q): %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
