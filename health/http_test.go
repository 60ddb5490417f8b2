package health

import (
	"bufio"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reply reads a request and then sends text.
func reply(text string) func(net.Conn) {
	return func(conn net.Conn) {
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, text)
	}
}

// then does one after the other.
func then(actions ...func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		for _, action := range actions {
			action(conn)
		}
	}
}

func TestHTTP(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall fine"
	slowly := func(text string) func(net.Conn) {
		return func(conn net.Conn) { trickle(conn, text, 50*time.Millisecond) }
	}
	for _, test := range []struct {
		name   string
		server func(net.Conn) // nil: nobody listens
		check  HTTP
		want   string
	}{
		{"passes", then(reply(ok), drain), HTTP{}, ""},
		{"passes and closes", reply(ok), HTTP{}, ""},
		{"refuses", nil, HTTP{}, "connect: connection refused"},

		{"HTTP/1.0, body until the end", reply("HTTP/1.0 200 OK\r\n\r\nall fine"), HTTP{Body: Match{Substring: "fine"}}, ""},
		{
			"chunked", reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nfine\r\n0\r\n\r\n"),
			HTTP{Body: Match{Substring: "l f"}},
			"",
		},
		{"no content", then(reply("HTTP/1.1 204 No Content\r\n\r\n"), drain), HTTP{}, ""},
		{"interim replies", then(reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"+ok), drain), HTTP{}, ""},
		{
			"interim replies without end", then(reply(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10000)), drain),
			HTTP{},
			"reply: headers larger than 64 KiB",
		},
		{
			"switches protocols", then(reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), drain),
			HTTP{Status: StatusRanges{{101, 101}}},
			"",
		},
		{"HEAD has no body, whatever its length says", then(reply("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"), drain), HTTP{Method: "HEAD"}, ""},
		{"redirect is not followed", then(reply("HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"), drain), HTTP{}, ""},

		{"status", then(reply("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), drain), HTTP{}, "status 503, want 200-399"},
		{"status not of the list", then(reply(ok), drain), HTTP{Status: StatusRanges{{204, 204}, {300, 302}}}, "status 200, want 204,300-302"},
		{"status before a body that never comes", then(reply("HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\n"), drain), HTTP{}, "status 500, want 200-399"},
		{"status beyond 599", then(reply("HTTP/1.1 999 Whatever\r\n\r\n"), drain), HTTP{}, "status 999, want 200-399"},
		{"body lacks", then(reply(ok), drain), HTTP{Body: Match{Substring: "OK"}}, `body does not contain "OK"`},
		{"body does not match", then(reply(ok), drain), HTTP{Body: Match{Pattern: regexp.MustCompile(`^fine`)}}, `body does not match "^fine"`},
		{"body matches", then(reply(ok), drain), HTTP{Body: Match{Substring: "all", Pattern: regexp.MustCompile(`fine$`)}}, ""},
		{"body as large as may be", reply("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", MaxBody-2) + "OK"), HTTP{Body: Match{Substring: "OK"}}, ""},
		{"body one byte larger", reply("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", MaxBody-1) + "OK"), HTTP{}, "body: larger than 1 MiB"},

		{
			"body of a length too large, before any of it comes", then(reply("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n"), drain),
			HTTP{},
			"body: larger than 1 MiB",
		},

		{"hangs after accept", drain, HTTP{}, "reply: timed out after 300ms"},
		{"headers a byte now and then", slowly(ok), HTTP{}, "reply: timed out after 300ms"},
		{"body a byte now and then", then(reply("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"), slowly("all fine")), HTTP{}, "body: timed out after 300ms"},
		{"body a byte now and then, until the end", then(reply("HTTP/1.1 200 OK\r\n\r\n"), slowly("all fine")), HTTP{}, "body: timed out after 300ms"},
		{"closes without a word", reply(""), HTTP{}, "reply: closed by the server"},
		{"closes in the headers", reply("HTTP/1.1 200 OK\r\nServer: n"), HTTP{}, "reply: closed by the server"},
		{"closes in the body", reply("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall"), HTTP{}, "body: closed by the server"},
		{"closes in a chunk", reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nall"), HTTP{}, "body: closed by the server"},
		{"resets", then(reply(""), reset), HTTP{}, "reply: connection reset by peer"},
		{"bad chunk", reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nall"), HTTP{}, "body: invalid byte in chunk length"},
		{"negative length", reply("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), HTTP{}, `reply: bad Content-Length "-1"`},
		{"huge header", reply("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", MaxHeader) + "\r\n\r\n"), HTTP{}, "reply: headers larger than 64 KiB"},
		{"many headers", reply("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", MaxHeader/6+1) + "\r\n"), HTTP{}, "reply: headers larger than 64 KiB"},
		{"headers as large as may be", reply("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nX: " + strings.Repeat("x", MaxHeader-100) + "\r\n\r\n" + strings.Repeat("y", MaxBody)), HTTP{}, ""},
		{"speaks SSH", then(reply("SSH-2.0-OpenSSH_9.2p1\r\n"), drain), HTTP{}, `reply: not HTTP but "SSH-2.0-OpenSSH_9.2p1\r"`},
		{"sends terminal escapes", then(reply("\x1b[2J\x00\xff\r\n"), drain), HTTP{}, `reply: not HTTP but "\x1b[2J\x00\xff\r"`},
		{
			"sends an endless line of garbage", then(reply(strings.Repeat("\x07", 60000)+"\r\n"), drain),
			HTTP{},
			`reply: not HTTP but "` + strings.Repeat(`\a`, 97) + `\..."`,
		},
		{
			"sends an endless line of HTTP", then(reply("HTTP/"+strings.Repeat("\x07", 60000)+"\r\n"), drain),
			HTTP{},
			`reply: malformed HTTP response "HTTP/` + strings.Repeat(`\a`, 236) + `...`,
		},
		{"closes in the status line", reply("HTTP/1"), HTTP{}, `reply: malformed HTTP response "HTTP/1"`},
		{"closes within the first bytes", reply("HT"), HTTP{}, `reply: malformed HTTP response "HT"`},
		{
			"trailer a byte now and then", then(reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"), slowly("X: 123456789")),
			HTTP{},
			"body: timed out after 300ms",
		},

		{"speaks TLS", then(reply("\x15\x03\x01\x00\x02\x02\x46"), drain), HTTP{}, // as OpenSSL does
			"reply: the server speaks TLS, not plain HTTP"},
		{
			"speaks plain HTTP on the port for TLS", func(conn net.Conn) {
				conn.Read(make([]byte, 4000))
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				drain(conn)
			},
			HTTP{TLS: &Handshake{}},
			"TLS handshake: the server does not speak TLS",
		},
		{"hangs in the handshake", drain, HTTP{TLS: &Handshake{}}, "TLS handshake: timed out after 300ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.check.Address = refusing(t)
			if test.server != nil {
				test.check.Address = serve(t, test.server)
			}
			wantReason(t, test.check.Check(within(t, patience(test.want))), test.want)
		})
	}
}

// TestHTTPAgainstNetHTTP is about a whole server, with and without TLS and with HTTP/2 on offer.
func TestHTTPAgainstNetHTTP(t *testing.T) {
	connections := make(map[string]bool)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("accepts encoding %q", got)
		}
		if r.ProtoMajor != 1 || !r.Close {
			t.Errorf("asked by %s, close %v", r.Proto, r.Close)
		}
		io.WriteString(w, strings.Join([]string{r.Method, r.Host, r.RequestURI, r.UserAgent(), r.Header.Get("X-Token")}, " "))
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	address := func(s *httptest.Server) netip.AddrPort {
		return netip.MustParseAddrPort(s.Listener.Addr().String())
	}
	is := func(text string) Match { return Match{Pattern: regexp.MustCompile("^" + regexp.QuoteMeta(text) + "$")} }
	certificates := []*x509.Certificate{secure.Certificate()} // of example.com and 127.0.0.1

	for _, test := range []struct {
		name  string
		check HTTP
		want  string
	}{
		{"least", HTTP{Address: address(plain), Body: is("GET " + address(plain).String() + " / lvsd ")}, ""},
		{"most", HTTP{
			Address: address(plain), Method: "POST", Host: "www.example.com:8080", Path: "/a%20b?c=d&e=%2f",
			Headers: http.Header{"x-token": {"secret"}, "User-Agent": {"me"}},
			Body:    is("POST www.example.com:8080 /a%20b?c=d&e=%2f me secret"),
		}, ""},
		{"https", HTTP{Address: address(secure), Host: "example.com", TLS: &Handshake{Roots: certificates}, Body: is("GET example.com / lvsd ")}, ""},
		{"https not verified", HTTP{Address: address(secure), Host: "www.xuzhichao.com", TLS: &Handshake{SkipVerify: true}}, ""},
		{
			"https wrong name",
			HTTP{Address: address(secure), Host: "www.xuzhichao.com", TLS: &Handshake{Roots: certificates}},
			"certificate is for example.com, *.example.com, 127.0.0.1 and 1 more, not www.xuzhichao.com",
		},
		{"https unknown authority", HTTP{Address: address(secure), Host: "example.com", TLS: &Handshake{}}, "certificate signed by unknown authority"},
		{"http to https", HTTP{Address: address(secure)}, "status 400, want 200-399"},
		{"https to http", HTTP{Address: address(plain), TLS: &Handshake{}}, "TLS handshake: the server does not speak TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the second on a connection of its own
				wantReason(t, test.check.Check(within(t, 20*time.Second)), test.want)
			}
		})
	}
	if len(connections) != 8 {
		t.Errorf("8 requests came over %d connections", len(connections))
	}
}

func TestHTTPTimeoutIsExact(t *testing.T) {
	const header = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	for _, test := range []struct {
		name   string
		server func(net.Conn)
		want   string
	}{
		{"never reads", func(conn net.Conn) { conn.Write([]byte("x")) }, "request: timed out after 5s"},
		{"never answers", drain, "reply: timed out after 5s"},
		{"a byte a second from the start", then(reply(""), func(conn net.Conn) { trickle(conn, header, time.Second) }), "reply: timed out after 5s"},
		{
			"a byte a second of the body", then(reply(header), func(conn net.Conn) { trickle(conn, strings.Repeat("x", 100), time.Second) }),
			"body: timed out after 5s",
		},
		{"a part in every phase", func(conn net.Conn) {
			time.Sleep(2 * time.Second)
			reply("")(conn)
			time.Sleep(2 * time.Second)
			io.WriteString(conn, header)
			drain(conn)
		}, "body: timed out after 5s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				wantReason(t, HTTP{Host: "a"}.check(within(t, 5*time.Second), pipe(t, test.server)), test.want)
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		check HTTP
		want  string
	}{
		{HTTP{}, ""},
		{HTTP{Method: "PROPFIND", Host: "[2001:db8::1]:80", Path: "/a?b#", Headers: http.Header{"X": {"a\tb"}}}, ""},
		{HTTP{Method: "GET /"}, `method "GET /": must be a word like GET or HEAD`},
		{HTTP{Path: "status"}, `path "status": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "http://a/"}, `path "http://a/": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "/a b"}, `path "/a b": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "/?a b"}, `path "/?a b": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "/ü"}, `path "/ü": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "/ HTTP/1.1\r\nX: y"}, `path "/ HTTP/1.1\r\nX: y": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Path: "/%zz"}, `path "/%zz": must be like /status?full=1, with what is special in it escaped`},
		{HTTP{Host: "a b"}, `host "a b": must be a name like www.example.com, with a port or without`},
		{HTTP{Host: "a\r\nX: y"}, `host "a\r\nX: y": must be a name like www.example.com, with a port or without`},
		{HTTP{Host: "https://a"}, `host "https://a": must be a name like www.example.com, with a port or without`},
		{HTTP{Headers: http.Header{"X Y": {"a"}}}, `header "X Y": is no name of a header`},
		{HTTP{Headers: http.Header{"": {"a"}}}, `header "": is no name of a header`},
		{HTTP{Headers: http.Header{"host": {"a"}}}, `header "host": is set by the check itself`},
		{HTTP{Headers: http.Header{"X": {"a\r\nY: b"}}}, `header "X": value "a\r\nY: b" has characters that no header may have`},
	} {
		wantReason(t, test.check.Validate(), test.want)
		if test.want != "" {
			wantReason(t, test.check.check(within(t, time.Second), nil), printable(test.want)) // before dialing
		}
	}
}
