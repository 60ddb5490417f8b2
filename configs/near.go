package configs

import "fmt"

// suggest returns what would be right instead of a word that is none of those
// known: the one that was probably meant, or all of them.
func suggest(word string, known []string) string {
	best, bestAt := len(word)/3+2, ""
	for _, k := range known {
		if d := distance(word, k); d < best {
			best, bestAt = d, k
		}
	}
	switch {
	case bestAt != "":
		return fmt.Sprintf("did you mean %q?", bestAt)
	case len(known) == 0:
		return "there are none"
	default:
		return "must be " + oneOf(known)
	}
}

// distance returns how many letters must be inserted, removed, replaced or
// exchanged with their neighbour to make b out of a.
func distance(a, b string) int {
	// A far longer word is far away; counting would only take long.
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	before, previous, current := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, append([]int(nil), current...)
	}
	return previous[len(b)]
}
