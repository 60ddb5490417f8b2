package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// A Site says what an nginx serves.
type Site struct {
	// Page is the body of the answer to every request.
	Page string

	// Certificate makes the site answer on port 443 with it, and on port 80 with a redirect to there. Without one the
	// page is on port 80.
	Certificate *Certificate

	// Server is put into the server block that has the page, to add to it: `location = /health { return 500; }`.
	Server string
}

// Nginx is a real nginx on a host, with one worker. Its files are its own. All of [Process] is there to stop, kill,
// freeze and start it again.
type Nginx struct {
	*Process
	dir  string
	site Site
}

// Nginx starts an nginx on the host. It listens on every address, IPv4 and IPv6.
func (h *Host) Nginx(site Site) *Nginx {
	h.lab.Helper()
	dir := h.lab.folder("nginx")
	n := &Nginx{dir: dir}
	n.Process = h.Process("nginx", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	n.write(site)
	n.Start()
	return n
}

// write writes the files of a site.
func (n *Nginx) write(site Site) {
	l := n.Host.lab
	l.Helper()
	n.site = site
	port, listen, redirect := 80, "", ""
	if c := site.Certificate; c != nil {
		port, listen = 443, " ssl"
		redirect = "server { listen 80; listen [::]:80; return 302 https://$host$request_uri; }"
		l.write(filepath.Join(n.dir, "cert.pem"), c.Cert)
		l.write(filepath.Join(n.dir, "key.pem"), c.Key)
		redirect += "\n\tssl_certificate cert.pem;\n\tssl_certificate_key key.pem;"
	}
	l.write(filepath.Join(n.dir, "html", "index.html"), []byte(site.Page+"\n"))
	l.write(filepath.Join(n.dir, "nginx.conf"), fmt.Appendf(nil, `user root;
daemon off;
worker_processes 1;
pid nginx.pid;
events { worker_connections 4096; }
http {
	access_log access.log;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	default_type text/html;
	%s
	server {
		listen %d%s; listen [::]:%d%s;
		root html;
		location / { try_files /index.html =404; }
		%s
	}
}
`, redirect, port, listen, port, listen, site.Server))
}

// Start starts nginx and waits until it accepts connections.
func (n *Nginx) Start() {
	l := n.Host.lab
	l.Helper()
	n.Process.Start()
	port := "80"
	if n.site.Certificate != nil {
		port = "443"
	}
	deadline := time.Now().Add(stopTimeout)
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		c, err := n.Host.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		cancel()
		if err == nil {
			c.Close()
			return
		}
		if !n.Running() || time.Now().After(deadline) {
			l.Fatalf("nginx on %s does not serve: %v\n%s", n.Host.Name, err, strings.Join(n.Lines(), "\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Serve changes what a running nginx serves, without closing its ports.
func (n *Nginx) Serve(site Site) {
	n.Host.lab.Helper()
	if (site.Certificate == nil) != (n.site.Certificate == nil) {
		n.Host.lab.Fatalf("nginx on %s: ports cannot be changed while it runs", n.Host.Name)
	}
	n.write(site)
	n.Host.Run("nginx", "-p", n.dir, "-e", "stderr", "-c", filepath.Join(n.dir, "nginx.conf"), "-s", "reload")
}
