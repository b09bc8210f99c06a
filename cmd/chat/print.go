package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"securechat/client"
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

// printer returns what shows messages on w: as they are in a pipe, and on a
// terminal without what would steer it.
func printer(w io.Writer, asJSON bool) func(client.Message) error {
	if asJSON {
		encode := encoder(w)
		return func(m client.Message) error {
			return encode(acknowledgement{User: m.User, Message: m.Text, Timestamp: m.Timestamp(), ID: m.ID, TraceID: m.TraceID})
		}
	}
	shown := shownOn(w)
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

// isTerminal says whether a stream of the program's is one.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
