// Package control is what operators and programs talk to: a Unix socket that
// serves the state of the daemon as JSON over HTTP, and the client of it with
// the tables that people read.
package control
