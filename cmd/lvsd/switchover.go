package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lvsd/internal/control"
)

func switchoverCommand() *cobra.Command {
	var runtime *string
	var hold *bool
	cmd := &cobra.Command{
		Use:   "switchover [INSTANCE]",
		Short: "Hand the addresses to the other director, or take them back",
		Long: `Hand the addresses to the other director, or take them back, without a loss.

On the director that is master it hands over: the other one becomes master and
stays so as long as it lives. On the director that has handed over it takes the
addresses back. Without INSTANCE it does so for all instances. It returns when it
is done; the exit code is 1 when it could not be done, and everything is then as
before.

With --hold this director does not become master again, whatever happens, until
the next switchover without it. That outlives a reload and a restart, not a
reboot.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%d arguments: must be one instance at most", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			instance := ""
			if len(args) == 1 {
				instance = args[0]
			}
			return control.Switchover(cmd.Context(), socketPath(*runtime), instance, *hold)
		},
	}
	runtime = addRuntimeFlag(cmd)
	hold = cmd.Flags().Bool("hold", false, "do not become master again until told otherwise")
	return cmd
}
