// Package director decides who serves: it owns the model of one lvsd process
// (configuration, role per VRRP instance, verdict per real server) and derives
// from it what the kernel's IPVS table should look like.
//
// Every event changes the model in one goroutine, the loop of [Director.Run].
// After each the pure function plan says what the table should be, and the
// reconciler of package ipvs brings the kernel there. The director never
// touches an address: that is the elector's half.
package director
