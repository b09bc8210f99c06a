package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// acknowledgement is what --json prints of one. Its names are stable.
type acknowledgement struct {
	User      string `json:"user"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp"`
	ID        string `json:"id"`
	TraceID   string `json:"trace_id"`
}

// printer returns what shows messages on w: as they are in a pipe, and on a
// terminal without what would steer it.
func printer(w io.Writer, asJSON bool) func(client.Message) error {
	if asJSON {
		encode := encoder(w)
		return func(m client.Message) error {
			return encode(acknowledgement{User: m.User, Message: m.Text, Timestamp: m.Timestamp(), ID: m.ID, TraceID: m.TraceID})
		}
	}
	shown := func(text string) string { return text }
	if isTerminal(w) {
		shown = cli.Printable
	}
	return func(m client.Message) error {
		_, err := fmt.Fprintln(w, shown(m.Text))
		return err
	}
}

// encoder writes JSON, an object on a line.
func encoder(w io.Writer) func(any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
