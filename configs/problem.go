package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File  string // as it was given or as an include pattern matched it
	Line  int    // starting at 1; 0 if the file could not be read at all
	Table string // in words: service "web": real 3; "" if the problem is in no table
	Text  string // what is wrong: what would be right
}

// String returns the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Table != "" {
		b.WriteString(": " + p.Table)
	}
	b.WriteString(": " + p.Text)
	return b.String()
}

// Problems is all that is wrong with a configuration, sorted by file and line.
// It is the error of Load and Check.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the problems in the order they are reported in, each once.
func (p Problems) sorted() Problems {
	slices.SortFunc(p, func(a, b Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Table, b.Table),
			strings.Compare(a.Text, b.Text),
		)
	})
	return slices.Compact(p)
}

// place is where something stands in the configuration.
type place struct {
	file  string
	line  int    // starting at 1; 0: nowhere
	table string // in words, like Problem.Table
}

// String returns file and line.
func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// report collects problems while a configuration is read.
type report struct{ problems Problems }

// add notes one problem. The text says what is wrong, a colon, and what would
// be right.
func (r *report) add(at place, format string, args ...any) {
	r.problems = append(r.problems, Problem{at.file, at.line, at.table, fmt.Sprintf(format, args...)})
}
