package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// Where things are unless a flag says otherwise.
const (
	defaultConfig  = "/etc/lvsd/lvsd.toml"
	defaultRuntime = "/run/lvsd"
)

// errNotWell ends a command that has already said what is not well.
var errNotWell = errors.New("something is not well")

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, got %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}

// noCommand refuses a command that there is not.
func noCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("there is no command %q; see lvsd --help", args[0])}
	}
	return nil
}

func atMostOneArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%s takes one file, got %d; see %s --help", cmd.CommandPath(), len(args), cmd.CommandPath())}
	}
	return nil
}

// addConfigFlag adds --config.
func addConfigFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("config", "c", defaultConfig, "the configuration file")
}

// addNameFlag adds --name.
func addNameFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("name", "n", "", "the [director.NAME] that this machine is (default: its host name)")
}

// addRuntimeFlag adds --runtime-dir. systemd says by RUNTIME_DIRECTORY where
// it made one.
func addRuntimeFlag(cmd *cobra.Command) *string {
	dir := defaultRuntime
	if d := os.Getenv("RUNTIME_DIRECTORY"); d != "" {
		dir = d
	}
	return cmd.Flags().String("runtime-dir", dir, "the folder of the sockets and of the memory of what is ours")
}

// logFlags say how the daemon logs.
type logFlags struct{ format, level *string }

func addLogFlags(cmd *cobra.Command) logFlags {
	return logFlags{
		cmd.Flags().String("log-format", "auto", "text, json, or auto: text on a terminal, json otherwise"),
		cmd.Flags().String("log-level", "info", "debug, info, warn or error"),
	}
}

func (f logFlags) logger() (*slog.Logger, error) {
	log, err := newLogger(os.Stderr, *f.format, *f.level)
	if err != nil {
		return nil, usageError{err}
	}
	return log, nil
}

func socketPath(runtime string) string    { return filepath.Join(runtime, "control.sock") }
func electorSocket(runtime string) string { return filepath.Join(runtime, "elector.sock") }
func electorMemory(runtime string) string { return filepath.Join(runtime, "elector.json") }
func addressState(runtime string) string  { return filepath.Join(runtime, "addresses.json") }
func serviceState(runtime string) string  { return filepath.Join(runtime, "services.json") }
func holdState(runtime string) string     { return filepath.Join(runtime, "hold.json") }
func lockPath(runtime string) string      { return filepath.Join(runtime, "lock") }
