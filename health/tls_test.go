package health

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// certificate makes a certificate, changed by edit if that is not nil, and signed by parent, or by itself if that
// is nil.
func certificate(t testing.TB, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, edit func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "lvsd test"},
		NotBefore:             time.Now().Add(-300 * day),
		NotAfter:              time.Now().Add(300 * day),
		IsCA:                  parent == nil,
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func parseAgain(certificate *x509.Certificate) (*x509.Certificate, error) {
	return x509.ParseCertificate(bytes.Clone(certificate.Raw))
}

func roots(root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root} }

// keyPair returns what a TLS server needs to present chain, whose first certificate belongs to key.
func keyPair(key *ecdsa.PrivateKey, chain ...*x509.Certificate) tls.Certificate {
	pair := tls.Certificate{PrivateKey: key}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair
}

func TestTLS(t *testing.T) {
	authority, authorityKey := certificate(t, nil, nil, nil)
	other, _ := certificate(t, nil, nil, nil)
	dead, deadKey := certificate(t, nil, nil, func(c *x509.Certificate) {
		c.Subject.CommonName = "Old CA"
		c.NotAfter = time.Now().Add(-40 * day)
	})
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	until := func(left time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.DNSNames = []string{"www.example.com"}
			c.NotAfter = time.Now().Add(left)
		}
	}
	www := Handshake{ServerName: "www.example.com", Roots: roots(authority)}
	with := func(edit func(*Handshake)) Handshake {
		h := www
		edit(&h)
		return h
	}
	for _, test := range []struct {
		name      string
		edit      func(*x509.Certificate)
		handshake Handshake
		want      string
	}{
		{"good", named("www.example.com"), www, ""},
		{"good by wildcard", named("*.example.com"), www, ""},
		{
			"good for its address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} },
			Handshake{Roots: roots(authority)},
			"",
		},
		{
			"no name asked for and not for its address", named("www.example.com"),
			Handshake{Roots: roots(authority)},
			"certificate is for www.example.com, not 127.0.0.1",
		},
		{"wrong name", named("node1.example.com"), www, "certificate is for node1.example.com, not www.example.com"},
		{
			"wrong names", named("a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"), www,
			"certificate is for a.example.com, b.example.com, c.example.com and 2 more, not www.example.com",
		},
		{
			"wrong name and address", func(c *x509.Certificate) { c.DNSNames = []string{"a"}; c.IPAddresses = []net.IP{{10, 0, 0, 1}} }, www,
			"certificate is for a, 10.0.0.1, not www.example.com",
		},
		{
			"very long name", named(strings.Repeat("a.", 400) + "com"), www,
			`certificate is for "` + strings.Repeat("a.", 97) + `a...", not www.example.com`,
		},
		{
			"only a common name", func(c *x509.Certificate) { c.Subject.CommonName = "www.example.com" }, www,
			`certificate is for no name but the common name "www.example.com", which does not count, not www.example.com`,
		},
		{"no name at all", func(c *x509.Certificate) { c.Subject.CommonName = "" }, www, "certificate is for no name, not www.example.com"},
		{"expired", until(-3 * day), www, "certificate expired 3 days ago"},
		{
			"not valid yet", func(c *x509.Certificate) {
				c.DNSNames = []string{"www.example.com"}
				c.NotBefore = time.Now().Add(5 * time.Hour)
			}, www,
			"certificate is not valid yet, but in 5 hours",
		},
		{
			"signed by somebody else", named("www.example.com"),
			Handshake{ServerName: "www.example.com", Roots: roots(other)},
			"certificate signed by unknown authority",
		},
		{
			"not of the system's authorities", named("www.example.com"),
			Handshake{ServerName: "www.example.com"},
			"certificate signed by unknown authority",
		},
		{
			"of several authorities", named("www.example.com"),
			with(func(h *Handshake) { h.Roots = []*x509.Certificate{other, authority} }), "",
		},
		{"long valid", until(10 * day), with(func(h *Handshake) { h.MinValidity = 7 * day }), ""},
		{
			"expires soon", until(3 * day), with(func(h *Handshake) { h.MinValidity = 7 * day }),
			"certificate expires in 3 days, want at least 7 days",
		},
		{
			"expires soon, not verified", until(3 * day),
			Handshake{SkipVerify: true, MinValidity: 7 * day},
			"certificate expires in 3 days, want at least 7 days",
		},
		{
			"expired, not verified, but must be valid", until(-3 * day),
			Handshake{SkipVerify: true, MinValidity: time.Hour},
			"certificate expired 3 days ago",
		},
		{"expired and of another name, not verified", until(-3 * day), Handshake{ServerName: "x", SkipVerify: true}, ""},
		{"not for servers", func(c *x509.Certificate) {
			c.DNSNames = []string{"www.example.com"}
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, www, "certificate: certificate specifies an incompatible key usage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaf, key := certificate(t, authority, authorityKey, test.edit)
			address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{keyPair(key, leaf)}}, drain)
			wantReason(t, TLS{address, test.handshake}.Check(within(t, 20*time.Second)), test.want)
		})
	}

	t.Run("self-signed", func(t *testing.T) {
		leaf, key := certificate(t, nil, nil, named("www.example.com"))
		address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{keyPair(key, leaf)}}, drain)
		wantReason(t, TLS{address, www}.Check(within(t, 20*time.Second)), "certificate signed by unknown authority")
		wantReason(t, TLS{address, Handshake{ServerName: "www.example.com", Roots: roots(leaf)}}.Check(within(t, 20*time.Second)), "")
	})
	t.Run("expired authority", func(t *testing.T) {
		leaf, key := certificate(t, dead, deadKey, named("www.example.com"))
		address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{keyPair(key, leaf)}}, drain)
		wantReason(t, TLS{address, Handshake{ServerName: "www.example.com", Roots: roots(dead)}}.Check(within(t, 5*time.Second)),
			`certificate of its authority "Old CA" expired 40 days ago`)
	})
}

func serveTLS(t testing.TB, config *tls.Config, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		if err := secure.Handshake(); err != nil {
			return
		}
		handle(secure)
	})
}

// TestTLSAsksForTheName lets the server choose the certificate by the name that it is asked for.
func TestTLSAsksForTheName(t *testing.T) {
	authority, authorityKey := certificate(t, nil, nil, nil)
	leaf, key := certificate(t, authority, authorityKey, func(c *x509.Certificate) {
		c.DNSNames = []string{"www.example.com"}
		c.IPAddresses = []net.IP{{127, 0, 0, 1}}
	})
	pair := keyPair(key, leaf)
	asked := make(chan string, 1)
	address := serveTLS(t, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- hello.ServerName
		return &pair, nil
	}}, func(conn net.Conn) {
		conn.Read(make([]byte, 1000))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		drain(conn)
	})
	r := roots(authority)
	for _, test := range []struct {
		name  string
		check Checker
		want  string
	}{
		{"tls", TLS{address, Handshake{ServerName: "www.example.com", Roots: r}}, "www.example.com"},
		{"tls without a name", TLS{address, Handshake{Roots: r}}, ""},
		{"https, the host", HTTP{Address: address, Host: "www.example.com", TLS: &Handshake{Roots: r}}, "www.example.com"},
		{"https, the host without its port", HTTP{Address: address, Host: "www.example.com:8443", TLS: &Handshake{Roots: r}}, "www.example.com"},
		{"https, a name of its own", HTTP{Address: address, Host: "x", TLS: &Handshake{ServerName: "www.example.com", Roots: r}}, "www.example.com"},
		{"https without a host", HTTP{Address: address, TLS: &Handshake{Roots: r}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantReason(t, test.check.Check(within(t, 20*time.Second)), "")
			if got := <-asked; got != test.want {
				t.Errorf("asked for %q, want %q", got, test.want)
			}
		})
	}
}

func TestTLSWithServersThatMisbehave(t *testing.T) {
	leaf, key := certificate(t, nil, nil, nil)
	pair := keyPair(key, leaf)
	for _, test := range []struct {
		name   string
		server func(net.Conn)
		want   string
	}{
		{"hangs after accept", drain, "TLS handshake: timed out after 300ms"},
		{
			"sends a byte now and then", func(conn net.Conn) { trickle(conn, "\x16\x03\x03\x00\x50aaaaaaa", 100*time.Millisecond) },
			"TLS handshake: timed out after 300ms",
		},
		{"closes", func(conn net.Conn) { conn.Read(make([]byte, 4000)) }, "TLS handshake: closed by the server"},
		{"resets", func(conn net.Conn) { conn.Read(make([]byte, 4000)); reset(conn) }, "TLS handshake: connection reset by peer"},
		{"speaks plain HTTP", func(conn net.Conn) {
			conn.Read(make([]byte, 4000))
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			drain(conn)
		}, "TLS handshake: the server does not speak TLS"},
		{
			"greets in plain text", func(conn net.Conn) { io.WriteString(conn, "220 mx.example.com ESMTP\r\n"); drain(conn) },
			"TLS handshake: the server does not speak TLS",
		},
		{"refuses the name", func(conn net.Conn) {
			tls.Server(conn, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }}).Handshake()
			drain(conn)
		}, "TLS handshake: refused by the server: internal error"},
		{"speaks old versions only", func(conn net.Conn) {
			tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{pair}}).Handshake()
			drain(conn)
		}, "TLS handshake: refused by the server: protocol version not supported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, test.server)
			check := TLS{address, Handshake{SkipVerify: true}}
			wantReason(t, check.Check(within(t, patience(test.want))), test.want)
		})
	}
}

func TestTLSTimeoutIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := TLS{Handshake: Handshake{SkipVerify: true}}.check(within(t, 5*time.Second), pipe(t, drain))
		wantReason(t, err, "TLS handshake: timed out after 5s")
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
