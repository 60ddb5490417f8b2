package vrrp_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"lvsd/vrrp"
	"lvsd/vrrp/vrrptest"
)

// freeze stops the goroutine of an instance, in the middle of an announcement, as a stopped process stops it; what
// arrives meanwhile waits.
func freeze(r *router, p *peer, d time.Duration) {
	r.holder.mu.Lock()
	r.holder.announce = func() {
		r.holder.mu.Lock()
		r.holder.announce = nil
		r.holder.mu.Unlock()
		time.Sleep(d)
	}
	r.holder.mu.Unlock()
	p.send(1, time.Second) // is answered with an announcement
}

// A Master that was frozen until another one took over listens before it says anything: one advertisement
// and one announcement. If the other one is better, only the last advertisement of a Master that yields.
func TestFrozenMasterListensFirst(t *testing.T) {
	for _, tt := range []struct {
		name     string
		priority uint8
		want     []string
	}{
		{"TMR-11 and wins", 50, []string{
			"10.21875s send 100", "10.21875s announce", "11.21875s send 100", "12.21875s send 100",
		}},
		{"TMR-11 and yields", 200, []string{
			"9.609375s send 100", "9.609375s master to backup: 10.99.0.8 has priority 200", "9.709375s release",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vrrptest.NewSegment(1)
				r := start(t, s, 5, config(100), vrrp.Options{})
				p, successor := newPeer(t, s, 9), newPeer(t, s, 8)
				untilMaster(t, r)
				freeze(r, p, 6*time.Second) // until 9.609375
				sleep(0)
				want(t, &r.diary, "3.609375s send 100", "3.609375s announce")
				sleep(4500 * ms)
				for range 5 {
					successor.send(tt.priority, time.Second)
					sleep(400 * ms)
				}
				if tt.priority > 100 {
					for range 3 {
						successor.send(tt.priority, time.Second)
						sleep(time.Second)
					}
				} else {
					sleep(3 * time.Second)
				}
				want(t, &r.diary, tt.want...)
			})
		})
	}
}

// A Master that was late, but not so late that the others have given it up, goes on at once, without a burst,
// and with the cadence that it had.
func TestLateMasterGoesOn(t *testing.T) {
	paper(t, config(100), func(t *testing.T, r *router, p *peer) {
		untilMaster(t, r)
		freeze(r, p, 2500*ms)
		sleep(4500 * ms)
		want(t, &r.diary,
			"3.609375s send 100", "3.609375s announce",
			"6.109375s send 100", "6.609375s send 100",
			"7.60546875s announce", // the peer that lost is taken for gone
			"7.609375s send 100")
	})
}

// What a step takes is not added to the interval.
func TestCadenceDoesNotDrift(t *testing.T) {
	bubble(t, "TMR-13", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := &router{source: host(5), logs: &logBuffer{}}
		r.run(t, s, config(100), vrrp.Options{}, func() (vrrp.Conn, error) { return busyConn{s.Listen(r.source)}, nil })
		sleep(down + 1000*time.Second)
		for i, sent := range s.Sent() {
			if got, want := sent.Time.Sub(epoch), down+time.Duration(i)*time.Second+3*ms; got != want {
				t.Fatalf("advertisement %d at %s, want %s", i, got, want)
			}
		}
		if n := len(s.Sent()); n != 1000 {
			t.Errorf("%d advertisements in 1000 seconds, the last is under way", n)
		}
	})
}

// busyConn takes its time for every packet.
type busyConn struct{ *vrrptest.Conn }

func (c busyConn) Send(source, destination netip.Addr, payload []byte) error {
	time.Sleep(3 * ms)
	return c.Conn.Send(source, destination, payload)
}

// A Backup that was frozen hears what waits in the socket before it believes its timer.
func TestFrozenBackupDrainsTheSocketFirst(t *testing.T) {
	bubble(t, "TMR-12", func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := &router{source: host(5), logs: &logBuffer{}}
		conn := &slowConn{Conn: s.Listen(r.source), thaw: make(chan struct{})}
		r.run(t, s, config(100), vrrp.Options{}, func() (vrrp.Conn, error) { return conn, nil })
		p := newPeer(t, s, 9)
		sleep(0)
		r.read()
		// The reader sleeps like the rest of the process, and wakes a little later than the timer.
		go func() {
			time.Sleep(down + 250*us)
			close(conn.thaw)
		}()
		p.repeat(3, 200, time.Second)
		sleep(2 * time.Second)
		want(t, &r.diary)
		wantState(t, r, vrrp.Backup)
		// The advertisements were heard when the instance looked for the third time, 300 us late.
		sleep(5 * time.Second)
		want(t, &r.diary, "7.21905s take", "7.21905s backup to master: no advertisement from 10.99.0.9 for 3.609s")
	})
}

// slowConn keeps its packets until it is thawed.
type slowConn struct {
	*vrrptest.Conn
	thaw chan struct{}
}

func (c *slowConn) Receive() (vrrp.Packet, error) {
	<-c.thaw
	return c.Conn.Receive()
}

// A socket that is never empty does not keep a Backup from taking over.
func TestBackupDoesNotDrainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vrrptest.NewSegment(1)
		r := &router{source: host(5), logs: &logBuffer{}}
		conn := &slowConn{Conn: s.Listen(r.source), thaw: make(chan struct{})}
		r.run(t, s, config(100), vrrp.Options{}, func() (vrrp.Conn, error) { return conn, nil })
		newPeer(t, s, 9).send(200, time.Second)
		sleep(0)
		r.read()
		sleep(down + 10*ms)
		want(t, &r.diary, "3.619375s take", "3.619375s backup to master: no master heard")
		close(conn.thaw)
	})
}
