// Command chat is for people and scripts that talk to a chat server.
//
//	chat send "Hello, server!"
//	printf 'Hello, server!\nHow are you?\n' | chat send
//	chat whoami
//
// Which server, and as whom, is said by flags, by CHAT_* environment variables,
// or by a context; `chatd dev` makes one.
//
// A token file that is replaced before its token expires is read again, and the
// conversation goes on.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"securechat/cmd/internal/cli"
)

func main() { os.Exit(cli.Main(context.Background(), newCommand())) }

func newCommand() *cobra.Command {
	where := &settings{}
	root := &cobra.Command{
		Use:   "chat",
		Short: "Talk to a chat server",
		Long: "Talk to a chat server over mutual TLS. Alone, on a terminal, chat sends each line that you type. " +
			"It goes on past the end of your token where the token file has been given a new one before, and says so where the server does not take that. " +
			"What to connect to comes from flags, then CHAT_* environment variables (CHAT_SERVER, CHAT_TLS_CA, …), then the context.",
		Example: "chat send 'Hello, server!'\nprintf 'Hello, server!\\nHow are you?\\n' | chat send --json\nchat whoami",
	}
	where.register(root.PersistentFlags())
	root.RunE = func(c *cobra.Command, _ []string) error { return talk(c, where) }
	root.AddCommand(sendCommand(where), whoamiCommand(where), contextCommand(where), cli.VersionCommand())
	return root
}
