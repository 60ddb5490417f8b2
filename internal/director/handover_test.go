package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsd/configs"
	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

// connections is a Handover in memory.
type connections struct {
	mu    sync.Mutex
	calls []string
	known []ipvs.Connection
	fault error
}

func (c *connections) note(format string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, fmt.Sprintf(format, args...))
	return c.fault
}

func (c *connections) Guard(services []ipvs.Key, realServers []netip.AddrPort) error {
	return c.note("guard %v %v", services, realServers)
}

func (c *connections) Sync(ifname string, id uint8) error { return c.note("sync %q %d", ifname, id) }

func (c *connections) Expire(on bool) error { return c.note("expire %t", on) }

func (c *connections) Connections(context.Context) ([]ipvs.Connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.known), nil
}

func (c *connections) Send(_ context.Context, ifname string, id uint8, all []ipvs.Connection) error {
	var words []string
	for _, x := range all {
		words = append(words, x.Client.String()+" "+x.State)
	}
	return c.note("send %q %d: %s", ifname, id, strings.Join(words, ", "))
}

func (c *connections) know(known ...ipvs.Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}

func (c *connections) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

func connection(client, state string) ipvs.Connection {
	return ipvs.Connection{
		Protocol: ipvs.TCP, Client: netip.MustParseAddrPort(client), State: state,
		Virtual: netip.AddrPortFrom(vip80.Address, vip80.Port), Destination: netip.MustParseAddrPort("192.168.50.22:80"),
	}
}

// withInstance gives the service of the scene to a VRRP instance.
func (s *scene) withInstance() {
	s.t.Helper()
	s.config = s.newConfig()
	s.config.Instances = []configs.Instance{{Name: "outer", Interface: "eth2", VRID: 51, AdvertInterval: time.Second}}
	s.config.Services[0].Instance = "outer"
	if err := s.director.Reload(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.wait(time.Second)
}

const (
	guarded   = "guard [TCP 192.168.50.100:80] [192.168.50.22:80 192.168.50.23:80]"
	unguarded = "guard [] []"
)

func (s *scene) expectCalls(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.connections.take()); diff != "" {
		s.t.Errorf("calls for the connections (-want +got):\n%s", diff)
	}
}

func TestUnknownConnectionsAreGuardedUntilAWhileAfterTheTakeover(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(time.Second)
		s.expectCalls(unguarded, "expire true") // what a killed daemon may have left is taken away
		s.withInstance()
		s.expectCalls(guarded, `sync "eth2" 51`)
		s.director.SetMaster("outer", true)
		s.wait(settleTime - time.Millisecond)
		s.expectCalls()
		s.wait(time.Millisecond)
		s.expectCalls(unguarded)
		s.director.SetMaster("outer", false)
		s.wait(time.Millisecond)
		s.expectCalls(guarded)
	})
}

func TestADirectorThatMayBeARealServerIsNotGuarded(t *testing.T) {
	service := web()
	service.Instance, service.OnlyWhileMaster = "outer", true
	if h := planHandover(modelOf(service, nil)); len(h.guardServices)+len(h.guardReal) != 0 {
		t.Errorf("guarded: %v %v", h.guardServices, h.guardReal)
	}
}

func TestAMasterThatIsSoonABackupAgainStaysGuarded(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.withInstance()
		s.director.SetMaster("outer", true)
		s.wait(time.Second)
		s.director.SetMaster("outer", false)
		s.wait(time.Second)
		s.director.SetMaster("outer", true)
		s.connections.take()
		s.wait(settleTime - time.Millisecond)
		s.expectCalls()
		s.wait(time.Millisecond)
		s.expectCalls(unguarded)
	})
}

func TestTheSuccessorIsToldOfEachConnectionOnce(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.withInstance()
		s.director.SetMaster("outer", true)
		s.wait(time.Minute)
		elsewhere := connection("192.168.20.17:1004", "ESTABLISHED")
		elsewhere.Virtual = netip.MustParseAddrPort("10.0.0.1:80")
		s.connections.know(
			connection("192.168.20.17:1001", "FIN_WAIT"),
			connection("192.168.20.17:1002", "ESTABLISHED"),
			connection("192.168.20.17:1003", "TIME_WAIT"), // has nothing more to say
			elsewhere, // is none of this service
		)
		s.connections.take()
		s.director.SetMaster("outer", false)
		s.wait(time.Millisecond)
		s.expectCalls(guarded, `send "eth2" 51: 192.168.20.17:1002 ESTABLISHED, 192.168.20.17:1001 FIN_WAIT`)
		s.wait(10 * tellPause)
		s.expectCalls()
		s.connections.know(connection("192.168.20.17:1002", "FIN_WAIT"), connection("192.168.20.17:1005", "SYN_RECV"))
		s.wait(tellPause)
		s.expectCalls(`send "eth2" 51: 192.168.20.17:1005 SYN_RECV, 192.168.20.17:1002 FIN_WAIT`)

		// Two intervals later the addresses have gone for certain.
		s.wait(3 * time.Second)
		s.connections.know(connection("192.168.20.17:1006", "SYN_RECV"))
		s.wait(time.Minute)
		s.expectCalls()
	})
}

func TestHandoverErrorsAreSaidOnceAndTriedAgain(t *testing.T) {
	play(t, ipvstest.New(), func(s *scene) {
		s.wait(time.Second)
		s.connections.mu.Lock()
		s.connections.fault = errors.New("no nf_tables")
		s.connections.mu.Unlock()
		s.withInstance()
		s.wait(time.Minute)
		s.logMu.Lock()
		if n := strings.Count(s.log.String(), "no nf_tables"); n != 1 {
			s.t.Errorf("the error was said %d times, want once", n)
		}
		s.logMu.Unlock()
		s.connections.mu.Lock()
		s.connections.fault = nil
		s.connections.mu.Unlock()
		s.connections.take()
		s.wait(handoverRetry)
		s.expectCalls(guarded, `sync "eth2" 51`)
	})
}

func TestTheEndTellsOfTheLastConnections(t *testing.T) {
	var s2 *scene
	play(t, ipvstest.New(), func(s *scene) {
		s.withInstance()
		s.director.SetMaster("outer", true)
		s.wait(time.Minute)
		s.director.SetMaster("outer", false)
		s.wait(tellPause / 2)
		s.connections.take()
		s.connections.know(connection("192.168.20.17:1001", "SYN_RECV"))
		s2 = s
	})
	want := []string{`send "eth2" 51: 192.168.20.17:1001 SYN_RECV`, unguarded, `sync "" 0`, "expire false"}
	if diff := cmp.Diff(want, s2.connections.take()); diff != "" {
		t.Errorf("calls at the end (-want +got):\n%s", diff)
	}
}

func TestTheEndUndoesWhatWasDoneForConnections(t *testing.T) {
	var s2 *scene
	play(t, ipvstest.New(), func(s *scene) {
		s.withInstance()
		s.connections.take()
		s2 = s
	})
	if diff := cmp.Diff([]string{unguarded, `sync "" 0`, "expire false"}, s2.connections.take()); diff != "" {
		t.Errorf("calls at the end (-want +got):\n%s", diff)
	}
}
