package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

func historyCommand(where *settings) *cobra.Command {
	v := &visit{where: where}
	var before, after uint64
	var limit int
	c := &cobra.Command{
		Use:   "history ROOM",
		Short: "Show what was said in a room",
		Long: "Print messages that ROOM keeps, the oldest first: the newest of them, those just before a sequence, or those just after one. " +
			"The JSON objects have the sequences.",
		Example: "chat history lobby\nchat history lobby --limit 1000 --json\nchat history lobby --after 0",
		Args:    oneRoom,
	}
	v.register(c, "print each message as a JSON object on a line")
	const page = 50
	c.Flags().IntVar(&limit, "limit", page, "at most so many messages")
	c.Flags().Uint64Var(&before, "before", 0, "the newest messages before this sequence")
	c.Flags().Uint64Var(&after, "after", 0, "the oldest messages after this sequence")
	c.RunE = func(c *cobra.Command, args []string) error {
		backwards, forwards := c.Flags().Changed("before"), c.Flags().Changed("after")
		switch {
		case backwards && forwards:
			return cli.Exit(cli.Usage, errors.New("--before and --after go in two directions: pass one of them"))
		case limit < 1:
			return cli.Exit(cli.Usage, fmt.Errorf("--limit is %d and must be 1 or more", limit))
		}
		options := []client.HistoryOption{client.Limit(limit)}
		if backwards {
			options = append(options, client.Before(before))
		}
		if forwards {
			options = append(options, client.After(after))
		}
		var found []client.Message
		err := v.ask(c, func(ctx context.Context, conn *client.Conn) (err error) {
			found, err = all(conn.History(ctx, args[0], options...))
			return err
		})
		if err != nil {
			return err
		}
		if !forwards {
			slices.Reverse(found)
		}
		show := roomPrinter(c.OutOrStdout(), args[0], v.asJSON)
		for _, m := range found {
			if err := show(m); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// all returns all that there is. How fast stdout takes it is not to count
// against the time that the server has.
func all[T any](from iter.Seq2[T, error]) (got []T, err error) {
	for one, err := range from {
		if err != nil {
			return nil, err
		}
		got = append(got, one)
	}
	return got, nil
}

// listedRoom is what `rooms --json` prints of a room. Its names are stable.
type listedRoom struct {
	Room     string `json:"room"`
	Sequence uint64 `json:"sequence"`
}

func roomsCommand(where *settings) *cobra.Command {
	v := &visit{where: where}
	c := &cobra.Command{
		Use:   "rooms",
		Short: "List the rooms that you may join",
		Long:  "List the rooms that have messages or members and that you may join, by name. @USER is the room of you and that user.",
	}
	v.register(c, "print each room as a JSON object on a line, with the sequence of its newest message")
	c.RunE = func(c *cobra.Command, _ []string) error {
		var rooms []client.RoomInfo
		err := v.ask(c, func(ctx context.Context, conn *client.Conn) (err error) {
			rooms, err = all(conn.Rooms(ctx))
			return err
		})
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		encode := encoder(out)
		for _, room := range rooms {
			if v.asJSON {
				err = encode(listedRoom{Room: room.Name, Sequence: room.Sequence})
			} else {
				_, err = fmt.Fprintln(out, cli.Printable(room.Name))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// listedMember is what `who --json` prints of a user. Its names are stable.
type listedMember struct {
	User  string    `json:"user"`
	Since time.Time `json:"since,omitzero"`
}

func whoCommand(where *settings) *cobra.Command {
	v := &visit{where: where}
	c := &cobra.Command{
		Use:   "who ROOM",
		Short: "Show who is in a room",
		Long:  "Show who is in ROOM now, by name, and since when.",
		Args:  oneRoom,
	}
	v.register(c, "print each user as a JSON object on a line")
	c.RunE = func(c *cobra.Command, args []string) error {
		var members []client.Member
		err := v.ask(c, func(ctx context.Context, conn *client.Conn) (err error) {
			members, err = conn.Members(ctx, args[0])
			return err
		})
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if v.asJSON {
			encode := encoder(out)
			for _, m := range members {
				if err := encode(listedMember{User: m.User, Since: m.Since}); err != nil {
					return err
				}
			}
			return nil
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, m := range members {
			fmt.Fprintf(table, "%s\tsince %s\n", cli.Printable(m.User), m.Since.Local().Format(clock))
		}
		return table.Flush()
	}
	return c
}
