package roomtest_test

import (
	"strings"
	"testing"

	"securechat/server/room/roomtest"
)

func TestAHistoryTellsWhatIsWrong(t *testing.T) {
	message := func(sequence uint64, id string) roomtest.Message {
		return roomtest.Message{Sequence: sequence, User: "alice", ID: id, Text: "text " + id}
	}
	cases := []struct {
		name string
		do   func(h *roomtest.History)
		want string // part of the error; "" for none
	}{
		{"lost", func(h *roomtest.History) {
			h.Acknowledged("alice", "1", 2)
			h.Acknowledged("alice", "2", 3)
			h.Reader("bob", 1).Saw(message(3, "2"))
		}, "was not sent 2"},
		{"lost at the end", func(h *roomtest.History) {
			h.Acknowledged("alice", "1", 2)
			h.Acknowledged("alice", "2", 3)
			h.Reader("bob", 1).Saw(message(2, "1"))
		}, "nobody has read further than 2"},
		{"lost for one reader", func(h *roomtest.History) {
			h.Reader("bob", 1).Saw(message(2, "1"))
			carol := h.Reader("carol", 1)
			carol.Saw(message(3, "2"))
		}, "was not sent 2"},
		{"doubled", func(h *roomtest.History) {
			bob := h.Reader("bob", 1)
			bob.Saw(message(2, "1"))
			bob.Saw(message(3, "1"))
		}, "stored at 2 and at 3"},
		{"repeated", func(h *roomtest.History) {
			bob := h.Reader("bob", 1)
			bob.Saw(message(2, "1"))
			bob.Saw(message(2, "1"))
		}, "is sent 2 after 2"},
		{"out of order", func(h *roomtest.History) {
			bob := h.Reader("bob", 1)
			bob.Saw(message(3, "2"))
			bob.Saw(message(2, "1"))
		}, "is sent 2 after 3"},
		{"acknowledged twice", func(h *roomtest.History) {
			h.Acknowledged("alice", "1", 2)
			h.Acknowledged("alice", "1", 3)
		}, "acknowledged at 2 and at 3"},
		{"one place for two", func(h *roomtest.History) {
			h.Acknowledged("alice", "1", 2)
			h.Acknowledged("alice", "2", 2)
		}, "2 is acknowledged for"},
		{"different for two readers", func(h *roomtest.History) {
			h.Reader("bob", 1).Saw(message(2, "1"))
			h.Reader("carol", 1).Saw(message(2, "2"))
		}, "for carol"},
		{"never posted", func(h *roomtest.History) {
			h.Reader("bob", 1).Saw(message(2, "9"))
		}, "nobody posted"},
		{"changed", func(h *roomtest.History) {
			h.Reader("bob", 1).Saw(roomtest.Message{Sequence: 2, User: "alice", ID: "1", Text: "other"})
		}, "nobody posted"},
		{"another's", func(h *roomtest.History) {
			h.Reader("bob", 1).Saw(roomtest.Message{Sequence: 2, User: "mallory", ID: "1", Text: "text 1"})
		}, "nobody posted"},
		{"a sender's order", func(h *roomtest.History) {
			h.Acknowledged("alice", "2", 2)
			h.Acknowledged("alice", "1", 3)
		}, "and it is at 2"},
		{"right", func(h *roomtest.History) {
			h.Acknowledged("alice", "1", 2)
			h.Acknowledged("alice", "1", 2)
			bob := h.Reader("bob", 1)
			bob.Saw(message(2, "1"))
			bob.Saw(message(4, "2"))
			carol := h.Reader("carol", 2)
			carol.Saw(message(4, "2"))
			h.Reader("dave", 3)
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := roomtest.NewHistory()
			h.Posting("alice", "alice", "1", "text 1")
			h.Posting("alice", "alice", "2", "text 2")
			c.do(h)
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
