package room_test

import (
	"context"
	"strings"
	"testing"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// A member is given little of a replay at a time, however large the messages are,
// and it is read about once.
func TestAReplayOfLargeMessages(t *testing.T) {
	for name, sizes := range map[string][]int{
		"all large":       {256 << 10},
		"large after few": {10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 100 << 10, 100 << 10, 100 << 10, 100 << 10},
		"of all sizes":    {1 << 10, 128 << 10, 8 << 10, 64 << 10, 40 << 10},
		"small":           {1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			const total = 200
			log := &readLog{Memory: roomtest.NewMemory()}
			newest, bytes := uint64(0), 0
			for i := range total {
				text := strings.Repeat("x", sizes[i%len(sizes)])
				sequence, err := log.Append(t.Context(), []room.Draft{{
					Entry: room.Entry{Room: "ops", User: "alice", Text: text}, Expected: newest,
				}})
				if err != nil {
					t.Fatal(err)
				}
				newest = sequence
				bytes += len(text)
			}
			reader := join(t, newHub(t, room.Config{Log: log}), "ops", "bob", beginning)
			events := make([]room.Event, 128)
			count := 0
			for live := false; !live; {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				n, err := reader.Next(ctx, events)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				size := 0
				for _, e := range events[:n] {
					switch size += len(e.Wire); e.Kind {
					case chatpb.Kind_MESSAGE:
						count++
					case chatpb.Kind_LIVE:
						live = true
					}
				}
				if size > 128<<10 && n > 1 {
					t.Errorf("%d events of %d bytes at a time", n, size)
				}
			}
			if count != total {
				t.Errorf("%d messages, want %d", count, total)
			}
			if read := int(log.bytes.Load()); read > 3*bytes+1<<20 {
				t.Errorf("%d bytes are read for %d", read, bytes)
			}
		})
	}
}
