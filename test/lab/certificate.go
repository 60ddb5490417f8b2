package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// A Certificate is a self-signed certificate with its key, both in PEM.
type Certificate struct {
	Cert, Key []byte
}

// SelfSigned makes a certificate for a name, with a key on the curve P-256, valid between the given times.
func (l *Lab) SelfSigned(name string, notBefore, notAfter time.Time) *Certificate {
	l.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.Fatalf("making a key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a checker can be given it as its authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		l.Fatalf("making a certificate for %s: %v", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.Fatalf("making a certificate for %s: %v", name, err)
	}
	return &Certificate{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// Valid makes a certificate for a name that is valid now, for a year.
func (l *Lab) Valid(name string) *Certificate {
	l.Helper()
	return l.SelfSigned(name, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

// Expired makes a certificate for a name that expired three days ago.
func (l *Lab) Expired(name string) *Certificate {
	l.Helper()
	return l.SelfSigned(name, time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -3))
}

// config returns the settings of a TLS server with this certificate.
func (c *Certificate) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}
