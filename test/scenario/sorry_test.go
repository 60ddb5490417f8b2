package scenario

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lvsd/test/lab"
)

// TestAPortThatReadTheSorryPageIsServedAgain uses client ports once more with
// which the sorry page was read, while the kernel still knows those connections:
// on the director that served it, and on the one that learnt of them.
func TestAPortThatReadTheSorryPageIsServedAgain(t *testing.T) {
	w := lab.New(t).NAT()
	quick(t, w.LVS01, w.LVS02)
	run(t, w.Lab, w.LVS01, w.LVS02)
	sorry := func(d *lab.Director) bool { return statusOf(t, d).Services[0].State == "sorry" }
	stop(t, w.Nginx02)
	stop(t, w.Nginx03)
	w.Eventually(patience, "the sorry page", func() bool { return sorry(w.LVS01) && sorry(w.LVS02) })

	// The client's last packets are lost, so the kernel takes the connections for
	// open for minutes.
	ports := []int{40001, 40002, 40003, 40004}
	var open []*net.TCPConn
	for _, port := range ports {
		status, c, err := getFrom(w.Client, port)
		if err != nil || status != 503 {
			t.Fatalf("port %d: status %d, %v, want the sorry page", port, status, err)
		}
		open = append(open, c)
	}
	w.Client.Input("table ip silent { chain output { type filter hook output priority 0; tcp flags rst drop; }; }", "nft", "-f", "-")
	for _, c := range open {
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
			t.Fatal(err)
		}
	}
	w.Eventually(patience, "the connections on lvs-02", func() bool {
		return strings.Count(w.LVS02.Host.Run("ipvsadm", "-Lnc"), "FIN_WAIT") == len(ports)
	})

	w.Nginx02.Start()
	w.Nginx03.Start()
	w.Eventually(patience, "only the real servers in the tables", func() bool {
		return !strings.Contains(table(w.LVS01.Host)+table(w.LVS02.Host), "-> "+lab.VIP)
	})
	expect := func(ports []int) {
		t.Helper()
		for _, port := range ports {
			status, c, err := getFrom(w.Client, port)
			if err != nil || status != 302 {
				t.Errorf("port %d: status %d, %v, want the answer of a real server", port, status, err)
				continue
			}
			c.Close()
		}
	}
	expect(ports[:2])
	if err := w.LVS01.Stop(); err != nil {
		t.Errorf("stopping lvs-01: %v", err)
	}
	w.Eventually(patience, "lvs-02 master", func() bool { return isMaster(t, w.LVS02) })
	expect(ports[2:])
}

// getFrom requests the page from a port of the client. It returns the status of
// the answer, and the connection, which the server has closed.
func getFrom(client *lab.Host, port int) (status int, c *net.TCPConn, err error) {
	var conn net.Conn
	client.Do(func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}, Timeout: 900 * time.Millisecond}
		conn, err = d.Dial("tcp", "192.168.20.50:80")
	})
	if err != nil {
		return 0, nil, err
	}
	c = conn.(*net.TCPConn)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, c, err
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", lab.SiteName)
	b, err := io.ReadAll(c)
	if err != nil {
		return 0, c, err
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return 0, c, err
	}
	return response.StatusCode, c, response.Body.Close()
}
