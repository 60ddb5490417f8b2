package vip_test

import (
	"slices"
	"testing"
	"time"

	"lvsd/vip"
	"lvsd/vip/viptest"
)

// Two addresses go out in turn, five times at takeover and five times more after
// five seconds. Then there is nothing until the refresh.
func TestBurstsAtTakeoverAndFiveSecondsLater(t *testing.T) {
	bubble(t, "GARP-01", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		two := viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/24")
		if err := h.a.Announce(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, at := range []string{"0s", "100ms", "200ms", "300ms", "400ms", "5s", "5.1s", "5.2s", "5.3s", "5.4s"} {
			want = append(want, slices.Concat(rounds("10.0.0.100", at), rounds("10.0.0.101", at))...)
		}
		h.until(65*time.Second - 1)
		h.sent(want...)
		h.until(65 * time.Second)
		h.sent(slices.Concat(rounds("10.0.0.100", "1m5s"), rounds("10.0.0.101", "1m5s"))...)
	})
}

// The schedule counts from the announcement, not from ticks of anything else, and
// does not drift.
func TestScheduleFollowsItsOptions(t *testing.T) {
	bubble(t, "GARP-05", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{Delay: 2 * time.Second, Repeat: 3, Refresh: 2 * time.Second}, "eth0")
		defer h.stop()
		h.until(700 * time.Millisecond)
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.until(12 * time.Second)
		h.sent(rounds("10.0.0.100", "700ms", "800ms", "900ms", "2.7s", "2.8s", "2.9s", "4.7s", "6.7s", "8.7s", "10.7s")...)
	})
}

// A pace that lets one address out every 100 ms delays the rounds that it cannot
// follow. It loses none of them.
func TestSlowPaceLosesNoRound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spacing time.Duration
	}{
		{"GARP-06 rounds as far apart as they take", 200 * time.Millisecond},
		{"GARP-06 rounds overlap", time.Millisecond},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			h := announce(t, vip.AnnouncerOptions{
				Repeat: 3, Spacing: tt.spacing, Burst: 2, Pause: 100 * time.Millisecond,
			}, "eth0")
			defer h.stop()
			two := viptest.Addresses("eth0", "10.0.0.100/24", "10.0.0.101/24")
			if err := h.a.Announce(t.Context(), two); err != nil {
				t.Fatal(err)
			}
			h.until(4 * time.Second)
			h.sent(slices.Concat(
				rounds("10.0.0.100", "0s"), rounds("10.0.0.101", "100ms"),
				rounds("10.0.0.100", "200ms"), rounds("10.0.0.101", "300ms"),
				rounds("10.0.0.100", "400ms"), rounds("10.0.0.101", "500ms"),
			)...)
		})
	}
}

// The second burst of a lost mastership dies with it; that of the next comes five
// seconds after it was won, and not before.
func TestSecondBurstBelongsToItsMastership(t *testing.T) {
	bubble(t, "GARP-08", func(t *testing.T) {
		h := announce(t, vip.AnnouncerOptions{}, "eth0")
		defer h.stop()
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.until(time.Second)
		h.a.Withdraw(one)
		h.sent(rounds("10.0.0.100", "0s", "100ms", "200ms", "300ms", "400ms")...)
		h.until(4 * time.Second)
		h.sent()
		if err := h.a.Announce(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		h.until(60 * time.Second)
		h.sent(rounds("10.0.0.100", "4s", "4.1s", "4.2s", "4.3s", "4.4s", "9s", "9.1s", "9.2s", "9.3s", "9.4s")...)
	})
}
