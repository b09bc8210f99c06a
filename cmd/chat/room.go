package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// pairSign begins the name of a room of two.
const pairSign = "@"

// checkRoom refuses what no room is called, before a server is asked.
func checkRoom(name string) error {
	if other, isPair := strings.CutPrefix(name, pairSign); isPair && other != "" {
		return nil
	}
	const longest = 63
	begins := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	fits := name != "" && len(name) <= longest && begins(name[0])
	for _, c := range []byte(name) {
		fits = fits && (begins(c) || c == '_' || c == '-')
	}
	if !fits {
		return fmt.Errorf("no room is called %.100q: a name has 1 to %d of a to z, 0 to 9, _ and -, and begins with a letter or a digit; @USER is the room of you and that user", name, longest)
	}
	return nil
}

// oneRoom is the Args of a command that takes a room.
func oneRoom(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%q takes one room and got %d arguments", c.CommandPath(), len(args))
	}
	return checkRoom(args[0])
}

// join enters a room within the time.
func (s *session) join(ctx context.Context, timeout time.Duration, room string, options ...client.JoinOption) (*client.Room, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	joined, err := s.conn.Join(ctx, room, options...)
	return joined, late(err)
}

// late gives a call that the server did not answer in time the code of a server
// that cannot be reached.
func late(err error) error {
	var e *client.Error
	if errors.As(err, &e) && e.Code == codes.DeadlineExceeded {
		return cli.Exit(cli.Unreachable, err)
	}
	return err
}

// A visit is what the commands about rooms have in common: a session, and how
// long the server may take.
type visit struct {
	where   *settings
	timeout time.Duration
	asJSON  bool
}

func (v *visit) register(c *cobra.Command, json string) {
	c.Flags().BoolVar(&v.asJSON, "json", false, json)
	c.Flags().DurationVar(&v.timeout, "timeout", defaultTimeout, "longest wait for the server")
}

// begin connects. The caller closes the session.
func (v *visit) begin(c *cobra.Command) (*session, error) {
	if err := checkTimeout(v.timeout); err != nil {
		return nil, err
	}
	target, err := v.where.resolve()
	if err != nil {
		return nil, err
	}
	return connect(c.Context(), target, c.ErrOrStderr(), notify(c.ErrOrStderr(), target.TokenFile))
}

// ask connects, and asks the server something within the time.
func (v *visit) ask(c *cobra.Command, question func(context.Context, *client.Conn) error) error {
	session, err := v.begin(c)
	if err != nil {
		return err
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
	defer cancel()
	return late(question(ctx, session.conn))
}

func checkTimeout(timeout time.Duration) error {
	if timeout <= 0 {
		return cli.Exit(cli.Usage, fmt.Errorf("--timeout is %v and must be more than 0", timeout))
	}
	return nil
}

// roomNotices tells a person how the room fares, on w. Others' coming and going
// is only told where they want to know.
func roomNotices(w io.Writer, presence bool) func(client.RoomEvent) {
	away := false
	say := func(format string, args ...any) { fmt.Fprintf(w, "chat: "+format+"\n", args...) }
	return func(event client.RoomEvent) {
		switch e := event.(type) {
		case client.Reconnecting:
			if !away { // the attempts that follow are no news
				say("the room is not open just now, and will be opened again: %s", cli.Printable(e.Err.Error()))
			}
			away = true
		case client.Reconnected:
			if away {
				say("the room is open again")
			}
			away = false
		case client.Joined:
			if presence {
				say("%s is here", cli.Printable(e.User))
			}
		case client.Left:
			if presence {
				say("%s has left", cli.Printable(e.User))
			}
		}
	}
}
