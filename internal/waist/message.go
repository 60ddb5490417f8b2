package waist

import (
	"encoding/json"
	"fmt"
	"time"

	"lvsd/configs"
	"lvsd/internal/elector"
	"lvsd/internal/supervisor"
)

// message is what one half says to the other. Its kind is its name on the wire.
type message interface{ kind() string }

// From the director half to the elector half.
type (
	// configure replaces the instances.
	configure struct {
		Instances []configs.Instance `json:"instances"`
	}

	// report is what the elector needs to know of the director.
	report struct {
		NotReady string                     `json:"not_ready"`
		Findings map[string]configs.Finding `json:"findings"`
	}

	// ping says that the director half lives, and asks for a pong.
	ping struct{}

	// statusRequest asks for a statusReply with the same id.
	statusRequest struct {
		ID uint64 `json:"id"`
	}

	// switchoverRequest asks for a switchover, and for a switchoverReply with the
	// same id when it is done.
	switchoverRequest struct {
		ID       uint64 `json:"id"`
		Instance string `json:"instance"`
		Hold     bool   `json:"hold"`
	}

	// rolesRequest asks for roles.
	rolesRequest struct{}
)

// From the elector half to the director half.
type (
	// hello comes first: it says which process this is.
	hello struct {
		Process supervisor.Process `json:"process"`
	}

	// roles are the present states of all instances. They follow the hello.
	roles struct {
		Roles []role `json:"roles"`
	}

	// transition is a change of state.
	transition struct {
		Instance string    `json:"instance"`
		To       string    `json:"to"`
		Reason   string    `json:"reason"`
		Time     time.Time `json:"time"`
	}

	// pong answers a ping.
	pong struct{}

	// switchoverReply answers a switchoverRequest. Error is why it was not done, ""
	// if it was.
	switchoverReply struct {
		ID    uint64 `json:"id"`
		Error string `json:"error"`
	}

	// statusReply answers a statusRequest.
	statusReply struct {
		ID        uint64                   `json:"id"`
		Instances []elector.InstanceStatus `json:"instances"`
	}
)

// role is the present state of one instance.
type role struct {
	Instance string    `json:"instance"`
	State    string    `json:"state"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`

	// Held says that addresses of the instance are on the interface. A backup
	// that has just been started again may find them there, and goes on as
	// master if nobody else has taken over.
	Held bool `json:"held"`
}

func (configure) kind() string         { return "configure" }
func (report) kind() string            { return "report" }
func (ping) kind() string              { return "ping" }
func (statusRequest) kind() string     { return "status-request" }
func (switchoverRequest) kind() string { return "switchover-request" }
func (switchoverReply) kind() string   { return "switchover-reply" }
func (rolesRequest) kind() string      { return "roles-request" }
func (hello) kind() string             { return "hello" }
func (roles) kind() string             { return "roles" }
func (transition) kind() string        { return "transition" }
func (pong) kind() string              { return "pong" }
func (statusReply) kind() string       { return "status-reply" }

// envelope is a line.
type envelope struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

// encode returns the line of a message, with its end.
func encode(m message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", m.kind(), err)
	}
	line, err := json.Marshal(envelope{m.kind(), body})
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", m.kind(), err)
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("encoding a %s: %d bytes: must be less than %d", m.kind(), len(line), maxLine)
	}
	return append(line, '\n'), nil
}

// decode takes a line apart.
func decode(line []byte) (message, error) {
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, fmt.Errorf("reading a message: %w", err)
	}
	switch e.Type {
	case configure{}.kind():
		m, err := body[configure](e)
		if err == nil {
			err = check(m.Instances)
		}
		return m, err
	case report{}.kind():
		return body[report](e)
	case ping{}.kind():
		return body[ping](e)
	case statusRequest{}.kind():
		return body[statusRequest](e)
	case switchoverRequest{}.kind():
		return body[switchoverRequest](e)
	case switchoverReply{}.kind():
		return body[switchoverReply](e)
	case rolesRequest{}.kind():
		return body[rolesRequest](e)
	case hello{}.kind():
		return body[hello](e)
	case roles{}.kind():
		return body[roles](e)
	case transition{}.kind():
		return body[transition](e)
	case pong{}.kind():
		return body[pong](e)
	case statusReply{}.kind():
		return body[statusReply](e)
	}
	return nil, fmt.Errorf("reading a message: there is no type %q", e.Type)
}

func body[M message](e envelope) (M, error) {
	var m M
	if err := json.Unmarshal(e.Body, &m); err != nil {
		return m, fmt.Errorf("reading a %s: %w", e.Type, err)
	}
	return m, nil
}

// check refuses instances that nobody could run. What is wrong within VRRP is
// found where it is run.
func check(instances []configs.Instance) error {
	for _, i := range instances {
		if i.Name == "" || i.Interface == "" {
			return fmt.Errorf("instance %q on interface %q: both must have a name", i.Name, i.Interface)
		}
		if len(i.Addresses) == 0 {
			return fmt.Errorf("instance %q: it has no address", i.Name)
		}
	}
	return nil
}
