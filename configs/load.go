package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is the size in bytes up to which a configuration file is read. It has
// room for more than ten thousand services.
const maxFile = 4 << 20

// Load reads the configuration at path and all files that it includes, and
// returns it as the director with the given name sees it. An empty name stands
// for the host name of the machine, with its domain or without.
//
// The file is checked for all directors that it names, so that every director
// takes or refuses it alike. The error is Problems, with everything that is
// wrong at once.
func Load(path, director string) (*Config, error) {
	b := read(path)
	b.build()
	b.choose(director)
	if len(b.problems) > 0 {
		return nil, b.problems.sorted()
	}
	return &b.config, nil
}

// Check reads the configuration at path like Load, but on no director's behalf:
// the machine need not be one of those that the file names.
func Check(path string) error {
	b := read(path)
	b.build()
	if len(b.problems) > 0 {
		return b.problems.sorted()
	}
	return nil
}

// read reads a file and what it includes.
func read(path string) *builder {
	b := &builder{
		config:    Config{Path: path},
		directors: make(map[string]*rawDirector),
		instances: make(map[string]*rawInstance),
		services:  make(map[string]*rawService),
		first:     make(map[string]place),
	}
	l := &loader{builder: b, state: make(map[string]loadState)}
	l.file(path, place{file: path}, "")
	return b
}

type loadState uint8

const (
	reading loadState = iota + 1
	done
)

// loader reads files into a builder, each once.
type loader struct {
	*builder
	state map[string]loadState // by the path without symbolic links
}

// file reads the file at path and what it includes. The place is that of the
// include pattern, or the file itself if it is the first.
func (l *loader) file(path string, from place, pattern string) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err == nil && l.state[real] == reading {
		l.add(from, "include %s: %s includes itself: a file can be included only by others", show(pattern), path)
		return
	}
	if err == nil && l.state[real] == done {
		return
	}
	l.state[real] = reading
	defer func() { l.state[real] = done }()

	l.config.Files = append(l.config.Files, path)
	text, err := readFile(path, maxFile)
	if err != nil {
		if pattern != "" {
			err = fmt.Errorf("include %s: %s %w", show(pattern), path, err)
		}
		l.add(from, "%s", err)
		return
	}
	raw := parse(path, string(text), &l.report)
	if raw == nil {
		return
	}
	l.merge(raw)
	for _, pattern := range raw.Include {
		if pattern.good() {
			l.include(pattern)
		}
	}
}

// include reads the files that a pattern matches.
func (l *loader) include(pattern value[string]) {
	full := relative(pattern)
	paths, err := filepath.Glob(full)
	switch {
	case err != nil || pattern.is == "":
		l.add(pattern.at, "include %s: must be a path like \"conf.d/*.toml\"", show(pattern.is))
		return
	case len(paths) == 0 && !strings.ContainsAny(pattern.is, `*?[\`):
		l.add(pattern.at, "include %s: %s does not exist: must be a file, or a pattern like \"conf.d/*.toml\"", show(pattern.is), full)
	}
	for _, path := range paths {
		l.file(path, pattern.at, pattern.is)
	}
}

// relative returns the path of a file that the configuration names: relative to
// the file that names it.
func relative(path value[string]) string {
	if filepath.IsAbs(path.is) {
		return path.is
	}
	return filepath.Join(filepath.Dir(path.at.file), path.is)
}

// readFile reads a regular file of at most limit bytes. The error says what is
// wrong with the file, a colon, and what would be right, but not its path.
func readFile(path string, limit int64) ([]byte, error) {
	// Opening a device or a pipe may wait for ever, so they are asked for first.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("does not exist: must be a file")
	case err != nil:
		return nil, cannotRead(err)
	case info.IsDir():
		return nil, errors.New("is a directory: must be a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file: must be one")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cannotRead(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, cannotRead(err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("is larger than %d MiB: must be smaller", limit>>20)
	}
	return content, nil
}

// cannotRead returns the reason of a failed operation without the operation and
// the path.
func cannotRead(err error) error {
	if pathError := new(fs.PathError); errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("cannot be read, %w: must be a file that lvsd may read", err)
}

// parse reads the text of one file. It returns nil if the text is not TOML, or
// not such that there could be any use in looking at its keys.
func parse(file, text string, r *report) *rawFile {
	if line, what := badText(text); line > 0 {
		r.add(place{file: file, line: line}, "%s: must be TOML in UTF-8", what)
		return nil
	}
	root, duplicates, err := scan(text)
	if tooDeep := (depthError{}); errors.As(err, &tooDeep) {
		r.add(place{file: file, line: tooDeep.line}, "nested too deep: must be at most %d levels", maxDepth)
		return nil
	}
	data, err := decodeTOML(text)
	if err != nil {
		line, what := syntaxError(text, err)
		for _, d := range duplicates {
			if d.line == line {
				what = fmt.Sprintf("%s is already defined at line %d: must be there once", d.name, d.first)
			}
		}
		r.add(place{file: file, line: line}, "%s", what)
		return nil
	}
	raw := new(rawFile)
	d := decoder{report: r, file: file}
	d.table(data, root, reflect.ValueOf(raw), "")
	return raw
}

// decodeTOML calls the TOML library, which panics where it finds a fault of its
// own. Such a fault must not end a running director at a reload.
func decodeTOML(text string) (data map[string]any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	_, err = toml.Decode(text, &data)
	return data, err
}

// badText returns the first line that no TOML file can have, and what is wrong
// with it, or 0.
func badText(text string) (int, string) {
	line := 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return line, fmt.Sprintf("byte 0x%02x is not UTF-8", text[i])
		case r == '\n':
			line++
		case r == '\r' && strings.HasPrefix(text[i+1:], "\n"), r == '\t':
		case r < ' ' || r == 0x7f:
			return line, fmt.Sprintf("control character 0x%02x", r)
		}
		i += size
	}
	return 0, ""
}

// syntaxError returns the line and the words of an error of the TOML library.
func syntaxError(text string, err error) (int, string) {
	parseError := toml.ParseError{}
	if !errors.As(err, &parseError) {
		return 1, "not TOML: " + oneLine(err.Error())
	}
	// The line of the error is off by one where the file ends or a line ends
	// too early; the last byte of what the library complains about is not.
	text = strings.TrimPrefix(text, "\ufeff")
	last := parseError.Position.Start + max(parseError.Position.Len, 1) - 1
	last = max(0, min(last, len(text)-1))
	line := 1 + strings.Count(text[:last], "\n")
	return line, "not TOML: " + oneLine(strings.TrimSuffix(parseError.Message, "."))
}

// oneLine returns a message of another package on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
