// Package scenario has the black box tests of lvsd: a real kernel with IPVS, real
// nginx, two directors, and everything that goes wrong at three in the morning.
package scenario

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"lvsd/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// patience is how long a machine without hardware virtualisation may take for
// what should happen soon.
const patience = 30 * time.Second

// slack is how much longer than promised something may take on such a machine.
const slack = 2 * time.Second

// status is what these tests read of "lvsd status -o json".
type status struct {
	PID       int        `json:"pid"`
	Instances []instance `json:"instances"`
	Services  []service  `json:"services"`
	Config    struct {
		Error string `json:"error"`
	} `json:"config"`
	IPVS struct {
		Repairs int    `json:"repairs"`
		Error   string `json:"error"`
	} `json:"ipvs"`
	Problems []string `json:"problems"`
}

type instance struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	Priority int    `json:"priority"`
}

type service struct {
	Name        string `json:"name"`
	State       string `json:"state"`
	RealServers []struct {
		Address      string        `json:"address"`
		State        string        `json:"state"`
		Reason       string        `json:"reason"`
		Destinations []destination `json:"destinations"`
	} `json:"real_servers"`
}

type destination struct {
	Listen       string `json:"listen"`
	Weight       *int   `json:"weight"`
	KernelWeight *int   `json:"kernel_weight"`
}

func statusOf(t *testing.T, d *lab.Director) status {
	t.Helper()
	var s status
	if err := json.Unmarshal(d.Status(), &s); err != nil {
		t.Fatalf("status of %s: %v", d.Name, err)
	}
	return s
}

// isMaster reports whether a director is master of all its instances.
func isMaster(t *testing.T, d *lab.Director) bool {
	t.Helper()
	for _, i := range statusOf(t, d).Instances {
		if i.State != "master" {
			return false
		}
	}
	return true
}

// verdict returns the state of a real server of the first service, and why.
func verdict(t *testing.T, d *lab.Director, address string) (state, reason string) {
	t.Helper()
	for _, r := range statusOf(t, d).Services[0].RealServers {
		if r.Address == address {
			return r.State, r.Reason
		}
	}
	t.Fatalf("%s has no real server %s", d.Name, address)
	return "", ""
}

// run starts the directors and waits until all checks have passed and the first
// is master.
func run(t *testing.T, l *lab.Lab, directors ...*lab.Director) {
	t.Helper()
	for _, d := range directors {
		d.Start()
	}
	for _, d := range directors {
		l.Eventually(patience, "all real servers up on "+d.Name, func() bool { return len(statusOf(t, d).Problems) == 0 && allUp(t, d) })
	}
	l.Eventually(patience, directors[0].Name+" master", func() bool { return isMaster(t, directors[0]) })
}

func allUp(t *testing.T, d *lab.Director) bool {
	t.Helper()
	for _, s := range statusOf(t, d).Services {
		for _, r := range s.RealServers {
			if r.State != "up" {
				return false
			}
		}
	}
	return true
}

// table returns what ipvsadm -Ln prints on a host, without its first line.
func table(h *lab.Host) string {
	_, rest, _ := strings.Cut(h.Run("ipvsadm", "-Ln"), "\n")
	return rest
}

// quick lets the directors advertise five times a second, so that a test need
// not wait for elections.
func quick(t *testing.T, directors ...*lab.Director) {
	t.Helper()
	for _, d := range directors {
		b, err := os.ReadFile(d.Config)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), `advert_interval = "1s"`) {
			d.Edit(`advert_interval = "1s"`, `advert_interval = "200ms"`)
		} else {
			d.Edit("vrid ", "advert_interval = \"200ms\"\nvrid ")
		}
	}
}

var vip = netip.MustParseAddr(lab.VIP)

// owners names the directors that have the VIP.
func owners(directors ...*lab.Director) string {
	var names []string
	for _, d := range directors {
		if d.Host.Has(vip) {
			names = append(names, d.Name)
		}
	}
	return strings.Join(names, " ")
}

// logged counts the lines of a director's log that have a message and contain
// all words.
func logged(d *lab.Director, message string, words ...string) int {
	n := 0
	for _, line := range d.Lines() {
		e, ok := lab.ParseLog(line)
		if !ok || e.Message != message {
			continue
		}
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}
