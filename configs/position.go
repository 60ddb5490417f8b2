package configs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxDepth bounds how deep tables and arrays may nest and how many parts a
// dotted key may have. No key of lvsd needs half of it. It is checked before
// the TOML library sees the text, whose recursion and work on long keys grow
// with what it is given.
const maxDepth = 16

// node says where one value of a TOML document stands. Nodes form the same
// tree as the values: the library that decodes the values keeps no lines for
// keys that nobody asked for, for elements of arrays, and for what is only
// checked later.
type node struct {
	line  int              // of the key, the table's header, or the array's element
	keys  map[string]*node // of a table
	items []*node          // of an array
	given bool             // the table was defined by itself, and not only by a longer name
}

func newTable(line int) *node { return &node{line: line, keys: make(map[string]*node)} }

// child returns the node below key, or n itself if there is none.
func (n *node) child(key string) *node {
	if c := n.keys[key]; c != nil {
		return c
	}
	return n
}

// item returns the node of the i-th element, or n itself if there is none.
func (n *node) item(i int) *node {
	if i < len(n.items) {
		return n.items[i]
	}
	return n
}

// duplicate is a key or table that is defined twice.
type duplicate struct {
	name        string
	line, first int
}

// depthError is the error of a document that nests deeper than maxDepth.
type depthError struct{ line int }

func (e depthError) Error() string {
	return fmt.Sprintf("line %d: nested deeper than %d levels", e.line, maxDepth)
}

// errSyntax ends the scan of a document that is not TOML. It has no details:
// the TOML library finds the same and says it better.
var errSyntax = errors.New("not TOML")

// scanner walks over the text of a TOML document and notes where things
// stand. It looks at no value and expects a well-formed document.
type scanner struct {
	text       string
	pos        int
	line       int
	root       *node
	table      *node    // that keys at the top level go to
	prefix     []string // name of table
	depth      int
	duplicates []duplicate
}

// scan returns the positions of everything in a TOML document, and what is
// defined twice in it. It returns a depthError if the document nests too deep
// for the TOML library, and errSyntax if it is not TOML; the positions found
// until then are returned also.
func scan(text string) (*node, []duplicate, error) {
	s := &scanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1, root: newTable(1)}
	s.table = s.root
	for {
		s.skip(true)
		if s.pos >= len(s.text) {
			return s.root, s.duplicates, nil
		}
		var err error
		if s.text[s.pos] == '[' {
			err = s.header()
		} else {
			err = s.pair(s.table, s.prefix)
		}
		if err != nil {
			return s.root, s.duplicates, err
		}
	}
}

// skip moves over blanks, and over newlines and comments where they may stand.
func (s *scanner) skip(newlines bool) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t':
			s.pos++
		case newlines && c == '\n':
			s.line++
			s.pos++
		case newlines && c == '\r':
			s.pos++
		case newlines && c == '#':
			if end := strings.IndexByte(s.text[s.pos:], '\n'); end >= 0 {
				s.pos += end
			} else {
				s.pos = len(s.text)
			}
		default:
			return
		}
	}
}

// accept moves over c if that is what comes next.
func (s *scanner) accept(c string) bool {
	if !strings.HasPrefix(s.text[s.pos:], c) {
		return false
	}
	s.pos += len(c)
	return true
}

// header reads [name] or [[name]], which all keys after it belong to.
func (s *scanner) header() error {
	line := s.line
	array := s.accept("[[")
	if !array {
		s.pos++
	}
	name, err := s.name()
	if err != nil {
		return err
	}
	if array && !s.accept("]]") || !array && !s.accept("]") {
		return errSyntax
	}
	parent := s.root
	for _, part := range name[:len(name)-1] {
		if parent = descend(parent, part, line); parent == nil {
			return errSyntax
		}
	}
	last := name[len(name)-1]
	n := parent.keys[last]
	switch {
	case array:
		if n == nil {
			n = &node{line: line}
			parent.keys[last] = n
		}
		s.table = newTable(line)
		n.items = append(n.items, s.table)
	case n == nil:
		s.table = newTable(line)
		parent.keys[last] = s.table
	case n.keys == nil || n.given:
		s.duplicates = append(s.duplicates, duplicate{quoteName(name), line, n.line})
		s.table = newTable(line)
	default:
		n.line = line
		s.table = n
	}
	s.table.given = true
	s.prefix = name
	return nil
}

// descend returns the table below key in table, made if there is none. A key
// that holds [[tables]] leads to the last of them. It returns nil if the key
// holds something that is no table.
func descend(table *node, key string, line int) *node {
	n := table.keys[key]
	if n == nil {
		n = newTable(line)
		table.keys[key] = n
	}
	if len(n.items) > 0 {
		n = n.items[len(n.items)-1]
	}
	if n.keys == nil {
		return nil
	}
	return n
}

// pair reads key = value into table, which has the name prefix.
func (s *scanner) pair(table *node, prefix []string) error {
	line := s.line
	name, err := s.name()
	if err != nil {
		return err
	}
	if !s.accept("=") {
		return errSyntax
	}
	s.skip(false)
	for _, part := range name[:len(name)-1] {
		if table = descend(table, part, line); table == nil {
			return errSyntax
		}
	}
	last := name[len(name)-1]
	full := append(prefix[:len(prefix):len(prefix)], name...)
	n, err := s.value(full)
	if first := table.keys[last]; first != nil {
		s.duplicates = append(s.duplicates, duplicate{quoteName(full), line, first.line})
		return err
	}
	table.keys[last] = n
	return err
}

// value reads any value. It returns a node also with an error.
func (s *scanner) value(name []string) (*node, error) {
	n := &node{line: s.line, given: true}
	if s.pos >= len(s.text) {
		return n, errSyntax
	}
	switch s.text[s.pos] {
	case '[', '{':
		if s.depth++; s.depth > maxDepth {
			return n, depthError{s.line}
		}
		defer func() { s.depth-- }()
		if s.accept("[") {
			return n, s.array(n, name)
		}
		s.pos++
		n.keys = make(map[string]*node)
		return n, s.inline(n, name)
	case '"', '\'':
		_, err := s.quoted()
		return n, err
	}
	end := strings.IndexAny(s.text[s.pos:], ",]}#\r\n")
	if end == 0 {
		return n, errSyntax
	}
	if end < 0 {
		end = len(s.text) - s.pos
	}
	s.pos += end
	return n, nil
}

// array reads the elements of an array after its bracket.
func (s *scanner) array(n *node, name []string) error {
	for {
		s.skip(true)
		if s.accept("]") {
			return nil
		}
		item, err := s.value(name)
		n.items = append(n.items, item)
		if err != nil {
			return err
		}
		s.skip(true)
		if !s.accept(",") {
			if s.accept("]") {
				return nil
			}
			return errSyntax
		}
	}
}

// inline reads the pairs of an inline table after its brace.
func (s *scanner) inline(n *node, name []string) error {
	for {
		s.skip(true)
		if s.accept("}") {
			return nil
		}
		if err := s.pair(n, name); err != nil {
			return err
		}
		s.skip(true)
		if !s.accept(",") {
			if s.accept("}") {
				return nil
			}
			return errSyntax
		}
	}
}

// name reads a key, which may have several parts, and the blanks after it.
func (s *scanner) name() ([]string, error) {
	var name []string
	for {
		s.skip(false)
		part, err := s.part()
		if err != nil {
			return nil, err
		}
		if name = append(name, part); len(name) > maxDepth {
			return nil, depthError{s.line}
		}
		s.skip(false)
		if !s.accept(".") {
			return name, nil
		}
	}
}

// part reads one part of a key.
func (s *scanner) part() (string, error) {
	if s.pos < len(s.text) && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		return s.quoted()
	}
	start := s.pos
	for s.pos < len(s.text) && isBare(s.text[s.pos]) {
		s.pos++
	}
	if s.pos == start {
		return "", errSyntax
	}
	return s.text[start:s.pos], nil
}

// isBare says whether c may stand in a key without quotes.
func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// quoted reads a string in any of the four notations of TOML. It returns the
// content of those on one line; a key can be no other.
func (s *scanner) quoted() (string, error) {
	for _, quote := range []string{`"""`, `'''`} {
		if s.accept(quote) {
			return "", s.multiline(quote)
		}
	}
	quote := s.text[s.pos]
	s.pos++
	start := s.pos
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '\n':
			return "", errSyntax
		case c == '\\' && quote == '"':
			s.pos++
		case c == quote:
			content := s.text[start:s.pos]
			s.pos++
			if quote == '"' {
				return unescape(content)
			}
			return content, nil
		}
	}
	s.pos = len(s.text)
	return "", errSyntax
}

// multiline reads a string over several lines up to its closing quotes, of
// which up to two more belong to the content.
func (s *scanner) multiline(quote string) error {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '\n':
			s.line++
			s.pos++
		case c == '\\' && quote[0] == '"':
			// The escaped character is left to the next turn if it ends a line.
			s.pos++
			if s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		case s.accept(quote):
			for range 2 {
				s.accept(quote[:1])
			}
			return nil
		default:
			s.pos++
		}
	}
	return errSyntax
}

// unescape resolves the escapes of a basic string.
func unescape(content string) (string, error) {
	if !strings.Contains(content, `\`) {
		return content, nil
	}
	var b strings.Builder
	for i := 0; i < len(content); i++ {
		if content[i] != '\\' {
			b.WriteByte(content[i])
			continue
		}
		i++
		if i >= len(content) {
			return "", errSyntax
		}
		if plain := strings.IndexByte(`btnfre"\`, content[i]); plain >= 0 {
			b.WriteByte("\b\t\n\f\r\x1b\"\\"[plain])
			continue
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[content[i]]
		if digits == 0 || i+digits >= len(content) {
			return "", errSyntax
		}
		code, err := strconv.ParseUint(content[i+1:i+1+digits], 16, 32)
		if err != nil {
			return "", errSyntax
		}
		b.WriteRune(rune(code))
		i += digits
	}
	return b.String(), nil
}

// quoteName returns a key of several parts as it would stand in a file.
func quoteName(name []string) string {
	parts := make([]string, len(name))
	for i, part := range name {
		parts[i] = part
		if part == "" || strings.ContainsFunc(part, func(r rune) bool { return r > 127 || !isBare(byte(r)) }) {
			parts[i] = strconv.Quote(part)
		}
	}
	return strings.Join(parts, ".")
}
