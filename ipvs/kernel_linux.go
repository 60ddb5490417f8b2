package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
)

// servicePersistent is IP_VS_SVC_F_PERSISTENT of linux/ip_vs.h.
const servicePersistent = 0x1

// checkMark is the upper half of the firewall mark that schedulers are tried
// with: "lv".
const checkMark = 0x6c760000

// modprobeTimeout bounds a modprobe, so that one that hangs holds up nothing for
// longer.
const modprobeTimeout = 5 * time.Second

// Linux is the IPVS table of the network namespace in which Open was called. It
// implements Kernel, and like one is for one goroutine at a time.
type Linux struct {
	handle *moby.Handle
	// tried are the schedulers whose modules have been asked for once.
	tried map[string]bool
}

var _ Kernel = (*Linux)(nil)

// Open connects to the IPVS table of the calling thread's network namespace. It
// loads the module ip_vs if the kernel has none yet, and returns an error that is
// ErrNoIPVS if that does not help.
func Open() (*Linux, error) {
	// moby/ipvs does not tell a kernel without IPVS from one with an empty
	// table, so it is asked for first.
	if err := findFamily(); err != nil {
		return nil, err
	}

	// moby/ipvs runs modprobe itself and complains to the standard logger of
	// logrus where that fails, as it does where the module is built in.
	out := logrus.StandardLogger().Out
	logrus.SetOutput(io.Discard)
	handle, err := moby.New("")
	logrus.SetOutput(out)
	if err != nil {
		return nil, fmt.Errorf("opening the IPVS table: %w", err)
	}
	return &Linux{handle: handle, tried: make(map[string]bool)}, nil
}

// findFamily looks for the generic netlink family of IPVS, and for the module if
// there is none.
func findFamily() error {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("opening generic netlink to look for IPVS: %w", err)
	}
	defer conn.Close()

	_, err = conn.GetFamily("IPVS")
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	problem := modprobe("ip_vs")
	_, err = conn.GetFamily("IPVS")
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if problem != nil {
		return fmt.Errorf("%w (%w)", ErrNoIPVS, problem)
	}
	return ErrNoIPVS
}

// modprobe loads a module.
func modprobe(module string) error {
	ctx, cancel := context.WithTimeout(context.Background(), modprobeTimeout)
	defer cancel()
	if err := exec.CommandContext(ctx, "modprobe", module).Run(); err != nil {
		return fmt.Errorf("modprobe %s: %w", module, err)
	}
	return nil
}

// Close closes the connection to the kernel. The table stays as it is.
func (l *Linux) Close() error {
	l.handle.Close()
	return nil
}

// List returns the services of TCP and UDP (and SCTP, which others may have made)
// with their destinations. They are read one service after the other, so a table
// that others change meanwhile may come out as it never was; the next list tells.
func (l *Linux) List() (table Table, err error) {
	// moby/ipvs reads the kernel's attributes without checking their length.
	defer func() {
		if p := recover(); p != nil {
			table, err = nil, fmt.Errorf("the kernel's answer makes no sense: %v", p)
		}
	}()

	services, err := l.handle.GetServices()
	if err != nil {
		return nil, explain(err)
	}
	table = make(Table, 0, len(services))
	for _, s := range services {
		if s.FWMark != 0 {
			continue
		}
		destinations, err := l.handle.GetDestinations(s)
		if err != nil {
			return nil, fmt.Errorf("destinations of %s: %w", readService(s).Key, explain(err))
		}
		service := readService(s)
		for _, d := range destinations {
			service.Destinations = append(service.Destinations, readDestination(d))
		}
		table = append(table, service)
	}
	table.sort()
	return table, nil
}

// AddService makes a service without destinations. It returns an error that is
// EEXIST if the service is there, and one that is ErrNoScheduler and names the
// module if the kernel lacks the scheduler and modprobe does not bring it.
func (l *Linux) AddService(s Service) error {
	return l.withScheduler(s, l.handle.NewService)
}

// UpdateService sets scheduler and persistence of a service that is there; its
// connections and destinations stay. It returns an error that is ESRCH if it is
// not there, or ErrNoScheduler like AddService.
func (l *Linux) UpdateService(s Service) error {
	return l.withScheduler(s, l.handle.UpdateService)
}

func (l *Linux) withScheduler(s Service, call func(*moby.Service) error) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return l.callScheduler(writeService(s), call)
}

func (l *Linux) callScheduler(s *moby.Service, call func(*moby.Service) error) error {
	err := call(s)
	if !errors.Is(err, syscall.ENOENT) {
		return explain(err)
	}
	// The kernel has asked for the module itself, but may have been set up not to.
	module := "ip_vs_" + s.SchedName
	if !l.tried[s.SchedName] {
		l.tried[s.SchedName] = true
		if modprobe(module) == nil {
			err = call(s)
		}
	}
	if errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("scheduler %s: %w: its module %s is not there", s.SchedName, ErrNoScheduler, module)
	}
	return explain(err)
}

// CheckSchedulers looks whether the kernel has the schedulers. The only way to
// know is to make a service with each: one of a firewall mark that no packet has,
// which is gone again at once. The error is that of Open, or joins one that is
// ErrNoScheduler and names the module for each that is missing.
func CheckSchedulers(names []string) error {
	l, err := Open()
	if err != nil {
		return err
	}
	defer l.Close()
	var errs []error
	for _, name := range names {
		s := &moby.Service{
			AddressFamily: syscall.AF_INET,
			FWMark:        checkMark | uint32(os.Getpid())&0xffff,
			SchedName:     name,
			Netmask:       0xffffffff,
		}
		if err := l.callScheduler(s, l.handle.NewService); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := l.handle.DelService(s); err != nil {
			errs = append(errs, fmt.Errorf("removing the service that scheduler %s was tried with: %w", name, explain(err)))
		}
	}
	return errors.Join(errs...)
}

// DeleteService removes a service with its destinations. It returns an error that
// is ESRCH if it is not there.
func (l *Linux) DeleteService(k Key) error {
	return explain(l.handle.DelService(writeKey(k)))
}

// AddDestination adds a real server. It returns an error that is EEXIST if it is
// there, or ESRCH if the service is not.
func (l *Linux) AddDestination(k Key, d Destination) error {
	return l.changeDestination(k, d, l.handle.NewDestination)
}

// UpdateDestination sets weight and forwarding method of a real server. It returns
// an error that is ENOENT if it is not there, or ESRCH if the service is not.
func (l *Linux) UpdateDestination(k Key, d Destination) error {
	return l.changeDestination(k, d, l.handle.UpdateDestination)
}

// DeleteDestination removes a real server. It returns an error that is ENOENT if
// it is not there, or ESRCH if the service is not.
func (l *Linux) DeleteDestination(k Key, d Destination) error {
	return explain(l.handle.DelDestination(writeKey(k), writeDestination(d)))
}

func (l *Linux) changeDestination(k Key, d Destination, call func(*moby.Service, *moby.Destination) error) error {
	if err := d.validate(k); err != nil {
		return err
	}
	return explain(call(writeKey(k), writeDestination(d)))
}

// explain says what an operator can do about an error number.
func explain(err error) error {
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w (the capability CAP_NET_ADMIN is needed)", err)
	}
	return err
}

func writeKey(k Key) *moby.Service {
	return &moby.Service{
		AddressFamily: family(k.Address),
		Protocol:      uint16(k.Protocol),
		Address:       k.Address.AsSlice(),
		Port:          k.Port,
	}
}

func writeService(s Service) *moby.Service {
	m := writeKey(s.Key)
	m.SchedName = s.Scheduler
	bits := s.PersistenceMask
	if bits == 0 {
		bits = s.Address.BitLen()
	}
	m.Netmask = writeMask(s.Address, bits)
	if s.Persistence > 0 {
		m.Flags = servicePersistent
		m.Timeout = uint32(s.Persistence / time.Second)
	}
	return m
}

func writeDestination(d Destination) *moby.Destination {
	return &moby.Destination{
		AddressFamily:   family(d.Address.Addr()),
		Address:         d.Address.Addr().AsSlice(),
		Port:            d.Address.Port(),
		Weight:          d.Weight,
		ConnectionFlags: uint32(d.Forward),
	}
}

// readService returns a service as normal does. The kernel adds flags of its own
// (IP_VS_SVC_F_HASHED) to those that were written.
func readService(m *moby.Service) Service {
	s := Service{
		Key:       Key{Address: address(m.Address), Port: m.Port, Protocol: Protocol(m.Protocol)},
		Scheduler: m.SchedName,
	}
	if m.Flags&servicePersistent != 0 {
		s.Persistence = time.Duration(m.Timeout) * time.Second
		s.PersistenceMask = readMask(s.Address, m.Netmask)
	}
	return s.normal()
}

func readDestination(m *moby.Destination) Destination {
	return Destination{
		Address:             netip.AddrPortFrom(address(m.Address), m.Port),
		Forward:             Forward(m.ConnectionFlags & moby.ConnectionFlagFwdMask),
		Weight:              m.Weight,
		ActiveConnections:   m.ActiveConnections,
		InactiveConnections: m.InactiveConnections,
	}
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

func family(a netip.Addr) uint16 {
	if a.Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

// writeMask returns a persistence mask as the kernel takes it: the four bytes of
// an IPv4 netmask in network byte order, or an IPv6 prefix length as a number.
func writeMask(a netip.Addr, bits int) uint32 {
	if !a.Is4() {
		return uint32(bits)
	}
	return binary.NativeEndian.Uint32(net.CIDRMask(bits, 32))
}

// readMask is the reverse of writeMask. An IPv4 netmask that no prefix length
// above 0 says, which only others can have set, is -1.
func readMask(a netip.Addr, mask uint32) int {
	if !a.Is4() {
		return int(mask)
	}
	bits, _ := net.IPMask(binary.NativeEndian.AppendUint32(nil, mask)).Size()
	if bits == 0 {
		return -1
	}
	return bits
}
