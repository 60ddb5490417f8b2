package health

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// HTTP checks that a server answers a request over HTTP/1.1, or over HTTPS if TLS is set, with the status and the
// body that are wanted. A redirect is an answer like others and not followed. The body is read to its end, so
// that a server which never finishes one is found out; it must not be larger than [MaxBody].
type HTTP struct {
	Address netip.AddrPort
	TLS     *Handshake   // nil means plain HTTP
	Method  string       // GET if empty
	Host    string       // the Host header, with a port or without; if empty, Address
	Path    string       // with a query or without; "/" if empty
	Headers http.Header  // further headers
	Status  StatusRanges // [DefaultStatus] if empty
	Body    Match        // looked for in the body as it is sent, never unpacked
}

// Validate returns what makes a request impossible, if anything does.
func (c HTTP) Validate() error {
	_, err := c.request()
	return err
}

// Check returns nil if the server answered as wanted.
func (c HTTP) Check(ctx context.Context) error {
	return clean(c.check(ctx, dialTCP))
}

// check speaks HTTP on a connection of its own. It does without [http.Transport], whose goroutines, pool and
// phases within one error a single request does not need.
func (c HTTP) check(ctx context.Context, dial dialFunc) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	conn, done, err := connect(ctx, dial, c.Address)
	if err != nil {
		return err
	}
	defer done()
	if c.TLS != nil {
		if conn, err = c.TLS.over(ctx, conn, c.serverName()); err != nil {
			return err
		}
	}

	// In one write: a server may refuse a request in the middle of it and close, and then the reply counts.
	var out bytes.Buffer
	if err := request.Write(&out); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if _, err := conn.Write(out.Bytes()); err != nil {
		return fmt.Errorf("request: %w", explain(ctx, err))
	}

	in := &allowance{Reader: conn, left: MaxHeader}
	response, err := readResponse(bufio.NewReader(in), request)
	if err != nil {
		return fmt.Errorf("reply: %w", in.explain(ctx, err))
	}
	in.left = math.MaxInt64 // from here on readBody counts
	want := c.Status
	if len(want) == 0 {
		want = DefaultStatus
	}
	if !want.Contains(response.StatusCode) {
		return fmt.Errorf("status %d, want %s", response.StatusCode, want)
	}
	body, err := readBody(response)
	if err != nil {
		return fmt.Errorf("body: %w", in.explain(ctx, err))
	}
	if missing := c.Body.missing(body); missing != "" {
		return fmt.Errorf("body %s", missing)
	}
	return nil
}

// request builds the request.
func (c HTTP) request() (*http.Request, error) {
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	if !isToken(method) {
		return nil, fmt.Errorf("method %q: must be a word like GET or HEAD", method)
	}
	path := c.Path
	if path == "" {
		path = "/"
	}
	target, err := url.ParseRequestURI(path)
	if err != nil || path[0] != '/' || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fmt.Errorf("path %q: must be like /status?full=1, with what is special in it escaped", path)
	}
	host := c.Host
	if host == "" {
		host = c.Address.String()
	} else if !isHost(host) {
		return nil, fmt.Errorf("host %q: must be a name like www.example.com, with a port or without", host)
	}
	for name, values := range c.Headers {
		if !isToken(name) {
			return nil, fmt.Errorf("header %q: is no name of a header", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Trailer":
			return nil, fmt.Errorf("header %q: is set by the check itself", name)
		}
		for _, value := range values {
			if !isHeaderValue(value) {
				return nil, fmt.Errorf("header %q: value %q has characters that no header may have", name, value)
			}
		}
	}
	request := &http.Request{
		Method: method,
		URL:    target,
		Host:   host,
		Header: http.Header{"User-Agent": {"lvsd"}},
		Close:  true, // a kept connection would hide a server that accepts no new one
	}
	for name, values := range c.Headers {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	return request, nil
}

// isToken says whether text is a method or the name of a header (RFC 9110, sections 9.1 and 5.1).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isHost says whether text may be the Host of a request. It lets through all that cannot break the request.
func isHost(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"/<>?@\^{|}#`+"`", r)
	})
}

// isHeaderValue says whether text may be the value of a header (RFC 9110, section 5.5).
func isHeaderValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// serverName returns the name to ask a TLS server for.
func (c HTTP) serverName() string {
	if c.TLS.ServerName != "" {
		return c.TLS.ServerName
	}
	if c.Host == "" {
		return c.Address.Addr().WithZone("").String()
	}
	if host, _, err := net.SplitHostPort(c.Host); err == nil {
		return host
	}
	return c.Host
}

var (
	errLongHeader = fmt.Errorf("headers larger than %s", size(MaxHeader))
	errLongBody   = fmt.Errorf("larger than %s", size(MaxBody))
)

// allowance reads at most left bytes, and then fails with errLongHeader. It fails for good, also where the first
// error told why and a second one would not: after a reset the kernel says that the connection is closed.
type allowance struct {
	io.Reader
	left int64
	err  error
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 && a.err == nil {
		a.err = errLongHeader
	}
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.Reader.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	a.err = err
	return n, err
}

// explain says why a reply that was read through a could not be, where the parser says err. A parser takes a line
// that was cut off by a timeout for a whole but malformed one: what happened to the connection counts more, but for
// its orderly end.
func (a *allowance) explain(ctx context.Context, err error) error {
	if a.err != nil && a.err != io.EOF {
		err = a.err
	}
	return explain(ctx, err)
}

// readResponse reads a response up to its body, and skips interim ones.
func readResponse(in *bufio.Reader, request *http.Request) (*http.Response, error) {
	const protocol = "HTTP/"
	if start, err := in.Peek(len(protocol)); err == nil && string(start) != protocol {
		// A server of TLS answers with an alert: content type 21, version 3.x (RFC 8446, section 5.1).
		if start[0] == 21 && start[1] == 3 {
			return nil, errors.New("the server speaks TLS, not plain HTTP")
		}
		start, _ = in.Peek(in.Buffered())
		line, _, _ := bytes.Cut(start, []byte("\n"))
		return nil, fmt.Errorf("not HTTP but %s", quote(line))
	}
	for {
		response, err := http.ReadResponse(in, request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, nil
		}
	}
}

// readBody reads the body to its end, which must come within [MaxBody] bytes.
func readBody(response *http.Response) ([]byte, error) {
	if response.Body != http.NoBody && response.ContentLength > MaxBody {
		return nil, errLongBody
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxBody {
		return nil, errLongBody
	}
	return body, nil
}
