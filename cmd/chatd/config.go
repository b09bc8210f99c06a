package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/telemetry"
)

// checkLimit is how long a check may wait for a key set from the network.
const checkLimit = 15 * time.Second

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check or show what chatd serve would run with"}
	c.AddCommand(configCheckCommand(), configPrintCommand())
	return c
}

func configCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Load all that chatd serve would load, and say what is wrong",
		Long: `Load the settings, the files and the key set as "chatd serve" would, without
listening. The exit code is 0 if all is well, 1 if a file is not, 2 if the
settings are not, and 3 if the key set cannot be fetched.`,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, err := loadSettings(c)
			if err != nil {
				return err
			}
			if err := check(c.Context(), loaded.Settings, c.ErrOrStderr()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "ok")
			return err
		},
	}
	settings.Flags(c.Flags())
	return c
}

func check(ctx context.Context, s settings.Settings, stderr io.Writer) error {
	log := newLog(stderr, s.LogFormat, s.LogLevel)
	tel, err := telemetry.Setup(ctx, telemetry.Options{Service: service, Version: cli.Version(), Log: log, Scrape: true})
	if err != nil {
		return err
	}
	defer endTelemetry(tel, log)
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	return daemon.Check(ctx, daemon.Config{Settings: s, Log: tel.Log, Telemetry: tel})
}

func configPrintCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force and where each comes from",
		Long:  `Print the settings in force, as a file that --config reads, with the origin of each beside it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, err := loadSettings(c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), loaded.Values)
			}
			return printYAML(c.OutOrStdout(), loaded.Values)
		},
	}
	settings.Flags(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return c
}

func printYAML(w io.Writer, values []settings.Value) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range values {
		fmt.Fprintf(table, "%s:\t%s\t# %s\n", v.Key, strconv.Quote(v.Text), cli.Printable(v.Origin))
	}
	return table.Flush()
}

// printJSON writes each value as one object on a line of its own.
func printJSON[T any](w io.Writer, values []T) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return err
		}
	}
	return nil
}
