// Package ipvs keeps the kernel's table of virtual services (IPVS, the IP
// virtual server) as somebody wants it: it reads the table, says what differs
// from what is wanted, and applies the least change, in an order in which a
// service that can be served never stands without a real server.
//
// The kernel calls a real server a destination, and so does this package.
//
// A Reconciler owns the table of one kernel. It is level-triggered: Set
// replaces what is wanted, and the Reconciler lists, compares and repairs until
// the kernel shows it. Services that lvsd did not make are never touched.
package ipvs
