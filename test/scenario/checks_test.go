package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lvsd/test/lab"
)

// TestARealServerThatIsAliveButWrong replaces one nginx by servers that accept
// connections and then misbehave.
func TestARealServerThatIsAliveButWrong(t *testing.T) {
	w := lab.New(t).NAT()
	// The certificates are verified, against a file with the good and the bad ones.
	valid, expired, foreign := w.Valid(lab.SiteName), w.Expired(lab.SiteName), w.Valid("www.example.com")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var bundle []byte
	for _, c := range []*lab.Certificate{valid, expired, foreign} {
		bundle = append(bundle, c.Cert...)
	}
	if err := os.WriteFile(ca, bundle, 0o644); err != nil {
		t.Fatal(err)
	}
	w.Nginx02.Serve(lab.Site{Page: lab.Node1Page, Certificate: valid})
	host := w.Nginx03.Host
	w.Nginx03.Kill()
	w.LVS01.Edit("verify = false", fmt.Sprintf("verify = true\nca = %q", ca))
	quick(t, w.LVS01)

	good := func() *lab.Server { return host.Server(":443", valid, lab.Answer(200, lab.Node2Page)) }
	server := good()
	run(t, w.Lab, w.LVS01)

	tests := []struct {
		name        string
		certificate *lab.Certificate
		behavior    lab.Behavior
		reason      string // the beginning of it
	}{
		{"status 500", valid, lab.Answer(500, "no"), "status 500, want 200-399"},
		{"hangs after accept", nil, lab.Hang, "TLS handshake: timed out after 1s"},
		{"hangs after the request", valid, lab.Hang, "reply: timed out after 1s"},
		{"a byte a second", valid, lab.Drip(time.Second), "reply: timed out after 1s"},
		{"100 MB", valid, lab.Flood(100 << 20), "body: larger than 1 MiB"},
		{"expired certificate", expired, lab.Answer(200, "ok"), "certificate expired "},
		{"wrong certificate", foreign, lab.Answer(200, "ok"), "certificate is for www.example.com, not " + lab.SiteName},
		{"plain HTTP", nil, lab.Answer(200, "ok"), "TLS handshake: "},
	}
	before := w.LVS01.Memory()
	for _, tt := range tests {
		server.Close()
		server = host.Server(":443", tt.certificate, tt.behavior)
		var state, reason string
		deadline := time.Now().Add(patience)
		for time.Now().Before(deadline) {
			if state, reason = verdict(t, w.LVS01, "192.168.50.23"); state == "down" && strings.HasPrefix(reason, tt.reason) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if state != "down" || !strings.HasPrefix(reason, tt.reason) {
			t.Errorf("%s: %s because %q, want down because %q", tt.name, state, reason, tt.reason)
		}
	}
	if state, reason := verdict(t, w.LVS01, "192.168.50.22"); state != "up" {
		t.Errorf("the good server is %s: %s", state, reason)
	}
	// A hundred megabytes were sent at it again and again.
	if after := w.LVS01.Memory(); after > before+20<<20 {
		t.Errorf("the daemon's memory grew from %d to %d MiB", before>>20, after>>20)
	}
	server.Close()
	good()
	w.Eventually(patience, "the server that is good again to be up", func() bool {
		state, _ := verdict(t, w.LVS01, "192.168.50.23")
		return state == "up"
	})
}
