package ipvs_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsd/ipvs"
)

func TestTableStringIsWhatIpvsadmPrints(t *testing.T) {
	counted := nat(real1, 1)
	counted.ActiveConnections, counted.InactiveConnections = 12, 3456
	https := web
	https.Port = 443
	weighted := service(https,
		ipvs.Destination{Address: netip.MustParseAddrPort("192.168.50.9:443"), Forward: ipvs.DR, Weight: 65535},
		ipvs.Destination{Address: netip.MustParseAddrPort("192.168.50.10:443"), Forward: ipvs.Tunnel, Weight: 0})
	weighted.Scheduler = "wlc"
	long := ipvs.Key{Address: netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), Port: 8443, Protocol: ipvs.TCP}
	all := dns
	all.Port = 0

	table := ipvs.Table{
		persistent(service(long, nat("[2001:db8:1111:2222:3333:4444:5555:7777]:8443", 10)), 60, 64),
		persistent(service(web6, nat("[2001:db8::22]:80", 1)), 60, 128),
		persistent(service(dns, nat("192.168.50.22:53", 1)), 300, 24),
		persistent(service(all), 300, 32),
		persistent(weighted, 300, 0),
		service(web, nat(real2, 2), counted),
	}
	want, err := os.ReadFile("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), table.String()); diff != "" {
		t.Errorf("Table.String (-want +got):\n%s", diff)
	}

	if table[0].Key != long || table[5].Destinations[0].Address.String() != real2 {
		t.Error("String has sorted the table itself")
	}
}

func TestTableStringOfNothingIsTheTitle(t *testing.T) {
	want := "Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
	if diff := cmp.Diff(want, ipvs.Table(nil).String()); diff != "" {
		t.Errorf("Table.String (-want +got):\n%s", diff)
	}
}
