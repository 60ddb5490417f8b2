package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
)

// guestVariable is set in the environment of a program that runs inside the guest.
const guestVariable = "LVSD_LAB_GUEST"

// An Option changes what [Main] and [Run] ask of the machine.
type Option int

// WithoutIPVS says that the program needs network namespaces but no IPVS. It then runs in place, at native speed,
// on every machine where it is root. Benchmarks that measure milliseconds want that: timers in a guest without
// hardware virtualisation overshoot by 10 ms and more.
const WithoutIPVS Option = 1

// Main runs the tests of m where IPVS works, in place or in the guest, and exits with their status. It is called
// from TestMain.
func Main(m *testing.M, options ...Option) {
	if !flag.Parsed() {
		flag.Parse()
	}
	if list := flag.Lookup("test.list"); list != nil && list.Value.String() != "" {
		os.Exit(m.Run())
	}
	os.Exit(Run(m.Run, options...))
}

// Run runs program where IPVS works: it calls main and returns its result, or starts the running executable again,
// with the same arguments, inside the guest and returns the exit status from there. What a caller does before Run
// happens in both places.
func Run(main func() int, options ...Option) int {
	needIPVS := true
	for _, o := range options {
		if o == WithoutIPVS {
			needIPVS = false
		}
	}
	if os.Getenv(guestVariable) != "" {
		if err := fit(needIPVS); err != nil {
			fmt.Fprintln(os.Stderr, "lab: the guest is not fit:", err)
			return 1
		}
		return main()
	}
	unfit := fit(needIPVS)
	if unfit == nil {
		return main()
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	limit := testTimeout()
	if limit > 0 {
		limit += alarmSlack
	}
	status, err := runInGuest(ctx, limit)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "lab:", context.Cause(ctx))
		return 130
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\nlab: a guest was needed because: %v\n", err, unfit)
		return 1
	}
	return status
}

// testTimeout returns the value of -test.timeout, 0 if there is none.
func testTimeout() time.Duration {
	f := flag.Lookup("test.timeout")
	if f == nil {
		return 0
	}
	g, ok := f.Value.(flag.Getter)
	if !ok {
		return 0
	}
	d, _ := g.Get().(time.Duration)
	return d
}

// fit reports why labs cannot run on this machine's kernel as this user, nil if they can.
func fit(needIPVS bool) error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	ns.Close()
	if !needIPVS {
		return nil
	}
	if haveIPVS() == nil {
		return nil
	}
	if out, err := exec.Command(tool("modprobe"), "ip_vs").CombinedOutput(); err != nil {
		return fmt.Errorf("no IPVS in the kernel: modprobe ip_vs: %w: %s", err, out)
	}
	return haveIPVS()
}

// haveIPVS asks the kernel for the generic netlink family of IPVS.
func haveIPVS() error {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("opening generic netlink: %w", err)
	}
	defer c.Close()
	if _, err := c.GetFamily("IPVS"); err != nil {
		return fmt.Errorf("asking the kernel for IPVS: %w", err)
	}
	return nil
}
