package health

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullListener returns the address of a listener that never accepts and has room for one connection, and a function
// that fills it.
func fullListener(t *testing.T) (netip.AddrPort, func()) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	return address, func() {
		for range 4 {
			conn, err := net.DialTimeout("tcp", address.String(), 100*time.Millisecond)
			if err != nil {
				return // full
			}
			t.Cleanup(func() { conn.Close() })
		}
		t.Fatal("a listener with a backlog of 0 took 4 connections")
	}
}

// timeWait counts the connections to an IPv4 address that are in TIME_WAIT, state 06 in /proc/net/tcp.
func timeWait(t *testing.T, address netip.AddrPort) int {
	t.Helper()
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ip := address.Addr().As4()
	remote := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), address.Port())
	count, seen := 0, false
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		seen = seen || fields[1] == remote // the listener itself: the file is read as meant
		if fields[2] == remote && fields[3] == "06" {
			count++
		}
	}
	if !seen {
		t.Fatalf("no listener on %s in /proc/net/tcp", remote)
	}
	return count
}

// cpu returns the CPU time of this process so far.
func cpu(t *testing.T) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
