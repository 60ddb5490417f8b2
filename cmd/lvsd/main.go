// Command lvsd is a high-availability LVS director: it elects the owner of
// virtual addresses by VRRP, programs the kernel's IPVS table, and checks the
// real servers.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitProblem = 1 // a problem was found
	exitUsage   = 2 // the command line is wrong
)

func main() { os.Exit(run()) }

func run() int {
	root := &cobra.Command{
		Use:           "lvsd",
		Short:         "A high-availability LVS director",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), versionCommand(), releaseCommand())
	err := root.Execute()
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usageError{}):
		fmt.Fprintf(os.Stderr, "lvsd: %v\n", err)
		return exitUsage
	case errors.Is(err, errNotWell):
		return exitProblem
	default:
		fmt.Fprintln(os.Stderr, err)
		return exitProblem
	}
}
