// Package bench measures how long the virtual addresses of a pair of directors
// answer nobody, how fast many addresses move, and how lvsd and keepalived compare
// in that and in what they need. It runs in network namespaces at native speed,
// without IPVS. Benchmarks write down and do not judge; see the tables that they
// print at the end.
package bench
