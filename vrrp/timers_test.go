package vrrp_test

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"lvsd/vrrp"
)

// RFC 9568, section 6.1, and RFC 3768, section 6.1, in rational numbers.
func TestTimersAreExactToTheNanosecond(t *testing.T) {
	floor := func(r *big.Rat) time.Duration {
		return time.Duration(new(big.Int).Quo(r.Num(), r.Denom()).Int64())
	}
	for _, tt := range []struct {
		version  vrrp.Version
		interval time.Duration
	}{
		{3, 10 * ms},
		{3, 100 * ms},
		{3, time.Second},
		{3, 40950 * ms},
		{2, time.Second},
		{2, 5 * time.Second},
		{2, 255 * time.Second},
	} {
		t.Run(fmt.Sprintf("TMR-01 version %d, interval %s", tt.version, tt.interval), func(t *testing.T) {
			for priority := 1; priority <= 255; priority++ {
				unit := tt.interval
				if tt.version == 2 { // the interval has no say in it
					unit = time.Second
				}
				skew := new(big.Rat).Mul(big.NewRat(int64(256-priority), 256), big.NewRat(int64(unit), 1))
				down := new(big.Rat).Add(big.NewRat(3*int64(tt.interval), 1), skew)
				if got, want := vrrp.SkewTimeOf(tt.version, uint8(priority), tt.interval), floor(skew); got != want {
					t.Errorf("priority %d: skew time %s, want %s", priority, got, want)
				}
				if got, want := vrrp.MasterDownIntervalOf(tt.version, uint8(priority), tt.interval), floor(down); got != want {
					t.Errorf("priority %d: master down interval %s, want %s", priority, got, want)
				}
			}
		})
	}
	for _, tt := range []struct {
		name       string
		version    vrrp.Version
		priority   uint8
		interval   time.Duration
		skew, down time.Duration
	}{
		{"TMR-01 priority 100", 3, 100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{"TMR-01 the owner", 3, 255, time.Second, 3906250, 3003906250},
		{"TMR-01 priority 1", 3, 1, 100 * time.Millisecond, 99609375, 399609375},
		{"TMR-04 priority 101 at the shortest interval", 3, 101, 10 * time.Millisecond, 6054687, 36054687},
		{"TMR-04 39 us after it priority 100", 3, 100, 10 * time.Millisecond, 6093750, 36093750},
		{"TMR-01 the longest interval", 3, 100, 40950 * time.Millisecond, 24953906250, 147803906250},
		{"TMR-15 version 2", 2, 100, 5 * time.Second, 609375 * time.Microsecond, 15609375 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := vrrp.SkewTimeOf(tt.version, tt.priority, tt.interval); got != tt.skew {
				t.Errorf("skew time %s, want %s", got, tt.skew)
			}
			if got := vrrp.MasterDownIntervalOf(tt.version, tt.priority, tt.interval); got != tt.down {
				t.Errorf("master down interval %s, want %s", got, tt.down)
			}
		})
	}
}
