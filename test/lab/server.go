package lab

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A Behavior is what a server does with a connection that it has accepted. The connection is closed after it, and
// when the server is.
type Behavior func(net.Conn)

// Hang reads the request and never answers.
func Hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// Answer answers every request with a status and a body.
func Answer(status int, body string) Behavior {
	return func(c net.Conn) {
		if readRequest(c) {
			fmt.Fprintf(c, "HTTP/1.1 %d Answer\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
		}
	}
}

// Drip sends a correct reply, one byte at a time.
func Drip(pause time.Duration) Behavior {
	return func(c net.Conn) {
		if !readRequest(c) {
			return
		}
		for _, b := range []byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + strings.Repeat("slow ", 1000)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
}

// Flood sends a correct reply with a body of the given number of bytes.
func Flood(size int64) Behavior {
	return func(c net.Conn) {
		if !readRequest(c) {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size)
		block := []byte(strings.Repeat("lvsd lvsd lvsd\n\n", 4096))
		for size > 0 {
			n, err := c.Write(block[:min(size, int64(len(block)))])
			if err != nil {
				return
			}
			size -= int64(n)
		}
	}
}

// readRequest reads to the end of an HTTP request's header.
func readRequest(c net.Conn) bool {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
}

// A Server is a server that behaves as a test wants, inside of this process.
type Server struct {
	listener net.Listener

	mu       sync.Mutex
	behavior Behavior
	accepted int
	open     map[net.Conn]bool
}

// Server starts a server on an address of the host, ":80" for all. With a certificate it speaks TLS.
func (h *Host) Server(address string, certificate *Certificate, b Behavior) *Server {
	h.lab.Helper()
	l := h.Listen(address)
	if certificate != nil {
		config, err := certificate.config()
		if err != nil {
			h.lab.Fatalf("host %s: certificate: %v", h.Name, err)
		}
		l = tls.NewListener(l, config)
	}
	s := &Server{listener: l, behavior: b, open: map[net.Conn]bool{}}
	h.lab.Cleanup(s.Close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *Server) serve(c net.Conn) {
	s.mu.Lock()
	s.accepted++
	s.open[c] = true
	b := s.behavior
	s.mu.Unlock()
	b(c)
	c.Close()
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
}

// Behave changes what the server does with the connections that it accepts from now on.
func (s *Server) Behave(b Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behavior = b
}

// Accepted returns how many connections the server has accepted.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Close closes the server's port and its connections.
func (s *Server) Close() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}
