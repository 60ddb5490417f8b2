// Package supervisor runs the processes that one lvsd consists of, its halves.
//
// [Supervisor] belongs to the main process, which does nearly nothing: it starts
// the halves from its own executable, starts one again at once when it has died,
// and kills one that hangs. [Tie] is the other end, in a half: it gives the
// signs of life, takes orders, and notices the death of the supervisor.
//
// Two pipes tie a half to its supervisor, one byte a message. They are there as
// long as both processes are: the end of a pipe is the end of who held it.
package supervisor
