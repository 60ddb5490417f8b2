package configs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"

	"lvsd/ipvs"
)

// builder turns what the files say into a Config and notes what cannot work.
type builder struct {
	report
	config Config

	directors map[string]*rawDirector
	defaults  rawDefaults
	instances map[string]*rawInstance
	services  map[string]*rawService
	first     map[string]place // of each definition, by its label

	holders  map[netip.Addr]holder // who has a virtual address
	unsure   bool                  // an address in an instance could not be read
	listened map[ipvs.Key]place    // where a service was first said to listen
	patterns map[string]*regexp.Regexp

	// What was read already, by path: many services may share a file.
	files map[string]fileContent
	roots map[string][]*x509.Certificate
	pairs map[[2]string]*tls.Certificate // by the paths of certificate and key
}

// holder is the instance that holds an address, and where it says so.
type holder struct {
	instance string
	key      string // that the address stands under
	at       place
}

// merge takes over the definitions of one file.
func (b *builder) merge(raw *rawFile) {
	mergeNamed(b, b.directors, raw.Director, func(d *rawDirector) place { return d.at })
	mergeNamed(b, b.instances, raw.VRRP, func(i *rawInstance) place { return i.at })
	mergeNamed(b, b.services, raw.Service, func(s *rawService) place { return s.at })
	if raw.Defaults == nil {
		return
	}
	if c := raw.Defaults.Check; c != nil && b.isFirst(c.at) {
		b.defaults.Check = c
	}
	if s := raw.Defaults.Service; s != nil && b.isFirst(s.at) {
		b.defaults.Service = s
	}
}

// mergeNamed takes over the tables of one kind.
func mergeNamed[T any](b *builder, into, from map[string]T, at func(T) place) {
	for _, name := range sortedKeys(from) {
		if b.isFirst(at(from[name])) {
			into[name] = from[name]
		}
	}
}

// isFirst notes the definition of a table, and a problem if another file has
// defined it. Within a file the TOML library has seen to that.
func (b *builder) isFirst(at place) bool {
	if first, ok := b.first[at.table]; ok {
		b.add(at, "is already defined at %s: must be in one file only", first)
		return false
	}
	b.first[at.table] = at
	return true
}

// build checks everything and builds what all directors have in common.
func (b *builder) build() {
	b.buildDirectors()
	b.checkInstances()
	b.listened = make(map[ipvs.Key]place)
	b.patterns = make(map[string]*regexp.Regexp)
	b.files = make(map[string]fileContent)
	b.roots = make(map[string][]*x509.Certificate)
	b.pairs = make(map[[2]string]*tls.Certificate)
	b.buildDefaults()
	for _, name := range sortedKeys(b.services) {
		b.config.Services = append(b.config.Services, b.buildService(name, b.services[name]))
	}
}

// buildDirectors builds the list of directors.
func (b *builder) buildDirectors() {
	addresses := make(map[netip.Addr]string)
	for _, name := range sortedKeys(b.directors) {
		raw := b.directors[name]
		b.config.Directors = append(b.config.Directors, raw.build(name))
		for _, instance := range sortedKeys(raw.VRRP) {
			if b.instances[instance] == nil {
				b.add(raw.VRRP[instance].at, "there is no [vrrp.%s]: %s", instance, suggest(instance, sortedKeys(b.instances)))
			}
		}
		if !raw.Address.good() {
			continue
		}
		if other, ok := addresses[raw.Address.is]; ok {
			b.add(raw.Address.at, "address %q: is the address of director %q (%s): must be the director's own",
				raw.Address.is, other, b.directors[other].Address.at)
			continue
		}
		addresses[raw.Address.is] = name
	}
}

// defaultPriority is that of RFC 9568, section 6.1.
const defaultPriority = 100

func (d *rawDirector) build(name string) Director {
	return Director{Name: name, Address: d.Address.is, Priority: uint8(d.Priority.or(defaultPriority))}
}

// choose makes the configuration that of one director. An empty name stands for
// the host name.
func (b *builder) choose(name string) {
	who := fmt.Sprintf("director %q", name)
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			b.add(place{file: b.config.Path}, "the host name is not known, %s: the director must be given with --name", err)
			return
		}
		name, who = b.byHost(host), fmt.Sprintf("this host, %q,", host)
	}
	raw := b.directors[name]
	switch {
	case raw != nil:
	case len(b.directors) == 0:
		raw = new(rawDirector)
		b.config.Directors = []Director{raw.build(name)}
	default:
		names := sortedKeys(b.directors)
		b.add(place{file: b.directors[names[0]].at.file, line: b.directors[names[0]].at.line},
			"%s is none of the directors: --name must be %s", who, oneOf(names))
		return
	}
	b.config.Director = raw.build(name)
	for _, instance := range sortedKeys(b.instances) {
		b.config.Instances = append(b.config.Instances, b.instances[instance].build(instance, raw, b.directors))
	}
}

// byHost returns the name of the director on a host: the host name, or its
// first part if only that is in the file.
func (b *builder) byHost(host string) string {
	short, _, _ := strings.Cut(host, ".")
	if b.directors[host] == nil && b.directors[short] != nil {
		return short
	}
	return host
}

// inherit gives the keys that are not set in dst, a pointer to a raw type, the
// values that they have in src.
func inherit(dst, src any) {
	to, from := fieldsOf(reflect.ValueOf(dst).Elem()), fieldsOf(reflect.ValueOf(src).Elem())
	for key, f := range to {
		if g, ok := from[key]; ok && !isSet(f.value) {
			f.value.Set(g.value)
		}
	}
}

// isSet says whether a field of a raw type was in the file.
func isSet(v reflect.Value) bool {
	if s, ok := v.Addr().Interface().(scalar); ok {
		return s.set()
	}
	return !v.IsNil()
}

// fileContent is a file that the configuration names, or why it cannot be read.
type fileContent struct {
	content []byte
	err     error
}

// open returns the content of a file that the configuration names. It notes a
// problem and returns false if there is none to use.
func (b *builder) open(key string, path value[string], limit int64) ([]byte, bool) {
	full := relative(path)
	f, ok := b.files[full]
	if !ok {
		f.content, f.err = readFile(full, limit)
		if f.err == nil && len(f.content) == 0 {
			f.err = errors.New("is empty: must be a file with content")
		}
		b.files[full] = f
	}
	if f.err != nil {
		b.add(path.at, "%s %s: %s %s", key, show(path.is), full, f.err)
	}
	return f.content, f.err == nil
}
