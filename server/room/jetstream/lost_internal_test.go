package jetstream

import (
	"testing"

	"github.com/nats-io/nats.go"

	"securechat/server/room"
)

// A server to which a connection is lost is replaced: the connection is not made again.
func TestALostConnectionIsReplaced(t *testing.T) {
	for name, of := range map[string]func(*instance) *nats.Conn{
		"writes": func(in *instance) *nats.Conn { return in.writes },
		"asks":   func(in *instance) *nats.Conn { return in.asks },
		"reads":  func(in *instance) *nats.Conn { return in.reads },
	} {
		t.Run(name, func(t *testing.T) {
			l, a := logWith(t, room.Draft{Entry: room.Entry{Room: "ops", User: "alice"}})
			if _, err := l.current.try(t.Context(), a, 1); err != nil {
				t.Fatal(err)
			}
			of(l.current).Close()
			newest, err := l.Newest(t.Context(), "ops")
			if err != nil {
				t.Error(err)
			}
			if entries, _, err := l.Read(t.Context(), "ops", 0, 10); len(entries) != 1 || err != nil {
				t.Errorf("the room reads %v, %v", entries, err)
			}
			drafts := []room.Draft{{Entry: room.Entry{Room: "ops", User: "alice"}, Expected: newest}}
			if _, err := l.Append(t.Context(), drafts); err != nil {
				_, err = l.Append(t.Context(), drafts) // the first finds it out
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
