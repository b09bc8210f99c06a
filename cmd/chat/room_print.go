package main

import (
	"fmt"
	"io"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// roomMessage is what --json prints of a message of a room. Its names are stable.
type roomMessage struct {
	Room      string `json:"room"`
	User      string `json:"user"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp"`
	Sequence  uint64 `json:"sequence"`
	ID        string `json:"id"`
	TraceID   string `json:"trace_id"`
}

// clock is how people read when something was said.
const clock = "2006-01-02 15:04:05"

// roomPrinter returns what shows messages of the room on w. As text each takes one
// line, wherever that goes, with nothing that would steer a terminal at the end of a
// pipe: with a line break in what one user says another would seem to speak. JSON has
// it as it was said.
func roomPrinter(w io.Writer, room string, asJSON bool) func(client.Message) error {
	if asJSON {
		encode := encoder(w)
		return func(m client.Message) error {
			return encode(roomMessage{
				Room: room, User: m.User, Message: m.Text, Timestamp: m.Timestamp(), Sequence: m.Sequence, ID: m.ID, TraceID: m.TraceID,
			})
		}
	}
	return func(m client.Message) error {
		_, err := fmt.Fprintf(w, "%s %s: %s\n", m.Time.Local().Format(clock), cli.Printable(m.User), cli.Printable(m.Text))
		return err
	}
}

// receiptPrinter returns what shows that a text is stored in the room, in the
// words that the echo has for it.
func receiptPrinter(w io.Writer, room string, asJSON bool) func(string, client.Receipt) error {
	show := printer(w, asJSON)
	encode := encoder(w)
	return func(text string, r client.Receipt) error {
		m := client.Message{User: "Server", Text: "Acknowledged: " + text, Time: r.Time, ID: r.ID, TraceID: r.TraceID}
		if !asJSON {
			return show(m)
		}
		return encode(acknowledgement{
			User: m.User, Message: m.Text, Timestamp: m.Timestamp(), ID: m.ID, TraceID: m.TraceID, Room: room, Sequence: r.Sequence,
		})
	}
}
