package waist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
	"lvsd/vrrp"
)

const (
	// queueLength is how many messages may wait for a director half that is
	// busy. One that is further behind is told everything anew.
	queueLength = 4096

	// watchPeriod is how often the server looks whether the director half is
	// there.
	watchPeriod = 100 * time.Millisecond
)

// Elector is what the director half can reach of an elector.
type Elector interface {
	Configure(instances []configs.Instance)
	SetReport(notReady string, findings map[string]configs.Finding)
	Switchover(ctx context.Context, instance string, hold bool) error
	Status() []elector.InstanceStatus
}

// ServerOptions are what a Server needs.
type ServerOptions struct {
	// Process is this one.
	Process supervisor.Process

	// Memory is the file in which the instances are remembered.
	Memory string

	// OnDirector is told, with a reason, that the director half has been away
	// for too long, and with "" that it is back. It must not block.
	OnDirector func(reason string)

	Log *slog.Logger
}

// Server is the end of the elector half.
type Server struct {
	options  ServerOptions
	log      *slog.Logger
	listener net.Listener
	heard    chan struct{} // one slot: the director half has said something

	mu      sync.Mutex // guards what follows
	session *session   // with the director half, nil while it is away
	elector Elector    // nil before Run
}

// session is one connection.
type session struct {
	conn  *conn
	queue chan message // to be sent
}

// Listen takes the socket at path, which only root may use. One that is left
// from before is replaced: the runtime folder belongs to one lvsd.
func Listen(path string, o ServerOptions) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket of the elector: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("taking the socket of the elector: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("closing the socket of the elector to others: %w", err)
	}
	return &Server{options: o, log: o.Log, listener: listener, heard: make(chan struct{}, 1)}, nil
}

// OnTransition passes a change of state on to the director half. It does not
// block.
func (s *Server) OnTransition(instance string, t vrrp.Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.session.put(transition{Instance: instance, To: t.To.String(), Reason: t.Reason, Time: t.Time})
	}
}

// put queues a message; the caller sees to the order. A director half that is so far behind that there is no
// room has to connect again, and is told what has become of everything.
func (s *session) put(m message) {
	select {
	case s.queue <- m:
	default:
		s.conn.Close()
	}
}

// Run lets the director half talk to an elector until ctx ends, then removes the
// socket.
func (s *Server) Run(ctx context.Context, e Elector) error {
	s.mu.Lock()
	s.elector = e
	s.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.session != nil {
			s.session.conn.Close()
		}
	})
	defer stop()
	running.Go(func() { s.watch(ctx) })
	for {
		c, err := s.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("waiting for the director half: %w", err)
		}
		running.Go(func() { s.serve(ctx, newConn(c)) })
	}
}

// watch notices when the director half has been away for too long.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	silence := supervisor.NewSilence(watchPeriod)
	gone := false
	for {
		select {
		case <-s.heard:
			silence.Break()
			if gone {
				gone = false
				s.log.Info("the director half is back")
				s.options.OnDirector("")
			}
		case <-ticker.C:
			if silence.Look() > silenceLimit && !gone {
				gone = true
				s.log.Error("the director half is gone", "after", silenceLimit)
				s.options.OnDirector("the director half is gone")
			}
		case <-ctx.Done():
			return
		}
	}
}

// serve talks to one director half until its connection ends.
func (s *Server) serve(ctx context.Context, c *conn) {
	defer c.Close()
	session := &session{conn: c, queue: make(chan message, queueLength)}
	s.mu.Lock()
	if ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	if s.session != nil {
		s.session.conn.Close() // of a director half that has been replaced
	}
	s.session = session
	session.put(hello{s.options.Process})
	session.put(rolesOf(s.elector))
	s.mu.Unlock()

	ended := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case m := <-session.queue:
				if err := c.send(m); err != nil {
					s.log.Debug("talking to the director half", "error", err)
					c.Close()
					return
				}
			case <-ended:
				return
			}
		}
	})
	orders, cancel := context.WithCancel(ctx)
	var obeying sync.WaitGroup
	err := s.listen(orders, session, &obeying)
	cancel()
	obeying.Wait()
	close(ended)
	s.mu.Lock()
	current := s.session == session
	if current {
		s.session = nil
	}
	s.mu.Unlock()
	c.Close()
	sending.Wait()
	if current && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		s.log.Info("the director half has gone away", "reason", why(err))
	}
}

// listen does what the director half says until the connection ends.
func (s *Server) listen(ctx context.Context, session *session, obeying *sync.WaitGroup) error {
	for {
		m, err := session.conn.receive()
		if err != nil {
			return err
		}
		select {
		case s.heard <- struct{}{}:
		default:
		}
		switch m := m.(type) {
		case configure:
			if err := Remember(s.options.Memory, m.Instances); err != nil {
				s.log.Warn("the instances are not known after a crash", "error", err)
			}
			s.elector.Configure(m.Instances)
		case report:
			s.elector.SetReport(m.NotReady, m.Findings)
		case ping:
			session.put(pong{})
		case statusRequest:
			session.put(statusReply{m.ID, s.elector.Status()})
		case switchoverRequest:
			obeying.Go(func() {
				reply := switchoverReply{ID: m.ID}
				if err := s.elector.Switchover(ctx, m.Instance, m.Hold); err != nil {
					reply.Error = err.Error()
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				session.put(reply)
			})
		case rolesRequest:
			s.mu.Lock()
			session.put(rolesOf(s.elector))
			s.mu.Unlock()
		case hello, roles, transition, pong, statusReply, switchoverReply:
			return fmt.Errorf("the director half has sent a %s", m.kind())
		}
	}
}

// rolesOf returns the present roles. They are queued under the lock that a
// change of state is queued under, or an older word might come last.
func rolesOf(e Elector) roles {
	all := []role{}
	for _, i := range e.Status() {
		r := role{Instance: i.Name, State: i.State, Reason: i.Reason, Since: i.Since}
		for _, a := range i.Addresses {
			r.Held = r.Held || a.Held
		}
		all = append(all, r)
	}
	return roles{all}
}

// why says in plain words why a connection has ended.
func why(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return "the connection has ended"
	}
	return err.Error()
}
