package vrrp_test

import (
	"math/big"
	"testing"
	"time"

	"lvsd/vrrp"
)

// TMR-01, TMR-04: RFC 9568, section 6.1, in rational numbers.
func TestTimersAreExactToTheNanosecond(t *testing.T) {
	floor := func(r *big.Rat) time.Duration {
		return time.Duration(new(big.Int).Quo(r.Num(), r.Denom()).Int64())
	}
	for priority := 1; priority <= 255; priority++ {
		for _, centiseconds := range []int64{1, 10, 100, 4095} {
			interval := time.Duration(centiseconds) * 10 * time.Millisecond
			skew := new(big.Rat).Mul(big.NewRat(int64(256-priority), 256), big.NewRat(int64(interval), 1))
			down := new(big.Rat).Add(big.NewRat(3*int64(interval), 1), skew)
			if got, want := vrrp.SkewTime(uint8(priority), interval), floor(skew); got != want {
				t.Errorf("priority %d, interval %s: skew time %s, want %s", priority, interval, got, want)
			}
			if got, want := vrrp.MasterDownInterval(uint8(priority), interval), floor(down); got != want {
				t.Errorf("priority %d, interval %s: master down interval %s, want %s", priority, interval, got, want)
			}
		}
	}
	for _, tt := range []struct {
		priority   uint8
		interval   time.Duration
		skew, down time.Duration
	}{
		{100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{255, time.Second, 3906250, 3003906250},
		{1, 100 * time.Millisecond, 99609375, 399609375},
		{101, 10 * time.Millisecond, 6054687, 36054687},
		{100, 10 * time.Millisecond, 6093750, 36093750},
		{100, 40950 * time.Millisecond, 24953906250, 147803906250},
	} {
		if got := vrrp.SkewTime(tt.priority, tt.interval); got != tt.skew {
			t.Errorf("priority %d, interval %s: skew time %s, want %s", tt.priority, tt.interval, got, tt.skew)
		}
		if got := vrrp.MasterDownInterval(tt.priority, tt.interval); got != tt.down {
			t.Errorf("priority %d, interval %s: master down interval %s, want %s", tt.priority, tt.interval, got, tt.down)
		}
	}
}
