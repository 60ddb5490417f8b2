package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxStatusBytes bounds what a client reads of an answer: a thousand services
// with ten real servers each take 5 MiB.
const maxStatusBytes = 256 << 20

// Fetch asks the lvsd at the control socket for its status.
func Fetch(ctx context.Context, socket string) (Status, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lvsd/status", nil)
	if err != nil {
		return Status{}, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Status{}, fmt.Errorf("asking lvsd for its status on %s: no answer in time: it hangs, or its machine is overloaded", socket)
	case err != nil:
		return Status{}, fmt.Errorf("asking lvsd for its status on %s: %w; is it running?", socket, err)
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxStatusBytes)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1<<10))
		return Status{}, fmt.Errorf("asking lvsd for its status on %s: %s: %s", socket, response.Status, text)
	}
	var status Status
	if err := json.NewDecoder(body).Decode(&status); err != nil {
		return Status{}, fmt.Errorf("reading the status of lvsd on %s: %w", socket, err)
	}
	return status, nil
}
