// Package vrrp is a Virtual Router Redundancy Protocol router: version 3 by RFC 9568, over IPv4 and IPv6, and version 2
// by RFC 3768, with multicast or with unicast to known peers.
//
// The words are those of the operators of keepalived: Master is what RFC 9568 calls Active, and the master
// down interval is its Active_Down_Interval.
//
// It has three layers, each usable alone. [Advertisement] is the packet. [Machine] is the protocol: a pure
// state machine that turns one [Event] into a list of [Action]s and knows no clock, socket or logger.
// [Instance] runs one Machine for one virtual router: it keeps the timers, hears the advertisements that a
// [Link] sorts to it, and tells a [Holder] when to take the addresses and when to let them go.
//
// Five things are done otherwise than the RFC says, so that a change of Master loses no packet. A new
// Master puts the addresses on its interface before it advertises (section 6.4.2 advertises first). A Master
// that leaves, or that hears a better one, answers for the addresses a little longer, until the other one does
// (section 6.4.3 stops at once). A Master that hears a better one sends a last advertisement, so that the better
// one learns that there were two and announces the addresses again (section 6.4.3 falls silent at once); it bears the
// interval of the better one, so that the other Backups wait for that one.
// Answers to advertisements that lose against ours are limited to ten a second. And a router that finds its timer
// overdue by more than an interval, because its machine stood still, listens for a moment before it acts.
package vrrp
