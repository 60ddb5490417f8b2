// Command lvsd is a high-availability LVS director: it elects the owner of
// virtual addresses by VRRP, programs the kernel's IPVS table, and checks the
// real servers.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"lvsd/internal/supervisor"
)

// Exit codes.
const (
	exitProblem = 1                        // a problem was found
	exitUsage   = 2                        // the command line is wrong
	exitRefused = supervisor.StatusRefused // a half cannot start
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs the command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "lvsd",
		Short:         "A high-availability LVS director",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), switchoverCommand(), versionCommand(), releaseCommand(),
		electorCommand(), directorCommand())
	err := root.Execute()
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usageError{}):
		fmt.Fprintf(stderr, "lvsd: %v\n", err)
		return exitUsage
	case errors.Is(err, errNotWell):
		return exitProblem
	case errors.As(err, &refusedError{}):
		fmt.Fprintln(stderr, err)
		return exitRefused
	default:
		fmt.Fprintln(stderr, err)
		return exitProblem
	}
}
