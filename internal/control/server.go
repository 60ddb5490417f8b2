package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"lvsd/internal/director"
	"lvsd/internal/elector"
	"lvsd/vrrp"
)

// Limits of the control socket.
const (
	requestTimeout = 5 * time.Second
	// A switchover takes as long as another director needs to take over, or this
	// one to see that there is none: four advertisement intervals.
	switchoverTimeout = 4*vrrp.MaxInterval2 + requestTimeout
	maxHeaderBytes    = 16 << 10
)

// Server answers on the control socket.
type Server struct {
	options  Options
	listener net.Listener
	http     *http.Server
}

// Elector is what the control socket asks an elector, in this process or in
// another.
type Elector interface {
	Status() []elector.InstanceStatus
	Switchover(ctx context.Context, instance string, hold bool) error
}

// Options are what the control socket tells about.
type Options struct {
	Version string

	// PID is the main process of the daemon and Started when it was started, if
	// it is not this one.
	PID     int
	Started time.Time

	Elector  Elector
	Director *director.Director

	// Halves describes the processes of the daemon, nil if there is only one.
	Halves func() []HalfStatus

	Log *slog.Logger
}

// Listen takes the control socket at path, which only root may use. A socket
// that a killed daemon left is replaced; one that answers is an error, because
// another lvsd runs.
func Listen(path string, o Options) (*Server, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("taking the control socket %s: another lvsd answers on it; stop that one first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the old control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("taking the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("closing the control socket to others: %w", err)
	}
	if o.PID == 0 {
		o.PID, o.Started = os.Getpid(), time.Now()
	}
	s := &Server{options: o, listener: listener}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.serveStatus)
	slow := http.NewServeMux()
	slow.Handle("/", http.TimeoutHandler(mux, requestTimeout, "the daemon did not answer in time\n"))
	slow.HandleFunc("POST /switchover", s.serveSwitchover)
	s.http = &http.Server{
		Handler:        slow,
		ReadTimeout:    requestTimeout,
		WriteTimeout:   2 * requestTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	services, err := s.options.Director.Status(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	status := Status{
		Version:   s.options.Version,
		PID:       s.options.PID,
		StartedAt: s.options.Started,
		Instances: s.options.Elector.Status(),
		Status:    services,
	}
	if s.options.Halves != nil {
		status.Halves = s.options.Halves()
	}
	status.Problems = problems(status, time.Now())
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(status); err != nil {
		s.options.Log.Debug("answering a status request", "error", err)
	}
}

// serveSwitchover moves the mastership of ?instance=NAME, or of all, and holds it
// back with &hold=true. It answers when that is done.
func (s *Server) serveSwitchover(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(switchoverTimeout + requestTimeout)); err != nil {
		s.options.Log.Debug("answering a switchover", "error", err)
	}
	hold := r.URL.Query().Get("hold")
	if hold != "" && hold != "true" && hold != "false" {
		http.Error(w, fmt.Sprintf("hold %q: must be true or false", hold), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), switchoverTimeout)
	defer cancel()
	if err := s.options.Elector.Switchover(ctx, r.URL.Query().Get("instance"), hold == "true"); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Run answers until ctx ends, then removes the socket.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	return nil
}
