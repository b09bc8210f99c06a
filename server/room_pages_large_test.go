package server_test

import (
	"slices"
	"strings"
	"testing"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// Whoever has grpc-go's own bound on an answer, 4 MiB, can page through the largest
// messages, in both directions.
func TestHistoryOfLargeMessages(t *testing.T) {
	const total = 60
	log := roomtest.NewMemory()
	text := strings.Repeat("x", 255<<10)
	var want []uint64
	for newest := uint64(0); len(want) < total; {
		draft := room.Draft{Entry: room.Entry{Room: "lobby", User: "alice", Text: text}, Expected: newest}
		sequence, err := log.Append(t.Context(), []room.Draft{draft})
		if err != nil {
			t.Fatal(err)
		}
		newest = sequence
		want = append(want, sequence)
	}
	c := openRooms(t, onLog(log))
	client := c.client(c.realm.User("carol", rights("r", "lobby")))
	page := func(request *chatpb.HistoryRequest) (sequences []uint64, more bool) {
		request.Room = "lobby"
		answer, err := client.History(t.Context(), request)
		if err != nil {
			t.Fatalf("%v: %v", request, err)
		}
		for _, m := range answer.Messages {
			sequences = append(sequences, m.Sequence)
		}
		return sequences, answer.More
	}
	var backwards, forwards []uint64
	for before, more := uint64(1)<<62, true; more; {
		var sequences []uint64
		sequences, more = page(&chatpb.HistoryRequest{Before: &before, Limit: 1000})
		backwards, before = append(sequences, backwards...), sequences[0]
	}
	for after, more := uint64(0), true; more; {
		var sequences []uint64
		sequences, more = page(&chatpb.HistoryRequest{After: &after, Limit: 1000})
		forwards, after = append(forwards, sequences...), sequences[len(sequences)-1]
	}
	for direction, got := range map[string][]uint64{"backwards": backwards, "forwards": forwards} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d messages, want %d", direction, len(got), total)
		}
	}
}
