// Package elector decides who owns the addresses: it runs the VRRP instances of
// one director and puts their virtual addresses on and off the interfaces.
//
// It is small and quick and depends on nothing slow, so a takeover waits for
// nothing: the checks and the IPVS table are the director's half.
package elector
