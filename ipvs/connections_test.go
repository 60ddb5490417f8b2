package ipvs_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/ipvs"
)

const connectionsTitle = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

var compareAddrPort = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestParseConnections(t *testing.T) {
	text := connectionsTitle +
		"TCP C0A81411 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED     871\n" +
		"UDP C0A81411 0035 C0A83264 0035 C0A83216 0035 UDP               0\n" +
		"TCP C0A81400 0000 C0A83264 01BB C0A83216 01BB ASSURED         300\n" +
		"TCP C0A81412 0000 C0A83264 01BB C0A83217 01BB NONE              7\n" +
		"TCP 2001:0db8:0000:0000:0000:0000:0000:0017 C350 2001:0db8:0000:0000:0000:0000:0000:0100 0050 2001:0db8:0000:0000:0000:0000:0000:0022 0050 SYN_RECV         59\n" +
		"TCP 2001:0db8:0000:0000:0000:0000:0000:0017 C350 2001:0db8:0000:0000:0000:0000:0000:0100 0050 C0A83216 0050 FIN_WAIT        119\n" +
		"UDP C0A81411 13C4 C0A83264 13C4 C0A83216 13C4 UDP             299 sip a1b2c3@192.168.20.17\n" +
		"SCTP C0A81411 13C4 C0A83264 13C4 C0A83216 13C4 ESTABLISHED     299\n" +
		"IP  C0A81411 0000 00000007 0000 C0A83216 0000 NONE            299\n"
	want := []ipvs.Connection{
		{Protocol: ipvs.TCP, Client: addrPort("192.168.20.17:35378"), Virtual: addrPort("192.168.50.100:80"), Destination: addrPort("192.168.50.22:8080"), State: "ESTABLISHED", Expires: 871 * time.Second},
		{Protocol: ipvs.UDP, Client: addrPort("192.168.20.17:53"), Virtual: addrPort("192.168.50.100:53"), Destination: addrPort("192.168.50.22:53"), State: "UDP"},
		{Protocol: ipvs.TCP, Client: addrPort("192.168.20.0:0"), Virtual: addrPort("192.168.50.100:443"), Destination: addrPort("192.168.50.22:443"), State: "ASSURED", Expires: 300 * time.Second},
		{Protocol: ipvs.TCP, Client: addrPort("192.168.20.18:0"), Virtual: addrPort("192.168.50.100:443"), Destination: addrPort("192.168.50.23:443"), State: "NONE", Expires: 7 * time.Second},
		{Protocol: ipvs.TCP, Client: addrPort("[2001:db8::17]:50000"), Virtual: addrPort("[2001:db8::100]:80"), Destination: addrPort("[2001:db8::22]:80"), State: "SYN_RECV", Expires: 59 * time.Second},
		{Protocol: ipvs.TCP, Client: addrPort("[2001:db8::17]:50000"), Virtual: addrPort("[2001:db8::100]:80"), Destination: addrPort("192.168.50.22:80"), State: "FIN_WAIT", Expires: 119 * time.Second},
		{Protocol: ipvs.UDP, Client: addrPort("192.168.20.17:5060"), Virtual: addrPort("192.168.50.100:5060"), Destination: addrPort("192.168.50.22:5060"), State: "UDP", Expires: 299 * time.Second},
	}
	got, err := ipvs.ParseConnections(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddrPort); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	var templates []int
	for i, c := range got {
		if c.Template() {
			templates = append(templates, i)
		}
	}
	if diff := cmp.Diff([]int{2, 3}, templates); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
}

func TestParseConnectionsNamesTheBadLine(t *testing.T) {
	good := "TCP C0A81411 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED     871\n"
	tests := []struct{ name, text, want string }{
		{"another file", "IP Virtual Server version 1.2.1 (size=4096)\n", "line 1: "},
		{"short", connectionsTitle + good + "TCP C0A81411\n", "line 3: 2 fields"},
		{"address", connectionsTitle + "TCP C0A8141 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED 871\n", `line 2: address "C0A8141"`},
		{"IPv6 address", connectionsTitle + "TCP 2001::1::2 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED 871\n", `line 2: address "2001::1::2"`},
		{"zone", connectionsTitle + "TCP fe80::1%eth0 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED 871\n", `line 2: address "fe80::1%eth0"`},
		{"port", connectionsTitle + "TCP C0A81411 18A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED 871\n", "line 2: port: "},
		{"expires", connectionsTitle + "TCP C0A81411 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED -1\n", "line 2: expires: "},
	}
	for _, tt := range tests {
		got, err := ipvs.ParseConnections(strings.NewReader(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		if n := strings.Count(tt.text, good); len(got) != n {
			t.Errorf("%s: %d connections before the error, want %d", tt.name, len(got), n)
		}
	}
	if got, err := ipvs.ParseConnections(strings.NewReader("")); len(got) > 0 || err != nil {
		t.Errorf("no text: %v, %v", got, err)
	}
	if _, err := ipvs.ParseConnections(io.MultiReader(strings.NewReader(connectionsTitle), failingReader{})); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader that fails: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, context.Canceled }

func TestRenewTemplates(t *testing.T) {
	template := ipvs.Connection{Protocol: ipvs.TCP, Client: addrPort("192.168.20.17:0"), Virtual: addrPort("192.168.50.100:80"), Destination: addrPort(real1), State: "ASSURED", Expires: 5 * time.Second}
	longer := template
	longer.Expires = 400 * time.Second // the service's persistence was longer when it was made
	connection := template
	connection.Client, connection.State = addrPort("192.168.20.17:1000"), "ESTABLISHED"
	other := template
	other.Virtual = addrPort("192.168.50.100:81")
	got := []ipvs.Connection{template, longer, connection, other}
	ipvs.RenewTemplates(got, ipvs.Table{persistent(service(web), 300, 0), service(dns)})
	var seconds []float64
	for _, c := range got {
		seconds = append(seconds, c.Expires.Seconds())
	}
	if diff := cmp.Diff([]float64{300, 400, 5, 5}, seconds); diff != "" {
		t.Errorf("expires (-want +got):\n%s", diff)
	}
}

func FuzzParseConnections(f *testing.F) {
	f.Add(connectionsTitle + "TCP C0A81411 8A32 C0A83264 0050 C0A83216 1F90 ESTABLISHED     871\n")
	f.Add(connectionsTitle + "UDP 2001:0db8:0000:0000:0000:0000:0000:0017 0035 ::1 0035 C0A83216 0035 UDP 300 sip x\n")
	f.Add(connectionsTitle + "TCP C0A81411 0000 C0A83264 0050 C0A83216 1F90 NONE 4294967295\n")
	f.Fuzz(func(t *testing.T, text string) {
		connections, _ := ipvs.ParseConnections(strings.NewReader(text))
		for _, c := range connections {
			if !c.Client.IsValid() || !c.Virtual.IsValid() || !c.Destination.IsValid() || c.Expires < 0 || c.State == "" {
				t.Errorf("%+v", c)
			}
		}
	})
}
