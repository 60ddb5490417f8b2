package ipvstest_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"lvsd/ipvs"
	"lvsd/ipvs/ipvstest"
)

var web = ipvs.Key{Address: netip.MustParseAddr("192.168.50.100"), Port: 80, Protocol: ipvs.TCP}

func real1(weight int) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddrPort("192.168.50.22:80"), Weight: weight}
}

// The kernel itself is asked the same in test/ipvskernel.
func TestKernelIsAsStrictAsTheRealOne(t *testing.T) {
	k := ipvstest.New()
	service := ipvs.Service{Key: web, Scheduler: "rr", Destinations: []ipvs.Destination{real1(1)}}
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"update of no service", func() error { return k.UpdateService(service) }, syscall.ESRCH},
		{"removal of no service", func() error { return k.DeleteService(web) }, syscall.ESRCH},
		{"destination to no service", func() error { return k.AddDestination(web, real1(1)) }, syscall.ESRCH},
		{"update of a destination of no service", func() error { return k.UpdateDestination(web, real1(1)) }, syscall.ESRCH},
		{"removal of a destination of no service", func() error { return k.DeleteDestination(web, real1(1)) }, syscall.ESRCH},
		{"service", func() error { return k.AddService(service) }, nil},
		{"service again", func() error { return k.AddService(service) }, syscall.EEXIST},
		{"update of no destination", func() error { return k.UpdateDestination(web, real1(1)) }, syscall.ENOENT},
		{"removal of no destination", func() error { return k.DeleteDestination(web, real1(1)) }, syscall.ENOENT},
		{"destination", func() error { return k.AddDestination(web, real1(1)) }, nil},
		{"destination again", func() error { return k.AddDestination(web, real1(1)) }, syscall.EEXIST},
		{"update", func() error { return k.UpdateDestination(web, real1(2)) }, nil},
		{"update of the service", func() error { return k.UpdateService(service) }, nil},
	}
	for _, tt := range tests {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	service.Destinations = []ipvs.Destination{real1(2)}
	if got, err := k.List(); err != nil || got.String() != (ipvs.Table{service}).String() {
		t.Errorf("List: %v\n%s", err, got)
	}
	if n := len(k.Calls()); n != len(tests) {
		t.Errorf("%d calls in the journal, want %d", n, len(tests))
	}
}

func TestKernelPanicsWhereTheRealOneWouldHangOrGarble(t *testing.T) {
	tests := []struct {
		name string
		call func(k *ipvstest.Kernel)
	}{
		{"two calls at once", func(k *ipvstest.Kernel) {
			k.SetFault(func(ipvstest.Call) error { return k.DeleteService(web) })
			k.List()
		}},
		{"after Close", func(k *ipvstest.Kernel) { k.Close(); k.List() }},
		{"invalid service", func(k *ipvstest.Kernel) { k.AddService(ipvs.Service{Key: web, Scheduler: "fair"}) }},
		{"destination of another family", func(k *ipvstest.Kernel) {
			k.AddService(ipvs.Service{Key: web, Scheduler: "rr"})
			k.AddDestination(web, ipvs.Destination{Address: netip.MustParseAddrPort("[2001:db8::22]:80")})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.call(ipvstest.New())
		})
	}
}
