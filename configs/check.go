package configs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"lvsd/health"
	"lvsd/ipvs"
)

// defaultCheck is the type of check of a service that sets none.
const defaultCheck = "tcp"

// maxCA bounds a file of certificates in bytes; the authorities of a whole
// system take a quarter of it.
const maxCA = 1 << 20

// buildDefaults notes what cannot work in the tables of defaults themselves.
func (b *builder) buildDefaults() {
	if b.defaults.Check != nil {
		b.checkValues(b.defaults.Check)
	}
}

// checkOfService returns the check of a service with the defaults filled in.
func (b *builder) checkOfService(raw *rawService) *rawCheck {
	base := &rawCheck{table: raw.table}
	base.at.table = below(raw.at.table, "check")
	if raw.Check != nil {
		*base = *raw.Check
		b.checkValues(raw.Check)
	}
	if b.defaults.Check != nil {
		inherit(base, b.defaults.Check)
	}
	if raw.Check != nil {
		b.idleKeys(raw.Check, base)
	}
	return base
}

// idleKeys notes keys of a check table that do nothing for its type of check.
// Keys that a table inherits may be meant for others and are passed over.
func (b *builder) idleKeys(own, effective *rawCheck) {
	kind := effective.Type.or(defaultCheck)
	if effective.Type.bad {
		return
	}
	fields := fieldsOf(reflect.ValueOf(own).Elem())
	for _, key := range sortedKeys(fields) {
		f := fields[key]
		if !isSet(f.value) {
			continue
		}
		types := strings.Fields(f.tag.Get("types"))
		if len(types) == 0 {
			types = []string{"tcp", "tls", "http", "https"}
		}
		if slices.Contains(types, kind) {
			continue
		}
		at := own.at
		if s, ok := f.value.Addr().Interface().(scalar); ok {
			at = s.place()
		}
		b.add(at, "%s: does nothing in a check of type %q: must be left out, or the type be %s", key, kind, oneOf(types))
	}
	if own.CA.set() && (kind == "tls" || kind == "https") && !effective.Verify.or(true) {
		b.add(own.CA.at, "ca: does nothing with verify = false: must be left out, or verify be true")
	}
}

// checkValues notes the values of a check table that cannot work by themselves,
// whatever the other values are.
func (b *builder) checkValues(c *rawCheck) {
	b.request("method", c.Method, health.HTTP{Method: c.Method.is}, `a word like "GET" or "HEAD"`)
	b.request("host", c.Host, health.HTTP{Host: c.Host.is}, `a name like "www.example.com", with a port or without`)
	b.request("path", c.Path, health.HTTP{Path: c.Path.is}, `like "/health?full=1", with what is special in it escaped`)
	for name, v := range c.Headers {
		b.request("headers "+show(name), v, health.HTTP{Headers: http.Header{name: {v.is}}},
			"a header on one line that the check does not set itself")
	}
	for key, v := range map[string]value[string]{
		"method": c.Method, "host": c.Host, "path": c.Path, "expect": c.Expect, "send": c.Send,
		"body": c.Body, "body_regex": c.BodyRegex, "server_name": c.ServerName,
	} {
		if v.good() && v.is == "" {
			b.add(v.at, `%s "": must be left out or not be empty`, key)
		}
	}
	if c.BodyRegex.good() {
		b.pattern(c.BodyRegex)
	}
	if c.ServerName.good() && strings.ContainsAny(c.ServerName.is, ": /") {
		b.add(c.ServerName.at, "server_name %s: must be a name like \"www.example.com\"", show(c.ServerName.is))
	}
	if c.CA.good() {
		b.authorities(c.CA)
	}
}

// request notes a value that no request can have. The check has that value and
// nothing else.
func (b *builder) request(key string, v value[string], check health.HTTP, right string) {
	check.Address = netip.AddrPortFrom(netip.IPv6Loopback(), 80)
	if v.good() && check.Validate() != nil {
		b.add(v.at, "%s %s: must be %s", key, show(v.is), right)
	}
}

// pattern returns the compiled form of a regular expression, nil if it has none.
func (b *builder) pattern(v value[string]) *regexp.Regexp {
	compiled, ok := b.patterns[v.is]
	if ok {
		return compiled
	}
	compiled, err := regexp.Compile(v.is)
	if err != nil {
		what := err.Error()
		if e, ok := err.(*syntax.Error); ok {
			what = e.Code.String()
		}
		b.add(v.at, "body_regex %s: %s: must be a regular expression", show(v.is), what)
		return nil
	}
	b.patterns[v.is] = compiled
	return compiled
}

// authorities returns the certificates in a file, none if there is a problem
// with it.
func (b *builder) authorities(path value[string]) []*x509.Certificate {
	full := relative(path)
	if list, ok := b.roots[full]; ok {
		return list
	}
	content, ok := b.open("ca", path, maxCA)
	if !ok {
		return nil
	}
	var list []*x509.Certificate
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			line := 1 + bytes.Count(content[:len(content)-len(rest)], []byte("\n"))
			b.add(path.at, "ca %s: %s: the block that ends before line %d is no certificate: must be certificates in PEM", show(path.is), full, line)
			return nil
		}
		list = append(list, certificate)
	}
	if len(list) == 0 {
		b.add(path.at, "ca %s: %s has no certificate: must be certificates in PEM", show(path.is), full)
		return nil
	}
	b.roots[full] = list
	return list
}

// buildCheck builds the check of one real server. The base is the check of the
// service with all defaults.
func (b *builder) buildCheck(s *Service, service *rawService, real *rawReal, server RealServer, base *rawCheck) *health.Check {
	c := base
	if real.Check != nil {
		own := *real.Check
		c = &own
		inherit(c, base)
		b.checkValues(real.Check)
		b.idleKeys(real.Check, c)
	}
	kind := c.Type.or(defaultCheck)
	if len(s.Listen) > 0 && s.Listen[0].Protocol == ipvs.UDP && !c.Type.set() {
		b.add(c.at, `type is missing: must be set for UDP: "none", or the type of a check that the real servers answer over TCP`)
		return nil
	}
	if kind == "none" {
		return nil
	}
	b.checkTimes(c)
	return &health.Check{
		Checker:      b.checker(kind, c, b.checkAddressOf(s, c, real, server)),
		Interval:     c.Interval.or(health.DefaultInterval),
		FastInterval: fastInterval(c),
		Timeout:      timeout(c),
		Rise:         c.Rise.or(health.DefaultRise),
		Fall:         c.Fall.or(health.DefaultFall),
	}
}

// checkAddressOf returns what a check connects to: the port that the check says,
// or that of the real server, or the only one of the service.
func (b *builder) checkAddressOf(s *Service, c *rawCheck, real *rawReal, server RealServer) netip.AddrPort {
	ports := s.ports()
	switch {
	case c.Port.set():
		return netip.AddrPortFrom(server.Address, uint16(c.Port.is))
	case real.Port.set():
		return netip.AddrPortFrom(server.Address, server.Port)
	case len(ports) > 1:
		b.add(c.at, "port is missing: must be set where the service listens on several ports (%s) and a real server has none of its own",
			enumerate(ports))
		return netip.AddrPort{}
	case len(ports) == 0:
		return netip.AddrPort{} // that it listens nowhere is noted already
	default:
		return netip.AddrPortFrom(server.Address, uint16(ports[0]))
	}
}

// timeout returns how long a check may take: by default no longer than the
// interval, so that a short interval need not be said twice.
func timeout(c *rawCheck) time.Duration {
	return c.Timeout.or(min(health.DefaultTimeout, c.Interval.or(health.DefaultInterval)))
}

// fastInterval returns the quick interval, which by default is no longer than
// the interval either.
func fastInterval(c *rawCheck) time.Duration {
	return c.FastInterval.or(min(health.DefaultFastInterval, c.Interval.or(health.DefaultInterval)))
}

// checkTimes notes times that do not go together, at the one that is further in:
// what a check says itself, not the default that was right until then.
func (b *builder) checkTimes(c *rawCheck) {
	interval := c.Interval.or(health.DefaultInterval)
	for key, v := range map[string]value[time.Duration]{"timeout": c.Timeout, "fast_interval": c.FastInterval} {
		switch {
		case !v.good() || c.Interval.bad || v.is <= interval:
		case depth(c.Interval.at) > depth(v.at):
			b.add(c.Interval.at, "interval %q: is shorter than the %s (%s): must be at least %s", words(interval), key, v.at, words(v.is))
		default:
			b.add(v.at, "%s %q: is longer than the interval: must be at most %s", key, words(v.is), words(interval))
		}
	}
}

// depth says how far in a table stands: defaults, service, real server.
func depth(at place) int { return strings.Count(at.table, ": ") }

// words returns a duration without the zero units of its String: 2m, not 2m0s.
func words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// checker builds what looks at a real server.
func (b *builder) checker(kind string, c *rawCheck, address netip.AddrPort) health.Checker {
	switch kind {
	case "tcp":
		check := health.TCP{Address: address, Expect: health.Match{Substring: c.Expect.is}}
		if c.Send.set() {
			check.Send = []byte(c.Send.is)
		}
		return check
	case "tls":
		return health.TLS{Address: address, Handshake: b.handshake(c)}
	case "http", "https":
		check := health.HTTP{
			Address: address,
			Method:  c.Method.or(http.MethodGet),
			Host:    c.Host.is,
			Path:    c.Path.or("/"),
			Status:  c.Status.or(health.DefaultStatus),
			Body:    health.Match{Substring: c.Body.is},
		}
		if c.BodyRegex.good() {
			check.Body.Pattern = b.pattern(c.BodyRegex)
		}
		for name, v := range c.Headers {
			if check.Headers == nil {
				check.Headers = make(http.Header)
			}
			check.Headers.Set(name, v.is)
		}
		if kind == "https" {
			handshake := b.handshake(c)
			check.TLS = &handshake
		}
		return check
	default:
		panic(fmt.Sprintf("configs: no check of type %q", kind))
	}
}

// handshake builds the TLS part of a check.
func (b *builder) handshake(c *rawCheck) health.Handshake {
	h := health.Handshake{
		ServerName:  c.ServerName.is,
		SkipVerify:  !c.Verify.or(true),
		MinValidity: c.MinValidity.or(0),
	}
	if c.CA.good() && !h.SkipVerify {
		h.Roots = b.authorities(c.CA)
	}
	return h
}
