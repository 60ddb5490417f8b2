package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lvsd/configs"
)

func checkCommand() *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read a configuration file and list all its problems",
		Args:  atMostOneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := defaultConfig
			if len(args) == 1 {
				file = args[0]
			}
			if *name == "" {
				if err := configs.Check(file); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: fine\n", file)
				return err
			}
			config, err := configs.Load(file, *name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: fine for director %s: %d VRRP instances, %d services\n",
				file, *name, len(config.Instances), len(config.Services))
			return err
		},
	}
	name = cmd.Flags().StringP("name", "n", "", "look at the file as this director does (default: for all of them)")
	return cmd
}
