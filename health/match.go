package health

import (
	"bytes"
	"regexp"
)

// Match is what a reply must contain: Substring, and something that Pattern matches, where they are set. The zero
// Match is found in every reply.
type Match struct {
	Substring string
	Pattern   *regexp.Regexp
}

// isZero says whether every reply will do.
func (m Match) isZero() bool { return m.Substring == "" && m.Pattern == nil }

// missing returns what reply lacks, as a sentence without its subject: `does not contain "OK"`. It returns "" if
// reply has everything.
func (m Match) missing(reply []byte) string {
	if !bytes.Contains(reply, []byte(m.Substring)) {
		return "does not contain " + quote(m.Substring)
	}
	if m.Pattern != nil && !m.Pattern.Match(reply) {
		return "does not match " + quote(m.Pattern.String())
	}
	return ""
}
