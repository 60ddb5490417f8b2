// Package waist is what lies between the two halves of lvsd when each is a
// process: a few messages on a Unix socket, one JSON object a line.
//
// [Server] is the end of the elector half, [Client] that of the director half,
// which connects again and again. Both say the whole of what they want or know
// with each connection, so nothing is lost when one of the two was away. Each
// also notices when the other does not answer any more.
//
// A message is one type with a case in decode, and what either end does with it.
package waist
