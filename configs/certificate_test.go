package configs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lvsd/health"
)

// certify writes a self-signed certificate that is valid until an hour after
// expiry's offset from now, and its key.
func certify(t *testing.T, folder, name string, key crypto.Signer, left time.Duration) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "www.example.com"},
		DNSNames:     []string{"www.example.com"},
		NotBefore:    time.Now().Add(-48 * time.Hour),
		NotAfter:     time.Now().Add(left),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func ecdsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const withCertificate = `[service.web]
listen = ["192.168.50.100:443"]
real = [{ address = "192.168.50.22" }]
sorry = { page = "page.html", certificate = "a.crt", key = "a.key" }
[service.web.check]
type = "https"
ca = "a.crt"
body_regex = "a+b|c[d-f]*"
headers = { A = "1", B = "2" }
`

// withFiles writes a configuration that names a page and a certificate.
func withFiles(t *testing.T, text string, key crypto.Signer) string {
	t.Helper()
	path := write(t, text)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "page.html"), []byte("<p>sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	certify(t, filepath.Dir(path), "a", key, time.Hour)
	return path
}

// A reload tells what has changed by reflect.DeepEqual, also when what was
// loaded before has been in use.
func TestTwoLoadsAreEqual(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ECDSA": ecdsaKey(t), "RSA": rsaKey, "Ed25519": edKey} {
		t.Run(name, func(t *testing.T) {
			path := withFiles(t, withCertificate, key)
			first, err := Load(path, "lvs-01")
			if err != nil {
				t.Fatal(err)
			}
			if s := first.Services[0].Sorry; s.Certificate == nil || string(s.Page) != "<p>sorry" || s.RetryAfter != 10*time.Second {
				t.Errorf("sorry %+v", s)
			}
			https := first.Services[0].Real[0].Check.Checker.(health.HTTP)
			if roots := https.TLS.Roots; len(roots) != 1 || !roots[0].Equal(first.Services[0].Sorry.Certificate.Leaf) {
				t.Errorf("roots %v", roots)
			}
			use(t, first)
			second, err := Load(path, "lvs-01")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(first, second) {
				t.Error("two loads of the same file differ")
			}
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), "page.html"), []byte("<p>sorry!"), 0o600); err != nil {
				t.Fatal(err)
			}
			third, err := Load(path, "lvs-01")
			if err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(first.Services[0].Sorry, third.Services[0].Sorry) {
				t.Error("a page with other content is equal")
			}
			if !reflect.DeepEqual(first.Services[0].Real, third.Services[0].Real) {
				t.Error("the real servers differ by the page")
			}
		})
	}
}

// use does with a configuration what may leave traces in it.
func use(t *testing.T, config *Config) {
	t.Helper()
	signer := config.Services[0].Sorry.Certificate.PrivateKey.(crypto.Signer)
	digest, opts := sha256.Sum256([]byte("text")), crypto.SignerOpts(crypto.SHA256)
	if _, ok := signer.Public().(ed25519.PublicKey); ok {
		opts = crypto.Hash(0)
	}
	if _, err := signer.Sign(rand.Reader, digest[:], opts); err != nil {
		t.Fatal(err)
	}
	config.Services[0].Real[0].Check.Checker.(health.HTTP).Body.Pattern.MatchString("aaab")
}

// Two loads of each example are equal, and what is loaded holds no clock.
func TestTwoLoadsOfExamplesAreEqual(t *testing.T) {
	for _, file := range examples(t) {
		first, err := Load(file, "lvs-01")
		if err != nil {
			t.Fatal(err)
		}
		second, err := Load(file, "lvs-01")
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Errorf("two loads of %s differ", file)
		}
	}
}

func TestCertificateWithAnotherKey(t *testing.T) {
	path := withFiles(t, withCertificate, ecdsaKey(t))
	folder := filepath.Dir(path)
	certify(t, folder, "b", ecdsaKey(t), time.Hour)
	if err := os.Rename(filepath.Join(folder, "b.key"), filepath.Join(folder, "a.key")); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "lvs-01", `lvsd.toml:4: service "web": sorry: certificate "a.crt" with key "a.key": private key does not match public key: must be a certificate and its own key in PEM`)
}

// A sorry table is inherited as a whole: one of a service's own takes nothing
// from that of the defaults.
func TestSorryIsInheritedAsAWhole(t *testing.T) {
	path := withFiles(t, `[defaults.service.sorry]
page = "page.html"
certificate = "a.crt"
key = "a.key"
retry_after = "30s"
[service.a]
listen = ["192.168.50.100:443"]
real = [{ address = "192.168.50.22" }]
[service.b]
listen = ["192.168.50.100:80"]
real = [{ address = "192.168.50.22" }]
sorry = { page = "page.html" }
`, ecdsaKey(t))
	config, err := Load(path, "lvs-01")
	if err != nil {
		t.Fatal(err)
	}
	if s := config.Services[0].Sorry; s == nil || string(s.Page) != "<p>sorry" || s.Certificate == nil || s.RetryAfter != 30*time.Second {
		t.Errorf("inherited: %+v", s)
	}
	if s := config.Services[1].Sorry; s == nil || string(s.Page) != "<p>sorry" || s.Certificate != nil || s.RetryAfter != defaultRetryAfter {
		t.Errorf("of its own: %+v", s)
	}
}

// What the comment in nat.toml says to put beside page serves it by HTTPS.
func TestExampleNATByHTTPS(t *testing.T) {
	text, err := os.ReadFile("nat.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, comment, _ := strings.Cut(string(text), "# beside page: ")
	keys, _, found := strings.Cut(comment, ": to answer")
	changed := strings.ReplaceAll(string(text), `page = "sorry.html"`, `page = "page.html", `+keys)
	path := withFiles(t, changed, ecdsaKey(t))
	certify(t, filepath.Dir(path), "sorry", ecdsaKey(t), time.Hour)
	config, err := Load(path, "lvs-01")
	if err != nil || !found {
		t.Fatalf("Load: %v, keys %q", err, keys)
	}
	if s := config.Services[0].Sorry; s.Certificate == nil || string(s.Page) != "<p>sorry" {
		t.Errorf("sorry %+v", s)
	}
}

// A director that could not start because the certificate of its sorry page has
// expired would turn a warning into an outage.
func TestExpiredCertificateIsTaken(t *testing.T) {
	path := withFiles(t, withCertificate, ecdsaKey(t))
	certify(t, filepath.Dir(path), "a", ecdsaKey(t), -24*time.Hour)
	config, err := Load(path, "lvs-01")
	if err != nil {
		t.Fatal(err)
	}
	if leaf := config.Services[0].Sorry.Certificate.Leaf; leaf == nil || time.Now().Before(leaf.NotAfter) {
		t.Errorf("leaf %+v, want one that has expired", leaf)
	}
}
