package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/contexts"
)

func contextCommand(where *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "context",
		Short: "Manage contexts: named sets of a server and your files",
		Long:  "A context holds a server and the paths of your files under a name, so that no flags are needed.",
	}
	c.AddCommand(contextList(), contextUse(), contextShow(where), contextAdd(where), contextRemove())
	return c
}

func contextList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "List the contexts; * marks the current one"}
	c.Flags().BoolVar(&asJSON, "json", false, "print each as a JSON object on a line")
	c.RunE = func(c *cobra.Command, _ []string) error {
		store := contexts.User()
		names, err := store.List()
		if err != nil {
			return err
		}
		current, err := store.Current()
		if err != nil {
			return err
		}
		if len(names) == 0 && !asJSON {
			fmt.Fprintf(c.ErrOrStderr(), "there are no contexts in %s: \"chatd dev\" and \"chat context add\" make them\n", store.Folder())
		}
		table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		encode := encoder(c.OutOrStdout())
		for _, name := range names {
			one, err := store.Load(name)
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), cli.Printable(err.Error()))
			}
			if asJSON {
				err = encode(listed{Name: name, Server: one.Server, Current: name == current})
			} else {
				_, err = fmt.Fprintf(table, "%s %s\t%s\n", mark(name == current), name, cli.Printable(one.Server))
			}
			if err != nil {
				return err
			}
		}
		return table.Flush()
	}
	return c
}

// listed is what `context list --json` prints of one. Its names are stable.
type listed struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	Current bool   `json:"current"`
}

func mark(current bool) string {
	if current {
		return "*"
	}
	return " "
}

func contextUse() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Args:              oneName,
		ValidArgsFunction: completeContext,
		RunE:              func(_ *cobra.Command, args []string) error { return found(contexts.User().SetCurrent(args[0])) },
	}
}

func contextShow(where *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show a context, or else the one that is in force",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeContext,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as a JSON object on a line")
	c.RunE = func(c *cobra.Command, args []string) error {
		shown, err := where.ofContext()
		if len(args) > 0 {
			shown, err = loadContext(contexts.User(), args[0])
		}
		if err != nil {
			return err
		}
		if shown.Server == "" {
			return cli.Exit(cli.NotFound, errors.New("there is no current context: choose one with `chat context use NAME`"))
		}
		values := shown.Settings()
		if asJSON {
			return encoder(c.OutOrStdout())(values)
		}
		table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, f := range flagsOf {
			if values[f.key] != "" {
				fmt.Fprintf(table, "%s\t%s\n", f.key, cli.Printable(values[f.key]))
			}
		}
		return table.Flush()
	}
	return c
}

func contextAdd(where *settings) *cobra.Command {
	var overwrite bool
	c := &cobra.Command{
		Use:     "add NAME",
		Short:   "Make a context of the flags and the environment",
		Example: "chat context add work --server chat.example.org --tls-ca ca.crt --tls-cert me.crt --tls-key me.key --token-file me.token",
		Args:    oneName,
	}
	c.Flags().BoolVar(&overwrite, "overwrite", false, "replace a context of that name")
	c.RunE = func(c *cobra.Command, args []string) error {
		given, err := where.given()
		if err != nil {
			return err
		}
		if given.Server == "" {
			return cli.Exit(cli.Usage, fmt.Errorf("the context %q has no server: pass --server", args[0]))
		}
		return contexts.User().Save(args[0], given, overwrite)
	}
	return c
}

func contextRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Remove a context",
		Args:              oneName,
		ValidArgsFunction: completeContext,
		RunE:              func(_ *cobra.Command, args []string) error { return found(contexts.User().Remove(args[0])) },
	}
}

func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one context name is needed and %d are given", len(args))
	}
	return contexts.CheckName(args[0])
}

func completeContext(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := contexts.User().List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// found gives the error for a context that does not exist its exit code.
func found(err error) error {
	if errors.Is(err, contexts.ErrNotFound) {
		return cli.Exit(cli.NotFound, err)
	}
	return err
}
