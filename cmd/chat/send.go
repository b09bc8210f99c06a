package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

const defaultTimeout = 10 * time.Second

func sendCommand(where *settings) *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "send [TEXT]",
		Short: "Send a message, or each line of stdin",
		Long: "Send TEXT, or without it each line of stdin, and print each acknowledgement. " +
			"It succeeds only when all are acknowledged; with code 7 when one is not in time. " +
			"The token file is read again when most of the token's life has passed, so that sending may outlast a token that is replaced. " +
			"Where the certificate is replaced, with a token for it, sending goes on over a new connection.",
		Example: "chat send 'Hello, server!'\nprintf 'Hello, server!\\nHow are you?\\n' | chat send",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("send takes one text and got %d: put it in quotes", len(args))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print each acknowledgement as a JSON object on a line")
	c.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "longest wait for the connection, and for each acknowledgement")
	c.RunE = func(c *cobra.Command, args []string) error {
		if timeout <= 0 {
			return cli.Exit(cli.Usage, fmt.Errorf("--timeout is %v and must be more than 0", timeout))
		}
		if len(args) > 0 {
			return send(c, where, &oneText{text: args[0]}, timeout, asJSON)
		}
		lines, release := stdin(c.InOrStdin())
		defer release()
		return send(c, where, lines, timeout, asJSON)
	}
	return c
}

// talk is chat alone: it sends what is typed, line by line.
func talk(c *cobra.Command, where *settings) error {
	file, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return cli.Exit(cli.Usage, errors.New(`chat alone needs a terminal: use "chat send" to send a text or the lines of a pipe`))
	}
	lines, release := stdin(file)
	defer release()
	return send(c, where, &typed{lines: lines, notices: c.ErrOrStderr()}, defaultTimeout, false)
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
