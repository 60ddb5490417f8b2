package configs

import (
	"crypto/tls"
	"strings"
	"time"

	"lvsd/ipvs"
)

// Bounds in bytes of the files of a sorry page.
const (
	maxPage        = 1 << 20
	maxCertificate = 1 << 20
)

// defaultRetryAfter is how soon a client that got the sorry page should ask
// again: a real server that comes back serves within seconds.
const defaultRetryAfter = 10 * time.Second

// buildSorry builds what answers for a service when no real server does, nil if
// nothing is to.
func (b *builder) buildSorry(s *Service, raw *rawService, sorry *rawSorry) *Sorry {
	switch {
	case sorry == nil:
		return nil
	case sorry.Page.set() && sorry.Server.set():
		b.add(sorry.Server.at, "server: does nothing beside page: must be only one of the two")
	case sorry.Page.set():
		return b.sorryPage(s, raw, sorry)
	case !sorry.Server.set():
		b.add(sorry.at, `page or server is missing: must be { page = "sorry.html" } or { server = "192.168.50.9:80" }`)
	default:
		b.idlePageKeys(sorry)
		if sorry.Server.good() {
			return b.sorryServer(s, raw, sorry)
		}
	}
	return nil
}

// idlePageKeys notes the keys of a page that do nothing beside a server.
func (b *builder) idlePageKeys(sorry *rawSorry) {
	const text = "%s: does nothing beside server: must come with page or be left out"
	if sorry.Certificate.set() {
		b.add(sorry.Certificate.at, text, "certificate")
	}
	if sorry.Key.set() {
		b.add(sorry.Key.at, text, "key")
	}
	if sorry.RetryAfter.set() {
		b.add(sorry.RetryAfter.at, text, "retry_after")
	}
}

// sorryPage builds the page that the director serves itself.
func (b *builder) sorryPage(s *Service, raw *rawService, sorry *rawSorry) *Sorry {
	page := sorry.Page
	if sorry.Forward.set() {
		b.add(sorry.Forward.at, "forward: does nothing with page, which the director serves itself: must be left out")
	}
	if len(s.Listen) > 0 && s.Listen[0].Protocol == ipvs.UDP {
		b.add(page.at, "page: cannot be served over UDP, as %s asks for: must be server", raw.at.table)
	}
	built := &Sorry{
		RetryAfter:  sorry.RetryAfter.or(defaultRetryAfter),
		Certificate: b.certificate(sorry.Certificate, sorry.Key),
	}
	if page.good() {
		built.Page, _ = b.open("page", page, maxPage)
	}
	return built
}

// certificate reads a certificate and its key, nil if there is none.
func (b *builder) certificate(certificate, key value[string]) *tls.Certificate {
	if !certificate.set() && !key.set() {
		return nil
	}
	if !key.set() {
		b.add(certificate.at, "certificate %s: has no key: must come with key", show(certificate.is))
		return nil
	}
	if !certificate.set() {
		b.add(key.at, "key %s: has no certificate: must come with certificate", show(key.is))
		return nil
	}
	if certificate.bad || key.bad {
		return nil
	}
	files := [2]string{relative(certificate), relative(key)}
	if pair, ok := b.pairs[files]; ok {
		return pair
	}
	certificatePEM, ok1 := b.open("certificate", certificate, maxCertificate)
	keyPEM, ok2 := b.open("key", key, maxCertificate)
	if !ok1 || !ok2 {
		return nil
	}
	// Whether it is expired is not asked: a director must be able to start
	// whatever the date is, and no page at all is worse than a warning.
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		b.add(certificate.at, "certificate %s with key %s: %s: must be a certificate and its own key in PEM",
			show(certificate.is), show(key.is), oneLine(strings.TrimPrefix(err.Error(), "tls: ")))
		return nil
	}
	b.pairs[files] = &pair
	return &pair
}

// sorryServer builds a sorry server somewhere else.
func (b *builder) sorryServer(s *Service, raw *rawService, sorry *rawSorry) *Sorry {
	server := sorry.Server.is
	way := s.Forward
	if sorry.Forward.good() {
		way = forward(sorry.Forward.is)
	}
	for _, listen := range s.Listen {
		switch {
		case server.Addr().BitLen() != listen.Address.BitLen():
			b.add(sorry.Server.at, "server %q: must be %s like the address of %s", server, family(listen.Address), raw.at.table)
			return nil
		case server.Addr() == listen.Address && (server.Port() == listen.Port || way != ipvs.NAT):
			b.add(sorry.Server.at, "server %q: is %s itself: must be another server", server, raw.at.table)
			return nil
		case way != ipvs.NAT && server.Port() != listen.Port:
			b.add(sorry.Server.at, `server %q: the port must be %d, the port of %s, or forward be "nat": forward %q leaves the port as it is`,
				server, listen.Port, raw.at.table, way)
			return nil
		}
		for i, real := range s.Real {
			if real.at(listen) == server {
				b.add(sorry.Server.at, "server %q: is real %d of %s: must be another server", server, i+1, raw.at.table)
				return nil
			}
		}
	}
	return &Sorry{Server: server, Forward: way}
}
