package main

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// mayImport says which packages of lvsd a package may import. Imports point one
// way: from the program to its two halves, from there to the configuration, from
// there to the four domains, which import nothing of ours, not even each other.
var mayImport = map[string][]string{
	"lvsd/vrrp":              {},
	"lvsd/vrrp/vrrptest":     {"lvsd/vrrp"},
	"lvsd/vip":               {},
	"lvsd/vip/viptest":       {"lvsd/vip"},
	"lvsd/ipvs":              {},
	"lvsd/ipvs/ipvstest":     {"lvsd/ipvs"},
	"lvsd/health":            {},
	"lvsd/configs":           {"lvsd/vrrp", "lvsd/vip", "lvsd/ipvs", "lvsd/health"},
	"lvsd/internal/elector":  {"lvsd/configs", "lvsd/vrrp", "lvsd/vip"},
	"lvsd/internal/director": {"lvsd/configs", "lvsd/ipvs", "lvsd/health"},
	"lvsd/internal/control":  {"lvsd/internal/elector", "lvsd/internal/director", "lvsd/vrrp"},

	"lvsd/internal/supervisor": {},
	"lvsd/internal/waist":      {"lvsd/configs", "lvsd/internal/elector", "lvsd/internal/supervisor", "lvsd/vrrp"},
	"lvsd/cmd/lvsd": {
		"lvsd/configs", "lvsd/internal/elector", "lvsd/internal/director", "lvsd/internal/control",
		"lvsd/internal/supervisor", "lvsd/internal/waist",
		"lvsd/vrrp", "lvsd/vip", "lvsd/ipvs",
	},
}

// doors names the packages that an outside library may be used in. Libraries
// that are not listed may be used anywhere.
var doors = map[string][]string{
	"github.com/moby/ipvs":            {"lvsd/ipvs"},
	"github.com/vishvananda/netlink":  {"lvsd/vip"},
	"github.com/mdlayher/genetlink":   {"lvsd/ipvs"},
	"github.com/mdlayher/netlink":     {"lvsd/ipvs"},
	"github.com/google/nftables":      {"lvsd/ipvs"},
	"github.com/mdlayher/arp":         {"lvsd/vip", "lvsd/vip/viptest"},
	"github.com/mdlayher/ndp":         {"lvsd/vip", "lvsd/vip/viptest"},
	"github.com/mdlayher/packet":      {"lvsd/vip"},
	"github.com/mdlayher/ethernet":    {"lvsd/vip", "lvsd/vip/viptest"},
	"github.com/BurntSushi/toml":      {"lvsd/configs"},
	"github.com/spf13/cobra":          {"lvsd/cmd/lvsd"},
	"github.com/coreos/go-systemd":    {"lvsd/cmd/lvsd"},
	"github.com/hashicorp/memberlist": {"lvsd/internal/cluster"},
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "lvsd/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg, imports := fields[0], fields[1:]
		if strings.HasPrefix(pkg, "lvsd/test/") {
			continue
		}
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: say in this test what it may import", pkg)
			continue
		}
		seen[pkg] = true
		for _, i := range imports {
			if strings.HasPrefix(i, "lvsd/") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s: it may import %v of ours", pkg, i, allowed)
			}
			if i == "testing" && !strings.HasSuffix(path.Base(pkg), "test") {
				t.Errorf("%s imports testing outside of its tests", pkg)
			}
			for library, door := range doors {
				if (i == library || strings.HasPrefix(i, library+"/")) && !slices.Contains(door, pkg) {
					t.Errorf("%s imports %s: its door is %v", pkg, i, door)
				}
			}
		}
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("%s is not there: the list of this test is stale", pkg)
		}
	}
}
