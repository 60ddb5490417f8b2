package health

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reset closes a connection with a reset.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func TestTCP(t *testing.T) {
	pong := Match{Substring: "+PONG\r\n"}
	answer := func(reply string) func(net.Conn) {
		return func(conn net.Conn) {
			conn.Read(make([]byte, 100))
			io.WriteString(conn, reply)
			drain(conn)
		}
	}
	for _, test := range []struct {
		name   string
		server func(net.Conn) // nil: nobody listens
		send   string
		expect Match
		want   string
	}{
		{"accepts", drain, "", Match{}, ""},
		{"accepts and closes at once", func(net.Conn) {}, "", Match{}, ""},
		{"refuses", nil, "", Match{}, "connect: connection refused"},
		{
			"greets", func(conn net.Conn) { io.WriteString(conn, "220 mx.example.com ESMTP\r\n"); drain(conn) },
			"",
			Match{Pattern: regexp.MustCompile(`^220 .*SMTP`)},
			"",
		},
		{"answers", answer("+PONG\r\n"), "PING\r\n", pong, ""},
		{"answers in pieces", func(conn net.Conn) { trickle(conn, "+PONG\r\n", time.Millisecond); drain(conn) }, "PING\r\n", pong, ""},
		{
			"answers and closes", func(conn net.Conn) { conn.Read(make([]byte, 100)); io.WriteString(conn, "+PONG\r\n") },
			"PING\r\n", pong, "",
		},
		{
			"answers something else and goes on waiting", answer("-LOADING\r\n"), "PING\r\n", pong,
			`reply: timed out after 300ms: "-LOADING\r\n" does not contain "+PONG\r\n"`,
		},
		{
			"answers something else and closes", func(conn net.Conn) { io.WriteString(conn, "-ERR\x1b[2J\r\n") }, "", pong,
			`reply: "-ERR\x1b[2J\r\n" does not contain "+PONG\r\n"`,
		},
		{
			"does not match", func(conn net.Conn) { io.WriteString(conn, "421 busy\r\n") }, "",
			Match{Pattern: regexp.MustCompile(`^220 `)},
			`reply: "421 busy\r\n" does not match "^220 "`,
		},
		{"closes without a word", func(conn net.Conn) {}, "", pong, "reply: closed by the server"},
		{"says nothing", drain, "PING\r\n", pong, "reply: timed out after 300ms"},
		{"resets", func(conn net.Conn) { conn.Read(make([]byte, 100)); reset(conn) }, "PING\r\n", pong, "reply: connection reset by peer"},
		{
			"floods", func(conn net.Conn) { flood(conn, 100<<20) }, "", pong,
			`reply: the first 64 KiB does not contain "+PONG\r\n"`,
		},
		{
			"sends garbage", func(conn net.Conn) { io.WriteString(conn, strings.Repeat("\x00\xff", 1000)) }, "", pong,
			`reply: "` + strings.Repeat(`\x00\xff`, 24) + `\x0..." does not contain "+PONG\r\n"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := refusing(t)
			if test.server != nil {
				address = serve(t, test.server)
			}
			check := TCP{Address: address, Send: []byte(test.send), Expect: test.expect}
			wantReason(t, check.Check(within(t, patience(test.want))), test.want)
		})
	}
}

func TestTCPTimeoutIsExact(t *testing.T) {
	for _, test := range []struct {
		name   string
		server func(net.Conn)
		want   string
	}{
		{"never reads", func(conn net.Conn) { conn.Write([]byte("x")) }, "send: timed out after 4.5s"},
		{"never answers", drain, "reply: timed out after 4.5s"},
		{"a byte a second", func(conn net.Conn) {
			conn.Read(make([]byte, 100))
			trickle(conn, "+PONGPONG", time.Second)
		}, `reply: timed out after 4.5s: "+PONG" does not contain "\r\n"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				check := TCP{Send: []byte("PING\r\n"), Expect: Match{Substring: "\r\n"}}
				wantReason(t, check.check(within(t, 4500*time.Millisecond), pipe(t, test.server)), test.want)
				if took := time.Since(start); took != 4500*time.Millisecond {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestTCPOverIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this machine has no IPv6 on loopback: %v", err)
	}
	address := serveOn(t, listener, drain)
	wantReason(t, TCP{Address: address}.Check(within(t, time.Second)), "")
}

// TestConnectTimesOut fills the accept queue of a listener: the kernel drops further attempts to connect.
func TestConnectTimesOut(t *testing.T) {
	address, fill := fullListener(t)
	fill()
	start := time.Now()
	wantReason(t, TCP{Address: address}.Check(within(t, 200*time.Millisecond)), "connect: timed out after 200ms")
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// TestNothingIsLeftInTIMEWAIT looks at what the kernel shows of the connections of many checks.
func TestNothingIsLeftInTIMEWAIT(t *testing.T) {
	address := serve(t, drain)
	for range 50 {
		wantReason(t, TCP{Address: address}.Check(within(t, time.Second)), "")
	}
	if n := timeWait(t, address); n != 0 {
		t.Errorf("%d connections in TIME_WAIT", n)
	}
}

// TestManySmallPiecesCostLittle sends the most of a reply in the smallest of pieces, with a pattern that is looked
// for from the start each time: without a bound this takes minutes.
func TestManySmallPiecesCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := TCP{Expect: Match{Pattern: regexp.MustCompile(`(x+x+)+y`)}}
		start := cpu(t)
		err := check.check(within(t, time.Second), pipe(t, func(conn net.Conn) {
			for range MaxReply {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
			drain(conn)
		}))
		wantReason(t, err, `reply: the first 64 KiB does not match "(x+x+)+y"`)
		if took := cpu(t) - start; took > 10*time.Second {
			t.Errorf("took %v of CPU", took)
		}
	})
}

// TestLateMatchInManySmallPieces makes sure that what is looked through less often is still found.
func TestLateMatchInManySmallPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := TCP{Expect: Match{Substring: "here"}}
		reply := strings.Repeat(".", 20000) + "here"
		err := check.check(within(t, time.Second), pipe(t, func(conn net.Conn) {
			for i := range reply {
				if _, err := conn.Write([]byte{reply[i]}); err != nil {
					return
				}
			}
			drain(conn) // and wait: it must be found at the deadline at the latest
		}))
		wantReason(t, err, "")
	})
}

func TestFloodHoldsLittleMemory(t *testing.T) {
	for _, test := range []struct {
		name  string
		check func(address netip.AddrPort) Checker
		start string
		want  string
	}{
		{
			"tcp", func(a netip.AddrPort) Checker { return TCP{Address: a, Expect: Match{Substring: "y"}} }, "",
			`reply: the first 64 KiB does not contain "y"`,
		},
		{
			"http status line", func(a netip.AddrPort) Checker { return HTTP{Address: a} }, "HTTP/1.1 200 ",
			"reply: headers larger than 64 KiB",
		},
		{
			"http header", func(a netip.AddrPort) Checker { return HTTP{Address: a} }, "HTTP/1.1 200 OK\r\nX: ",
			"reply: headers larger than 64 KiB",
		},
		{
			"http body until the end", func(a netip.AddrPort) Checker { return HTTP{Address: a} }, "HTTP/1.1 200 OK\r\n\r\n",
			"body: larger than 1 MiB",
		},
		{
			"http body of known length", func(a netip.AddrPort) Checker { return HTTP{Address: a} },
			"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", "body: larger than 1 MiB",
		},
		{
			"http chunk", func(a netip.AddrPort) Checker { return HTTP{Address: a, Body: Match{Substring: "y"}} },
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6400000\r\n", "body: larger than 1 MiB",
		},
		{
			"http chunk extension", func(a netip.AddrPort) Checker { return HTTP{Address: a} },
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", "body: header line too long",
		},
		{
			"http trailer", func(a netip.AddrPort) Checker { return HTTP{Address: a} },
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", "body: http: suspiciously long trailer after chunked body",
		},
		{"tls", func(a netip.AddrPort) Checker { return TLS{Address: a} }, "", "TLS handshake: the server does not speak TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := serve(t, func(conn net.Conn) {
				io.WriteString(conn, test.start)
				flood(conn, 100<<20)
			})
			check := test.check(address)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			wantReason(t, check.Check(within(t, 20*time.Second)), test.want)
			runtime.ReadMemStats(&after)
			// All that was ever allocated, given back or not, by the server too.
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
				t.Errorf("%d KiB allocated", grown>>10)
			}
		})
	}
}

func TestCancelledCheckReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		err := TCP{Expect: Match{Substring: "x"}}.check(ctx, pipe(t, drain))
		wantReason(t, err, "reply: context canceled")
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestCheckersAreComparedByContent(t *testing.T) {
	root, _ := certificate(t, nil, nil, nil)
	again, err := parseAgain(root)
	if err != nil {
		t.Fatal(err)
	}
	build := func(r *x509.Certificate) []Checker {
		h := Handshake{ServerName: "a", MinValidity: time.Hour, Roots: roots(r)}
		return []Checker{
			TCP{Send: []byte("a"), Expect: Match{Substring: "b", Pattern: regexp.MustCompile("^c+|d")}},
			TLS{Handshake: h},
			HTTP{TLS: &h, Host: "h", Headers: map[string][]string{"A": {"b"}}, Status: StatusRanges{{200, 299}}, Body: Match{Pattern: regexp.MustCompile("x")}},
		}
	}
	if a, b := build(root), build(again); !reflect.DeepEqual(a, b) {
		t.Error("the same checks built twice differ")
	}
	other, _ := certificate(t, nil, nil, nil)
	if a, b := build(root), build(other); reflect.DeepEqual(a[1], b[1]) || reflect.DeepEqual(a[2], b[2]) {
		t.Error("checks with other authorities are the same")
	}
}
