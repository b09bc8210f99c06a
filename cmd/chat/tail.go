package main

import (
	"github.com/spf13/cobra"

	"securechat/client"
)

func tailCommand(where *settings) *cobra.Command {
	v := &visit{where: where}
	var after uint64
	c := &cobra.Command{
		Use:   "tail ROOM",
		Short: "Follow a room",
		Long: "Print what is said in ROOM, as it is said, until it is interrupted. With --after it begins with what was said after that sequence, and 0 is the beginning of what is kept. " +
			"It goes on after a lost connection or a server that was away, and misses nothing. " +
			"A message takes one line, whatever is in it; --json has it as it was said.",
		Example: "chat tail lobby\nchat tail lobby --after 0 --json",
		Args:    oneRoom,
	}
	v.register(c, "print each message as a JSON object on a line")
	c.Flags().Uint64Var(&after, "after", 0, "begin after this sequence")
	c.RunE = func(c *cobra.Command, args []string) error {
		session, err := v.begin(c)
		if err != nil {
			return err
		}
		defer session.Close()
		var from []client.JoinOption
		if c.Flags().Changed("after") {
			from = append(from, client.After(after))
		}
		room, err := session.join(c.Context(), v.timeout, args[0], from...)
		if err != nil {
			return err
		}
		defer room.Close()
		show, notice := roomPrinter(c.OutOrStdout(), args[0], v.asJSON), roomNotices(c.ErrOrStderr(), false)
		for event, err := range room.Events(c.Context()) {
			if err != nil {
				return err
			}
			if m, ok := event.(client.Message); ok {
				if err := show(m); err != nil {
					return err
				}
				continue
			}
			notice(event)
		}
		return nil
	}
	return c
}
