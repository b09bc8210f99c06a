// Command chatd is the operator's program: it serves the chat, tries it out on
// one machine, makes certificates and tokens for small set-ups, and checks
// configurations. `chatd help` lists its commands.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"securechat/cmd/internal/cli"
)

func main() { os.Exit(run()) }

func run() int { return cli.Main(context.Background(), newCommand()) }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "chatd",
		Short: "Serve a chat secured by certificates and tokens",
		Long: `chatd serves a chat over gRPC. Every caller has a certificate and a token that
belongs to it.

Begin with "chatd dev": one command, no configuration, everything on this machine.`,
	}
	root.AddCommand(
		devCommand(),
		serveCommand(),
		caCommand(),
		tokenCommand(),
		revokeCommand(),
		sessionsCommand(),
		configCommand(),
		cli.VersionCommand(),
	)
	return root
}
