package director

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"lvsd/configs"
)

// Limits of the built-in sorry page. It answers when everything else is gone,
// so clients may come in any number and at any speed.
const (
	pageTimeout     = 10 * time.Second // for a whole request with its answer
	pageHeaderBytes = 16 << 10
	pageConnections = 4096 // served at the same time, per service and VIP
)

// pageID names one listener of the built-in sorry page: one for each service
// and VIP.
type pageID struct {
	service string
	vip     netip.Addr
}

// pages are the running listeners of the built-in sorry page.
type pages struct {
	log     *slog.Logger
	servers map[pageID]*pageServer
}

// set starts and stops listeners until there is one for each service and VIP
// that asks for the page, and puts the new pages on those that go on. It
// returns where each is served. A listener that cannot be started is in the
// error; the others run.
func (p *pages) set(services []configs.Service) (map[pageID]netip.AddrPort, error) {
	want := make(map[pageID]*configs.Sorry)
	for _, s := range services {
		if s.Sorry == nil || s.Sorry.Page == nil {
			continue
		}
		for _, key := range s.Listen {
			want[pageID{s.Name, key.Address}] = s.Sorry
		}
	}
	for id, server := range p.servers {
		if want[id] == nil {
			server.close()
			delete(p.servers, id)
		}
	}
	var errs []error
	at := make(map[pageID]netip.AddrPort)
	for id, sorry := range want {
		server := p.servers[id]
		if server == nil {
			var err error
			if server, err = servePage(id, p.log); err != nil {
				errs = append(errs, fmt.Errorf("service %q: serving the sorry page on %s: %w", id.service, id.vip, err))
				continue
			}
			p.servers[id] = server
		}
		server.page.Store(sorry)
		at[id] = server.address
	}
	return at, errors.Join(errs...)
}

func (p *pages) close() {
	for _, server := range p.servers {
		server.close()
	}
	maps.DeleteFunc(p.servers, func(pageID, *pageServer) bool { return true })
}

// pageServer answers every request with the sorry page and status 503, in
// plain HTTP and, where a certificate is configured, in HTTPS on the same port.
type pageServer struct {
	address  netip.AddrPort
	listener net.Listener
	page     atomic.Pointer[configs.Sorry]
	http     *http.Server
}

// Ports of the sorry page lie above those that Linux gives to clients.
const (
	firstPagePort = 61000
	pagePorts     = 65536 - firstPagePort
	pagePortTries = 32
)

// pagePort is where the sorry page of a service is tried for the first time, for
// the second, and so on. It follows from the name of the service: all directors
// have it on the same port, also after a restart, and so each knows the
// destination of the connections to the page that another one tells it of.
func pagePort(service string, try int) uint16 {
	h := fnv.New32a()
	h.Write([]byte(service)) //nolint:errcheck // never fails
	return uint16(firstPagePort + (int(h.Sum32()%pagePorts)+try)%pagePorts)
}

// servePage listens on the VIP, on the page's port or one of the next ones that
// are free. The VIP need not be on this director: the listener is there before
// the address comes.
func servePage(id pageID, log *slog.Logger) (*pageServer, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctlErr := c.Control(func(fd uintptr) {
			// IP_FREEBIND serves sockets of both families.
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
		}); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	s := &pageServer{}
	for try := range pagePortTries {
		s.address = netip.AddrPortFrom(id.vip, pagePort(id.service, try))
		var err error
		s.listener, err = config.Listen(context.Background(), "tcp", s.address.String())
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try == pagePortTries-1 {
			return nil, err
		}
	}
	s.http = &http.Server{
		Handler:        s,
		ReadTimeout:    pageTimeout,
		WriteTimeout:   pageTimeout,
		MaxHeaderBytes: pageHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.With("service", id.service).Handler(), slog.LevelDebug),
	}
	// A client that kept its connection would go on reading the sorry page
	// after the real servers are back.
	s.http.SetKeepAlivesEnabled(false)
	go s.http.Serve(&pageListener{netutil.LimitListener(s.listener, pageConnections), s}) //nolint:errcheck // ends with ErrServerClosed
	return s, nil
}

func (s *pageServer) close() {
	s.listener.Close() // Server.Close does not know it before Serve has begun
	s.http.Close()
}

// ServeHTTP answers any request with the page.
func (s *pageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sorry := s.page.Load()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(sorry.Page)))
	header.Set("Cache-Control", "no-store")
	header.Set("Retry-After", strconv.Itoa(int(sorry.RetryAfter/time.Second)))
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		w.Write(sorry.Page) //nolint:errcheck // the client has gone
	}
}

func (s *pageServer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.page.Load().Certificate; c != nil {
		return c, nil
	}
	return nil, errors.New("the sorry page has no certificate")
}

// pageListener hands out connections that find out by their first byte whether
// they speak TLS.
type pageListener struct {
	net.Listener
	server *pageServer
}

func (l *pageListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &pageConn{Conn: c, server: l.server}, nil
}

// pageConn is a connection that speaks TLS if its first byte opens a TLS
// record, plain HTTP otherwise. The first Read decides; the server always
// reads before it writes.
type pageConn struct {
	net.Conn // the wire
	server   *pageServer
	spoken   net.Conn // the wire, or TLS upon it; nil before the first Read
}

// recordHandshake is the content type of a TLS handshake record, RFC 8446
// section 5.1: the first byte of every TLS connection.
const recordHandshake = 22

func (c *pageConn) Read(b []byte) (int, error) {
	if c.spoken == nil {
		if len(b) == 0 {
			return 0, nil
		}
		first := make([]byte, 1)
		if n, err := c.Conn.Read(first); n == 0 {
			return 0, err
		}
		c.spoken = &prefixedConn{c.Conn, first}
		if first[0] == recordHandshake {
			c.spoken = tls.Server(c.spoken, &tls.Config{GetCertificate: c.server.certificate, MinVersion: tls.VersionTLS12})
		}
	}
	return c.spoken.Read(b)
}

func (c *pageConn) Write(b []byte) (int, error) {
	if c.spoken == nil {
		return c.Conn.Write(b)
	}
	return c.spoken.Write(b)
}

func (c *pageConn) Close() error {
	if c.spoken == nil {
		return c.Conn.Close()
	}
	return c.spoken.Close()
}

// prefixedConn is a connection of which some bytes have been read already.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
