package vip_test

import (
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"testing"

	"lvsd/vip"
)

// What goes out is what keepalived and FRR send, byte for byte.
func TestFramesAreThoseOfOtherRouters(t *testing.T) {
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Frames []struct {
			Name, Note, Frame, MAC string
			Address                netip.Addr
			Router                 bool
		}
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Frames) != 6 {
		t.Fatalf("%d golden frames", len(golden.Frames))
	}
	for _, g := range golden.Frames {
		name := "GARP-02 " + g.Name
		if g.Address.Is6() {
			name = "GARP-03 " + g.Name
		}
		t.Run(name, func(t *testing.T) {
			mac, err := net.ParseMAC(g.MAC)
			if err != nil {
				t.Fatal(err)
			}
			frames, err := vip.Gratuitous(mac, g.Address, g.Router)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(frames[0]); got != g.Frame {
				t.Errorf("frame %s\nwant  %s (%s)", got, g.Frame, g.Note)
			}
			if g.Address.Is6() {
				if len(frames) != 1 {
					t.Errorf("%d frames", len(frames))
				}
				return
			}
			// The reply form differs in the operation alone.
			reply := []byte(g.Frame)
			reply[2*21+1] = '2'
			if len(frames) != 2 || hex.EncodeToString(frames[1]) != string(reply) {
				t.Errorf("frames %x\nwant the second to be %s", frames, reply)
			}
		})
	}
}

func TestFrameNeedsAnEthernetAddress(t *testing.T) {
	for _, mac := range []net.HardwareAddr{nil, make(net.HardwareAddr, 4), make(net.HardwareAddr, 20)} {
		for _, address := range []string{"10.0.0.1", "fe80::1"} {
			if frames, err := vip.Gratuitous(mac, netip.MustParseAddr(address), false); err == nil {
				t.Errorf("%s from %q: frames %x", address, mac, frames)
			}
		}
	}
}
