package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

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
	// Of a room alone.
	Room     string `json:"room,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
}

// printer returns what shows acknowledgements of one's own texts on w: as they are in
// a pipe, and on a terminal without what would steer it.
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

// encoder writes JSON, an object on a line. What would steer a terminal is escaped in
// it: JSON itself asks that only of the characters below U+0020.
func encoder(w io.Writer) func(any) error {
	return func(object any) error {
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(object); err != nil {
			return err
		}
		_, err := io.WriteString(w, escaped(strings.TrimSuffix(line.String(), "\n"))+"\n")
		return err
	}
}

// escaped is JSON that means the same. Outside its strings there is nothing to do.
func escaped(text string) string {
	if !strings.ContainsFunc(text, cli.Steers) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if cli.Steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isTerminal says whether a stream of the program's is one.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
