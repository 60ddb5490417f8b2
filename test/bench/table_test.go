package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// spread returns the median and the worst of some values.
func spread[T int | time.Duration](values []T) (median, worst T) {
	if len(values) == 0 {
		return 0, 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2, s[len(s)-1]
}

// milliseconds returns a duration as a number of milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// inMilliseconds prints durations for a table.
func inMilliseconds(a, b time.Duration) string {
	return fmt.Sprintf("%.1f\t%.1f", milliseconds(a), milliseconds(b))
}

// printTable prints rows of cells, which tabs separate, below a title.
func printTable(title string, rows []string) {
	fmt.Printf("\n%s\n\n", title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n\n", strings.Join(rows, "\n"))
	w.Flush()
}
