// Package cli is what the programs share: how they run, which codes they exit
// with, and how they say what went wrong.
//
//	func main() { os.Exit(cli.Main(context.Background(), newCommand())) }
//
// Data goes to stdout and notices to stderr. An error is one line on stderr,
// "program: what happened", without colour.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"charm.land/fang/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
)

// Main runs the command with the arguments of the process and returns the code
// to exit with.
//
// The command's context ends with the first SIGINT or SIGTERM, and the next one
// kills the process. A command that then returns nil has ended in good order
// and exits with OK; one that returns an error exits with Interrupted and says
// nothing more.
//
// An error from before a command's RunE is one of usage. So a command that can
// fail has a RunE and no other hooks. A command without Args takes none.
func Main(ctx context.Context, root *cobra.Command) int {
	ctx, stop := interruptible(ctx)
	defer stop()

	run := &run{}
	run.prepare(root)
	usage := fang.Execute(ctx, root, fang.WithVersion(Version()), fang.WithErrorHandler(silent), fang.WithColorSchemeFunc(colours))
	code, err := run.outcome(root, usage)
	if err != nil && ctx.Err() != nil {
		return int(Interrupted)
	}
	if err != nil {
		fmt.Fprintln(root.ErrOrStderr(), line(root.Name(), err))
	}
	return int(code)
}

// fang looks up the colours of the terminal before it hands over an error, by
// asking the terminal and reading its answer from stdin. So an error of RunE is
// kept here, and fang sees none of it.
func silent(io.Writer, fang.Styles, error) {}

// colours are fang's, and none at all where NO_COLOR is set (no-color.org), which
// fang itself lets CLICOLOR_FORCE overrule.
func colours(lightOrDark lipgloss.LightDarkFunc) fang.ColorScheme {
	if os.Getenv("NO_COLOR") != "" {
		return fang.ColorScheme{}
	}
	return fang.DefaultColorScheme(lightOrDark)
}

// A run is one execution of a tree of commands.
type run struct {
	err error // of the RunE
}

func (r *run) outcome(root *cobra.Command, usage error) (Code, error) {
	if usage != nil {
		return Usage, fmt.Errorf("%w: see %s --help", usage, root.Name())
	}
	return CodeOf(r.err), r.err
}

// prepare makes each command of the tree strict about its arguments, and keeps
// what its RunE returns.
func (r *run) prepare(c *cobra.Command) {
	switch {
	case c.Args == nil && c.HasSubCommands():
		c.Args = UnknownCommand
	case c.Args == nil:
		c.Args = noArguments
	}
	switch run := c.RunE; {
	case run != nil:
		c.RunE = func(c *cobra.Command, args []string) error {
			r.err = run(c, args)
			return nil
		}
	case !c.Runnable():
		// cobra would answer a mistyped subcommand with help and success.
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	for _, sub := range c.Commands() {
		r.prepare(sub)
	}
}

// UnknownCommand is the Args of a command that only takes subcommands.
func UnknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := nearest(c, args[0]); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", near[0])
	}
	return fmt.Errorf("unknown command %.100q for %q%s", args[0], c.CommandPath(), hint)
}

// Misspelt says whether the argument looks like one of the command's subcommands.
func Misspelt(c *cobra.Command, argument string) bool { return len(nearest(c, argument)) > 0 }

func nearest(c *cobra.Command, argument string) []string {
	const misspelt = 2 // letters
	c.SuggestionsMinimumDistance = misspelt
	return c.SuggestionsFor(argument)
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%q takes no arguments and got %.100q", c.CommandPath(), args[0])
}

// line is how err is shown: on one line, with nothing that a terminal obeys.
func line(program string, err error) string { return program + ": " + Printable(err.Error()) }

// Printable returns text with its line breaks as "; " and its other control
// characters as "�", so that what a peer or a file has in it cannot steer the
// terminal.
func Printable(text string) string {
	text = strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r != '\t' && Steers(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// Steers says whether a terminal may do something else with the character than to
// show it where it stands.
func Steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
