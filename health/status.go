package health

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ First, Last int }

// StatusRanges is a list of HTTP status codes, written "200-399" or "200,204,300-302".
type StatusRanges []StatusRange

// DefaultStatus is what an [HTTP] check wants if nothing else is said: 200-399.
var DefaultStatus = StatusRanges{{200, 399}}

// ParseStatusRanges reads a list of status codes and ranges of them, separated by commas. Codes are 100 to 599.
func ParseStatusRanges(text string) (StatusRanges, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("status: is empty, must be a list like 200,204,300-399")
	}
	var list StatusRanges
	for element := range strings.SplitSeq(text, ",") {
		element = strings.TrimSpace(element)
		first, last, isRange := strings.Cut(element, "-")
		if !isRange {
			last = first
		}
		r := StatusRange{parseStatus(first), parseStatus(last)}
		if r.First == 0 || r.Last == 0 {
			return nil, fmt.Errorf("status %q: must be a code from 100 to 599, or a range of them like 200-399", element)
		}
		if r.First > r.Last {
			return nil, fmt.Errorf("status %q: range begins after its end, must be %d-%d", element, r.Last, r.First)
		}
		list = append(list, r)
	}
	return list, nil
}

// parseStatus returns the status code that text is, or 0 if it is none.
func parseStatus(text string) int {
	code, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || code < 100 || code > 599 {
		return 0
	}
	return int(code)
}

// Contains says whether code is in the list.
func (l StatusRanges) Contains(code int) bool {
	for _, r := range l {
		if r.First <= code && code <= r.Last {
			return true
		}
	}
	return false
}

// String returns the list as [ParseStatusRanges] reads it.
func (l StatusRanges) String() string {
	var b strings.Builder
	for i, r := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.First))
		if r.Last != r.First {
			b.WriteString("-" + strconv.Itoa(r.Last))
		}
	}
	return b.String()
}

// UnmarshalText reads the list as [ParseStatusRanges] does.
func (l *StatusRanges) UnmarshalText(text []byte) error {
	list, err := ParseStatusRanges(string(text))
	if err != nil {
		return err
	}
	*l = list
	return nil
}

// MarshalText returns what String does. It never fails.
func (l StatusRanges) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
