package ipvs

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Guard keeps this machine from answering for connections that it does not
// know yet.
//
// When addresses move here, packets of connections that are under way come
// before the kernel has been told of them. IPVS leaves such a packet alone, and
// the kernel would answer it with a reset, or pass a real server's answer on with
// the wrong source: either ends the connection. The guard drops them behind IPVS,
// so TCP sends them again a moment later, when the connection is known.
//
// It consists of nftables tables of its own, named lvsd.
type Guard struct{}

// guardTable is the name of our table, in the families ip and ip6.
const guardTable = "lvsd"

// guardPriority is just behind the hooks of IPVS, which are at 98 to 100 in
// LOCAL_IN and FORWARD (ip_vs_ops4 in net/netfilter/ipvs/ip_vs_core.c).
const guardPriority nftables.ChainPriority = 101

// Set drops what IPVS did not recognise: for the services packets of TCP that do
// not open a connection, and from the real servers, which is for those behind
// NAT, all TCP packets that would be forwarded. It replaces what was set before
// in one step. With no services and no real servers nothing is guarded and the
// tables are gone. The error says what the kernel refused.
func (Guard) Set(services []Key, realServers []netip.AddrPort) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("guarding unknown connections: opening nftables: %w", err)
	}
	for _, family := range []guardFamily{
		{nftables.TableFamilyIPv4, nftables.TypeIPAddr, 4, 12, 16},
		{nftables.TableFamilyIPv6, nftables.TypeIP6Addr, 16, 8, 24},
	} {
		var to, from []netip.AddrPort
		for _, s := range services {
			if s.Protocol == TCP && s.Address.BitLen() == family.size*8 {
				to = append(to, netip.AddrPortFrom(s.Address, s.Port))
			}
		}
		for _, r := range realServers {
			if r.Addr().BitLen() == family.size*8 {
				from = append(from, r)
			}
		}
		if err := family.replace(conn, to, from); err != nil {
			return fmt.Errorf("guarding unknown connections: %w", err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("guarding unknown connections: %w", err)
	}
	return nil
}

// guardFamily is what differs between IPv4 and IPv6.
type guardFamily struct {
	family      nftables.TableFamily
	address     nftables.SetDatatype
	size        int    // of an address, in bytes
	source      uint32 // where the source address is in the header
	destination uint32 // where the destination address is
}

// The registers of 32 bits begin with this one (NFT_REG32_00).
const firstRegister = 8

// maxElements is how many elements one netlink message has room for.
const maxElements = 1000

func (f guardFamily) replace(conn *nftables.Conn, to, from []netip.AddrPort) error {
	table := &nftables.Table{Family: f.family, Name: guardTable}
	// Adding it makes sure that there is one to delete.
	conn.AddTable(table)
	conn.DelTable(table)
	if len(to)+len(from) == 0 {
		return nil
	}
	conn.AddTable(table)
	policy := nftables.ChainPolicyAccept
	// TCP's ports are at 0 and 2 of its header, its flags at 13; a packet that
	// opens a connection has SYN (0x02) and not ACK (0x10).
	opens := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x12}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0x02}},
	}
	for _, c := range []struct {
		name    string
		hook    *nftables.ChainHook
		matches []netip.AddrPort
		offset  uint32 // of the address
		port    uint32 // offset of the port
		further []expr.Any
	}{
		{"services", nftables.ChainHookInput, to, f.destination, 2, opens},
		{"real_servers", nftables.ChainHookForward, from, f.source, 0, nil},
	} {
		set := &nftables.Set{
			Table: table, Name: c.name, Concatenation: true,
			KeyType: nftables.MustConcatSetType(f.address, nftables.TypeInetService),
		}
		if err := conn.AddSet(set, nil); err != nil {
			return err
		}
		elements := make([]nftables.SetElement, 0, len(c.matches))
		for _, m := range c.matches {
			key := append(m.Addr().AsSlice(), 0, 0, 0, 0)
			binary.BigEndian.PutUint16(key[f.size:], m.Port())
			elements = append(elements, nftables.SetElement{Key: key})
		}
		for len(elements) > 0 {
			n := min(maxElements, len(elements))
			if err := conn.SetAddElements(set, elements[:n]); err != nil {
				return err
			}
			elements = elements[n:]
		}
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: c.name, Type: nftables.ChainTypeFilter,
			Hooknum: c.hook, Priority: nftables.ChainPriorityRef(guardPriority), Policy: &policy,
		})
		rule := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: firstRegister, Base: expr.PayloadBaseNetworkHeader, Offset: c.offset, Len: uint32(f.size)},
			&expr.Payload{DestRegister: firstRegister + uint32(f.size/4), Base: expr.PayloadBaseTransportHeader, Offset: c.port, Len: 2},
			&expr.Lookup{SourceRegister: firstRegister, SetName: set.Name, SetID: set.ID},
		}
		rule = append(rule, c.further...)
		rule = append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	}
	return nil
}
