package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

const defaultTimeout = 10 * time.Second

func sendCommand(where *settings) *cobra.Command {
	v := &visit{where: where}
	var room string
	c := &cobra.Command{
		Use:   "send [ROOM] [TEXT]",
		Short: "Send a message, or each line of stdin",
		Long: "Send TEXT, or without it each line of stdin, and print each acknowledgement. " +
			"Two arguments are a room and a text; with --room the one argument, or stdin, is for that room. Without a room the server answers and nobody else sees it. " +
			"It succeeds only when all are acknowledged; with code 7 when one is not in time. What is said in a room is acknowledged once it is stored for good. " +
			"The token file is read again when most of the token's life has passed, so that sending may outlast a token that is replaced.",
		Example: "chat send 'Hello, server!'\nprintf 'Hello, server!\\nHow are you?\\n' | chat send\nchat send lobby 'Hello, everybody!'\nprintf 'Hello!\\nHow are you?\\n' | chat send --room @bob",
		Args: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("room") && room == "" {
				return checkRoom(room)
			}
			_, _, err := addressed(room, args)
			return err
		},
	}
	c.Flags().StringVar(&room, "room", "", "room to send to; @USER is the room of you and that user")
	c.Flags().BoolVar(&v.asJSON, "json", false, "print each acknowledgement as a JSON object on a line")
	c.Flags().DurationVar(&v.timeout, "timeout", defaultTimeout, "longest wait for the connection, and for each acknowledgement")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkTimeout(v.timeout); err != nil {
			return err
		}
		room, text, err := addressed(room, args)
		if err != nil {
			return cli.Exit(cli.Usage, err)
		}
		var source texts
		if text != nil {
			source = &oneText{text: *text}
		} else {
			lines, release := stdin(c.InOrStdin())
			defer release()
			source = lines
		}
		if room == "" {
			return send(c, where, source, v.timeout, v.asJSON)
		}
		return sendToRoom(c, v, room, source)
	}
	return c
}

// addressed says what is to be sent where: to no room where that is empty, and
// what stdin has where text is nil.
func addressed(flag string, args []string) (room string, text *string, err error) {
	room = flag
	if room == "" && len(args) == 2 {
		room, args = args[0], args[1:]
		if err := checkRoom(room); err != nil {
			return "", nil, fmt.Errorf("%w; a text of several words goes in quotes", err)
		}
	}
	if len(args) > 1 {
		return "", nil, errors.New("send takes a room and a text and got more: put the text in quotes")
	}
	if len(args) == 1 {
		text = &args[0]
	}
	if room != "" {
		err = checkRoom(room)
	}
	return room, text, err
}

// talk is chat alone: it sends what is typed, line by line.
func talk(c *cobra.Command, where *settings, asJSON bool) error {
	if !isTerminal(c.InOrStdin()) {
		return cli.Exit(cli.Usage, errors.New(`chat alone needs a terminal: use "chat send" to send a text or the lines of a pipe`))
	}
	lines, release := stdin(c.InOrStdin())
	defer release()
	return send(c, where, &typed{lines: lines, notices: c.ErrOrStderr()}, defaultTimeout, asJSON)
}

func send(c *cobra.Command, where *settings, source texts, timeout time.Duration, asJSON bool) error {
	target, err := where.resolve()
	if err != nil {
		return err
	}
	person, isPerson := source.(*typed)
	var events func(client.Event)
	if isPerson {
		events = notify(c.ErrOrStderr(), target.TokenFile)
	}
	session, err := connect(c.Context(), target, c.ErrOrStderr(), events)
	if err != nil {
		return err
	}
	defer session.Close()
	stream, err := session.open(c.Context(), timeout)
	if err != nil {
		return err
	}
	defer stream.Close()
	if isPerson {
		person.welcome(target.Server, stream)
	}
	return exchange(c.Context(), stream, source, printer(c.OutOrStdout(), asJSON), timeout)
}

// notify returns what tells a person that the server will not take a token or a
// certificate, so that the conversation ends when the one before expires.
func notify(notices io.Writer, tokenFile string) func(client.Event) {
	return func(e client.Event) {
		switch e := e.(type) {
		case client.RefreshFailed:
			if e.Final {
				fmt.Fprintf(notices, "chat: your access could not be renewed: %s; it ends when it expires unless there is another token in %s by then\n",
					cli.Printable(e.Err.Error()), cli.Printable(tokenFile))
			}
		case client.MoveFailed:
			if e.Final {
				fmt.Fprintf(notices, "chat: your new certificate could not be used: %s; the old one serves until your access expires unless there is another certificate or token by then\n",
					cli.Printable(e.Err.Error()))
			}
		}
	}
}

// oneText is a text given as an argument.
type oneText struct {
	text string
	done bool
}

func (o *oneText) next() (string, error) {
	if o.done {
		return "", io.EOF
	}
	o.done = true
	if len(o.text) > maxText {
		return "", fmt.Errorf("the text is longer than %d KiB: send it in parts", maxText>>10)
	}
	return o.text, nil
}

func (*oneText) name() string { return "the text" }
func (*oneText) stop()        {}

// typed is what a person types.
type typed struct {
	*lines
	notices io.Writer
}

// next passes over what cannot be sent, and says so: a slip of the keyboard is to end
// no conversation.
func (t *typed) next() (string, error) {
	for {
		text, err := t.lines.next()
		if err != nil || utf8.ValidString(text) {
			return text, err
		}
		fmt.Fprintf(t.notices, "chat: %s is not valid UTF-8 and has not been sent\n", t.name())
	}
}

func (t *typed) welcome(server string, stream interface {
	User() string
	Expires() time.Time
}) {
	var until strings.Builder
	if expires := stream.Expires(); !expires.IsZero() {
		fmt.Fprintf(&until, " until %s", expires.Local().Format("15:04 on 2 January 2006"))
	}
	fmt.Fprintf(t.notices, "connected to %s as %s%s; each line is a message, Ctrl-D ends\n", server, cli.Printable(stream.User()), &until)
}
