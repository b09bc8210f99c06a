// Command chat is for people and scripts that talk to a chat server.
//
//	chat send "Hello, server!"
//	printf 'Hello, server!\nHow are you?\n' | chat send
//	chat send lobby "Hello, everybody!"
//	chat lobby
//	chat tail lobby
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
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

func main() { os.Exit(cli.Main(context.Background(), newCommand())) }

func newCommand() *cobra.Command {
	where := &settings{}
	v := &visit{where: where, timeout: defaultTimeout}
	var after uint64
	root := &cobra.Command{
		Use:   "chat [ROOM]",
		Short: "Talk to a chat server",
		Long: "Talk to a chat server over mutual TLS. Alone, on a terminal, chat sends each line that you type. " +
			"With a room it sends each line of stdin there, and prints what is said there; it goes on after a lost connection or a server that was away, and once the lines have ended waits 10 seconds at most for the last to be acknowledged. " +
			"A room that is called like a command goes after --. " +
			"It goes on past the end of your token where the token file has been given a new one before, and says so where the server does not take that. " +
			"What to connect to comes from flags, then CHAT_* environment variables (CHAT_SERVER, CHAT_TLS_CA, …), then the context.",
		Example: "chat send 'Hello, server!'\nprintf 'Hello, server!\\nHow are you?\\n' | chat send --json\nchat lobby\nchat tail @bob --after 0\nchat whoami",
		Args:    roomOrCommand,
	}
	where.register(root.PersistentFlags())
	root.Flags().BoolVar(&v.asJSON, "json", false, "print each message as a JSON object on a line")
	root.Flags().Uint64Var(&after, "after", 0, "begin the room after this sequence")
	root.RunE = func(c *cobra.Command, args []string) error {
		var from []client.JoinOption
		if c.Flags().Changed("after") {
			from = append(from, client.After(after))
		}
		switch {
		case len(args) > 0:
			return converse(c, v, args[0], from...)
		case len(from) > 0:
			return cli.Exit(cli.Usage, errors.New("--after is a place in a room: name the room"))
		}
		return talk(c, where, v.asJSON)
	}
	root.AddCommand(sendCommand(where), tailCommand(where), historyCommand(where), roomsCommand(where), whoCommand(where),
		whoamiCommand(where), contextCommand(where), cli.VersionCommand())
	return root
}

// roomOrCommand takes a room, and what looks like a misspelt command for one. A
// room of such a name stands after "--".
func roomOrCommand(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case c.ArgsLenAtDash() < 0 && (cli.Misspelt(c, args[0]) || checkRoom(args[0]) != nil):
		return cli.UnknownCommand(c, args)
	case len(args) > 1:
		return fmt.Errorf("chat takes one room and got %d arguments: \"chat send\" sends a text", len(args))
	}
	return checkRoom(args[0])
}
