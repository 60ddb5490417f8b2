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
			director, err := directorName(*name)
			if err != nil {
				return err
			}
			config, err := configs.Load(file, director)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: fine: director %s, %d VRRP instances, %d services\n",
				file, config.Director.Name, len(config.Instances), len(config.Services))
			return err
		},
	}
	name = addNameFlag(cmd)
	return cmd
}
