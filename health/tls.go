package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Handshake says how to speak TLS with a server, and what its certificate must be like.
type Handshake struct {
	// ServerName is the name that is asked for (SNI) and that the certificate must be for. If it is empty, a
	// [TLS] check asks for none and the certificate must be for the IP address; an [HTTP] check takes its Host.
	ServerName string
	// SkipVerify takes any certificate: of any name, signed by anybody, expired.
	SkipVerify bool
	// Roots are the authorities that may have signed the certificate. None means those of the system.
	Roots []*x509.Certificate
	// MinValidity is how long the server's own certificate must be valid still. If it is set, it holds with
	// SkipVerify too.
	MinValidity time.Duration
}

// TLS checks that a server accepts connections and completes a TLS handshake with a certificate that will do.
type TLS struct {
	Address netip.AddrPort
	Handshake
}

// Check returns nil if the handshake succeeded and the certificate is as it must be.
func (c TLS) Check(ctx context.Context) error {
	return clean(c.check(ctx, dialTCP))
}

func (c TLS) check(ctx context.Context, dial dialFunc) error {
	conn, done, err := connect(ctx, dial, c.Address)
	if err != nil {
		return err
	}
	defer done()
	name := c.ServerName
	if name == "" {
		name = c.Address.Addr().WithZone("").String()
	}
	_, err = c.Handshake.over(ctx, conn, name)
	return err
}

// over makes a handshake on conn. The caller closes conn, and never the returned connection: that one would wait
// for a server that does not read.
func (h Handshake) over(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error) {
	config := &tls.Config{
		ServerName:         name, // crypto/tls sends no SNI for an IP address, and verifies it
		InsecureSkipVerify: h.SkipVerify,
	}
	if len(h.Roots) > 0 {
		config.RootCAs = x509.NewCertPool()
		for _, root := range h.Roots {
			config.RootCAs.AddCert(root)
		}
	}
	secure := tls.Client(conn, config)
	if err := secure.Handshake(); err != nil {
		if verification := new(tls.CertificateVerificationError); errors.As(err, &verification) {
			return nil, describe(verification, time.Now())
		}
		return nil, fmt.Errorf("TLS handshake: %w", explainTLS(ctx, err))
	}
	if h.MinValidity > 0 {
		if err := h.checkValidity(secure.ConnectionState().PeerCertificates[0], time.Now()); err != nil {
			return nil, err
		}
	}
	return secure, nil
}

// checkValidity returns an error if certificate is not valid for long enough at now.
func (h Handshake) checkValidity(certificate *x509.Certificate, now time.Time) error {
	left := certificate.NotAfter.Sub(now)
	switch {
	case left < 0:
		return fmt.Errorf("certificate expired %s ago", span(-left))
	case left < h.MinValidity:
		return fmt.Errorf("certificate expires in %s, want at least %s", span(left), span(h.MinValidity))
	}
	return nil
}

// explainTLS puts an error of a handshake that is not about the certificate into plain words.
func explainTLS(ctx context.Context, err error) error {
	if errors.As(err, new(tls.RecordHeaderError)) {
		return errors.New("the server does not speak TLS")
	}
	// An alert that the server sent has no type that could be asked for; package tls wraps it so.
	if op := new(net.OpError); errors.As(err, &op) && op.Op == "remote error" {
		return fmt.Errorf("refused by the server: %s", strings.TrimPrefix(op.Err.Error(), "tls: "))
	}
	return explain(ctx, err)
}

// describe says what is wrong with a certificate.
func describe(verification *tls.CertificateVerificationError, now time.Time) error {
	var (
		invalid   x509.CertificateInvalidError
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
	)
	switch err := verification.Err; {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		subject := "certificate"
		if !invalid.Cert.Equal(verification.UnverifiedCertificates[0]) {
			subject = "certificate of its authority " + quote(invalid.Cert.Subject.CommonName)
		}
		if now.Before(invalid.Cert.NotBefore) {
			return fmt.Errorf("%s is not valid yet, but in %s", subject, span(invalid.Cert.NotBefore.Sub(now)))
		}
		return fmt.Errorf("%s expired %s ago", subject, span(now.Sub(invalid.Cert.NotAfter)))
	case errors.As(err, &hostname):
		return fmt.Errorf("certificate is for %s, not %s", names(hostname.Certificate), hostname.Host)
	case errors.As(err, &authority):
		return errors.New("certificate signed by unknown authority")
	default:
		return fmt.Errorf("certificate: %s", strings.TrimPrefix(err.Error(), "x509: "))
	}
}

// names lists what a certificate is for, the first few names of it.
func names(certificate *x509.Certificate) string {
	var list []string
	list = append(list, certificate.DNSNames...)
	for _, ip := range certificate.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		if common := certificate.Subject.CommonName; common != "" {
			return "no name but the common name " + quote(common) + ", which does not count"
		}
		return "no name"
	}
	const most = 3
	rest := ""
	if len(list) > most {
		rest = fmt.Sprintf(" and %d more", len(list)-most)
		list = list[:most]
	}
	text := strings.Join(list, ", ")
	if len(text) > maxQuote {
		text = quote(text)
	}
	return text + rest
}
