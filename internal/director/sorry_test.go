package director

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsd/configs"
	"lvsd/ipvs"
)

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"www.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTestPage serves the sorry page of one service on a loopback VIP and
// returns where.
func serveTestPage(t *testing.T, p *pages, sorry *configs.Sorry) netip.AddrPort {
	t.Helper()
	vip := netip.MustParseAddr("127.0.0.1")
	at, err := p.set([]configs.Service{{Name: "web", Listen: []ipvs.Key{{Address: vip, Port: 80, Protocol: ipvs.TCP}}, Sorry: sorry}})
	if err != nil {
		t.Fatal(err)
	}
	return at[pageID{"web", vip}]
}

// TestSorryPageKeepsItsPort: other directors know connections to it by its port.
func TestSorryPageKeepsItsPort(t *testing.T) {
	sorry := &configs.Sorry{Page: []byte("back soon")}
	p := newPages(t)
	first := serveTestPage(t, p, sorry)
	p.close()
	if again := serveTestPage(t, newPages(t), sorry); again != first {
		t.Errorf("served at %s, after a restart at %s", first, again)
	}
	if second := serveTestPage(t, newPages(t), sorry); second != netip.AddrPortFrom(first.Addr(), pagePort("web", 1)) {
		t.Errorf("while %s is taken: served at %s, want the next port", first, second)
	}
}

func newPages(t *testing.T) *pages {
	p := &pages{log: slog.New(slog.DiscardHandler), servers: make(map[pageID]*pageServer)}
	t.Cleanup(p.close)
	return p
}

func TestSorryPage(t *testing.T) {
	p := newPages(t)
	at := serveTestPage(t, p, &configs.Sorry{Page: []byte("back soon"), Certificate: selfSigned(t), RetryAfter: 30 * time.Second})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, tt := range []struct{ method, scheme, want string }{
		{"GET", "http", "back soon"},
		{"GET", "https", "back soon"},
		{"POST", "http", "back soon"},
		{"HEAD", "https", ""},
	} {
		t.Run(tt.method+" "+tt.scheme, func(t *testing.T) {
			request, err := http.NewRequest(tt.method, fmt.Sprintf("%s://%s/any/path", tt.scheme, at), nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != 503 || string(body) != tt.want || !response.Close ||
				response.Header.Get("Retry-After") != "30" || response.Header.Get("Cache-Control") != "no-store" ||
				response.ContentLength != int64(len("back soon")) {
				t.Errorf("got %s, close %t, headers %v, body %q", response.Status, response.Close, response.Header, body)
			}
		})
	}
}

func TestSorryPageWithoutCertificateEndsTLS(t *testing.T) {
	at := serveTestPage(t, newPages(t), &configs.Sorry{Page: []byte("back soon")})
	conn, err := tls.Dial("tcp", at.String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
		t.Fatal("a TLS handshake succeeded without a certificate")
	}
}

func TestSorryPageSurvivesNonsense(t *testing.T) {
	p := newPages(t)
	at := serveTestPage(t, p, &configs.Sorry{Page: []byte("back soon"), Certificate: selfSigned(t)})
	for _, nonsense := range []string{"\x16\x03\x01garbage", "\x00\x00\x00", "NONSENSE\r\n\r\n", ""} {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, nonsense); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "503") {
		t.Errorf("after nonsense: %q, %v", line, err)
	}
}

func TestSorryPageChangesWithoutANewListener(t *testing.T) {
	p := newPages(t)
	before := serveTestPage(t, p, &configs.Sorry{Page: []byte("one")})
	after := serveTestPage(t, p, &configs.Sorry{Page: []byte("two")})
	if before != after {
		t.Errorf("the page moved from %s to %s", before, after)
	}
	response, err := http.Get("http://" + after.String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "two" {
		t.Errorf("got %q, want two", body)
	}
	if at, err := p.set(nil); err != nil || len(at) != 0 {
		t.Errorf("set(nil) = %v, %v", at, err)
	}
	if conn, err := net.Dial("tcp", after.String()); err == nil {
		conn.Close()
		t.Error("the listener is still there after its service has gone")
	}
}
