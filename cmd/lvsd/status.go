package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lvsd/internal/control"
)

// statusTimeout bounds how long the daemon is waited for.
const statusTimeout = 10 * time.Second

func statusCommand() *cobra.Command {
	var runtime, output *string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show instances, services and real servers",
		Long: `Show instances, services and real servers of the lvsd that runs here.

An address with a star is on this director's interface. The exit code is 1 when
something is not well: an instance in fault, a real server down, a reload that
was refused, a table that the kernel does not take.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if *output != "table" && *output != "json" {
				return usageError{fmt.Errorf("--output %q: must be table or json", *output)}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			status, err := control.Fetch(ctx, socketPath(*runtime))
			if err != nil {
				return err
			}
			if *output == "json" {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(status)
			} else {
				err = control.Write(cmd.OutOrStdout(), status, time.Now())
			}
			if err != nil {
				return err
			}
			if len(status.Problems) > 0 {
				return errNotWell
			}
			return nil
		},
	}
	runtime = addRuntimeFlag(cmd)
	output = cmd.Flags().StringP("output", "o", "table", "table or json")
	return cmd
}
