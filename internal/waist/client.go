package waist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
	"lvsd/vrrp"
)

const (
	// redialPause lies between two attempts to reach the elector half.
	redialPause = 20 * time.Millisecond

	// rolesPause lies between two questions for roles that are not decided yet.
	// An instance that the elector half does not know is asked for rolesLimit
	// times.
	rolesPause = 100 * time.Millisecond
	rolesLimit = 20

	// statusLimit bounds the wait for a status.
	statusLimit = time.Second
)

// The states that matter here, as they are written.
var (
	master = vrrp.Master.String()
	backup = vrrp.Backup.String()
)

// ClientOptions are what a Client needs.
type ClientOptions struct {
	// Path is the socket of the elector half.
	Path string

	// OnMaster is told of each instance whether this director is its master. It
	// must not block.
	OnMaster func(instance string, master bool)

	Log *slog.Logger
}

// Client is the end of the director half.
type Client struct {
	options ClientOptions
	log     *slog.Logger
	reached chan struct{} // closed when the elector half has been reached once
	changed chan struct{} // one slot: wanted is new

	mu         sync.Mutex // guards what follows
	conn       *conn      // nil while the elector half is away
	wanted     []configs.Instance
	configured bool                          // there is something wanted
	report     *report                       // nil: there is nothing to report yet
	unsent     struct{ wanted, report bool } // what the elector half does not know
	process    supervisor.Process
	since      time.Time // when the elector half came, or went away
	lastID     uint64    // of a status request
	waiting    map[uint64]chan<- []elector.InstanceStatus
	status     []elector.InstanceStatus // the last one
	moving     map[uint64]chan<- string // switchovers that are under way

	master map[string]bool // what OnMaster was told last; belongs to Run
}

// NewClient returns a client that has not connected yet.
func NewClient(o ClientOptions) *Client {
	return &Client{
		options: o,
		log:     o.Log,
		reached: make(chan struct{}),
		changed: make(chan struct{}, 1),
		since:   time.Now(),
		waiting: make(map[uint64]chan<- []elector.InstanceStatus),
		moving:  make(map[uint64]chan<- string),
		master:  make(map[string]bool),
	}
}

// Configure replaces the instances, now and whenever an elector half comes. It
// does not block.
func (c *Client) Configure(instances []configs.Instance) {
	c.mu.Lock()
	c.wanted, c.configured, c.unsent.wanted = instances, true, true
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // the one before is not sent yet
	}
}

// Report tells the elector what it needs to know of the director, now and whenever
// an elector half comes. It does not block.
func (c *Client) Report(notReady string, findings map[string]configs.Finding) {
	c.mu.Lock()
	c.report, c.unsent.report = &report{notReady, findings}, true
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // the one before is not sent yet
	}
}

// Reached is closed when the elector half has told its roles for the first time.
func (c *Client) Reached() <-chan struct{} { return c.reached }

// Peer returns what is known of the process of the elector half, whether it is
// connected, and since when.
func (c *Client) Peer() (p supervisor.Process, connected bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process, c.conn != nil, c.since
}

// Status asks the elector half how the instances are. If it does not answer
// within a second the last answer is returned, which may be old or empty: Peer
// tells.
func (c *Client) Status() []elector.InstanceStatus {
	reply := make(chan []elector.InstanceStatus, 1)
	c.mu.Lock()
	conn := c.conn
	c.lastID++
	id := c.lastID
	c.waiting[id] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if conn != nil && conn.send(statusRequest{id}) == nil {
		select {
		case <-reply: // and noted, or the elector half has gone away
		case <-time.After(statusLimit):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Switchover has the elector half move the mastership, see elector.Switchover.
func (c *Client) Switchover(ctx context.Context, instance string, hold bool) error {
	reply := make(chan string, 1)
	c.mu.Lock()
	conn := c.conn
	c.lastID++
	id := c.lastID
	c.moving[id] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.moving, id)
		c.mu.Unlock()
	}()
	if conn == nil {
		return errors.New("the elector half is away: try again in a moment")
	}
	if err := conn.send(switchoverRequest{ID: id, Instance: instance, Hold: hold}); err != nil {
		return fmt.Errorf("asking the elector half: %w", err)
	}
	select {
	case text := <-reply:
		if text != "" {
			return errors.New(text)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the elector half: %w", ctx.Err())
	}
}

// Run connects to the elector half, again and again, until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		c.connect(ctx)
		select {
		case <-time.After(redialPause):
		case <-ctx.Done():
		}
	}
	return nil
}

// connect talks to an elector half if there is one, until the connection ends.
func (c *Client) connect(ctx context.Context) {
	d := net.Dialer{Timeout: sendLimit}
	dialed, err := d.DialContext(ctx, "unix", c.options.Path)
	if err != nil {
		return // it is being started
	}
	conn := newConn(dialed)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	asked := make(chan struct{}, 1) // has a token when a role is not decided yet
	ended := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		if err := c.talk(conn, asked, ended); err != nil {
			c.log.Warn("talking to the elector half", "error", err)
			conn.Close()
		}
	})
	err = c.listen(conn, asked)
	close(ended)
	conn.Close()
	sending.Wait()
	c.mu.Lock()
	known := c.conn != nil
	if known {
		c.conn, c.since = nil, time.Now()
	}
	for id, reply := range c.waiting {
		close(reply) // nobody will answer
		delete(c.waiting, id)
	}
	for id, reply := range c.moving {
		reply <- "the elector half has gone away: see lvsd status"
		delete(c.moving, id)
	}
	c.mu.Unlock()
	if known && ctx.Err() == nil {
		c.log.Info("the elector half has gone away", "reason", why(err))
	}
}

// talk sends what the elector half is to know, until ended is closed.
func (c *Client) talk(conn *conn, asked <-chan struct{}, ended <-chan struct{}) error {
	send := func() error {
		c.mu.Lock()
		m, configured, r := configure{c.wanted}, c.configured && c.unsent.wanted, c.report
		if !c.unsent.report {
			r = nil
		}
		c.unsent.wanted, c.unsent.report = false, false
		c.mu.Unlock()
		if configured {
			if err := conn.send(m); err != nil {
				return err
			}
		}
		if r != nil {
			return conn.send(*r)
		}
		return nil
	}
	c.mu.Lock()
	c.unsent.wanted, c.unsent.report = true, true
	c.mu.Unlock()
	if err := send(); err != nil {
		return err
	}
	pings := time.NewTicker(pingPeriod)
	defer pings.Stop()
	var ask <-chan time.Time
	for {
		var err error
		select {
		case <-c.changed:
			err = send()
		case <-pings.C:
			err = conn.send(ping{})
		case <-asked:
			ask = time.After(rolesPause)
		case <-ask:
			err = conn.send(rolesRequest{})
		case <-ended:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// listen notes what the elector half says until the connection ends. It puts a
// token into ask when the roles should be asked for again.
func (c *Client) listen(conn *conn, ask chan<- struct{}) error {
	again := 0
	for {
		m, err := conn.receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case hello:
			c.mu.Lock()
			c.conn, c.process, c.since = conn, m.Process, time.Now()
			c.mu.Unlock()
			c.log.Info("connected to the elector half", "pid", m.Process.PID)
		case roles:
			again++
			if !c.applyRoles(m.Roles, again < rolesLimit) {
				select {
				case ask <- struct{}{}:
				default:
				}
			}
			select {
			case <-c.reached:
			default:
				close(c.reached)
			}
		case transition:
			c.tell(m.Instance, m.To == master)
		case statusReply:
			c.mu.Lock()
			c.status = m.Instances
			if reply := c.waiting[m.ID]; reply != nil {
				reply <- m.Instances
				delete(c.waiting, m.ID)
			}
			c.mu.Unlock()
		case switchoverReply:
			c.mu.Lock()
			if reply := c.moving[m.ID]; reply != nil {
				reply <- m.Error
				delete(c.moving, m.ID)
			}
			c.mu.Unlock()
		case pong:
		case configure, report, switchoverRequest, ping, statusRequest, rolesRequest:
			return fmt.Errorf("the elector half has sent a %s", m.kind())
		}
	}
}

// applyRoles tells what has changed while the elector half was away, and reports
// whether all is decided. An elector half that was started again begins as
// backup. If it finds the addresses on the interface it most likely goes on as
// master, and what depends on that is left as it is until it has decided; the
// same holds for instances that it does not know yet, as long as there is
// patience.
func (c *Client) applyRoles(all []role, patience bool) (decided bool) {
	decided = true
	known := make(map[string]bool)
	for _, r := range all {
		known[r.Instance] = true
		if r.State == backup && r.Held && c.master[r.Instance] {
			decided = false
			continue
		}
		c.tell(r.Instance, r.State == master)
	}
	for instance := range c.master {
		switch {
		case known[instance] || !c.master[instance]:
		case patience:
			decided = false
		default:
			c.tell(instance, false)
		}
	}
	return decided
}

// tell passes on whether this director is master of an instance, if that is new.
func (c *Client) tell(instance string, master bool) {
	if was, told := c.master[instance]; told && was == master {
		return
	}
	c.master[instance] = master
	c.options.OnMaster(instance, master)
}
