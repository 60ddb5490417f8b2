package vip

import (
	"fmt"
	"net"

	"github.com/mdlayher/packet"
)

// listenPacket returns a packet socket that sends whole Ethernet frames on link.
// It receives nothing.
func listenPacket(link Link) (net.PacketConn, error) {
	c, err := packet.Listen(&net.Interface{Index: link.Index, Name: link.Name, HardwareAddr: link.HardwareAddr}, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s: %w", link.Name, err)
	}
	return c, nil
}
