package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxStatusBytes bounds what a client reads of an answer: a thousand services
// with ten real servers each take 5 MiB.
const maxStatusBytes = 256 << 20

// Fetch asks the lvsd at the control socket for its status.
func Fetch(ctx context.Context, socket string) (Status, error) {
	response, err := ask(ctx, socket, http.MethodGet, "/status", "asking lvsd for its status")
	if err != nil {
		return Status{}, err
	}
	defer response.Body.Close()
	var status Status
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatusBytes)).Decode(&status); err != nil {
		return Status{}, fmt.Errorf("reading the status of lvsd on %s: %w", socket, err)
	}
	return status, nil
}

// Switchover has the lvsd at the control socket move the mastership of an
// instance, or of all if it is "", see elector.Switchover.
func Switchover(ctx context.Context, socket, instance string, hold bool) error {
	query := url.Values{"instance": {instance}, "hold": {strconv.FormatBool(hold)}}
	response, err := ask(ctx, socket, http.MethodPost, "/switchover?"+query.Encode(), "asking lvsd for a switchover")
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// ask makes a request. The error says what was asked for, and contains what lvsd
// has answered if that is no success.
func ask(ctx context.Context, socket, method, path, doing string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://lvsd"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%s on %s: no answer in time: it hangs, or its machine is overloaded", doing, socket)
	case err != nil:
		return nil, fmt.Errorf("%s on %s: %w; is it running?", doing, socket, err)
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return nil, fmt.Errorf("%s on %s: %s: %s", doing, socket, response.Status, strings.TrimSpace(string(text)))
	}
	return response, nil
}
