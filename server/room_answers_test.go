package server_test

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	chatpb "securechat/proto/chat"
	"securechat/server"
)

// Answers that their caller does not take are held, so there are few of them at a
// time: the caller's other calls wait. Others' do not.
func TestAnswersThatAreNotTaken(t *testing.T) {
	const calls, places = 30, 8
	request, err := proto.Marshal(&chatpb.HistoryRequest{Room: "held", After: proto.Uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(c *client, streams []uint32){
		"taken at last": func(c *client, streams []uint32) {
			for _, stream := range streams {
				_ = c.WriteWindowUpdate(stream, 1000)
			}
		},
		"given up": func(c *client, streams []uint32) {
			for _, stream := range streams {
				_ = c.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
		},
		"with the connection": func(c *client, _ []uint32) { _ = c.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			log := newHeldLog(t)
			log.letGo()       // it counts only
			log.fill(t, 1, 1) // of a room without any the newest is asked for, too
			c := openRooms(t, onLog(log))
			alice, bob := c.member("alice"), c.client(c.member("bob"))
			raw := abuse(t, c.address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			var streams []uint32
			for range calls {
				stream := raw.open(chatpb.Chat_History_FullMethodName, alice.Token)
				if err := raw.WriteData(stream, true, message(request)); err != nil {
					t.Fatal(err)
				}
				streams = append(streams, stream)
			}
			waitFor(t, "answers", func() bool { return log.held.Load() >= places })
			for range calls {
				if _, err := bob.History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"}); err != nil {
					t.Fatalf("another caller: %v", err)
				}
			}
			if n := log.held.Load(); n != places {
				t.Errorf("%d answers are held, want %d", n, places)
			}
			end(raw, streams)
			again := c.client(alice)
			for range 2 * places {
				if _, err := again.History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"}); err != nil {
					t.Fatalf("the caller itself: %v", err)
				}
			}
		})
	}
}

// A connection that is dead while it has all of its caller's places locks the caller
// out for no longer than the end of a call may be left untaken.
func TestAnswersOnADeadConnection(t *testing.T) {
	const places = 8
	log := newHeldLog(t)
	log.letGo()             // it counts only
	log.fill(t, 8, 100<<10) // more than the transport takes at once
	c := openRooms(t, onLog(log), func(config *server.Config) {
		config.Limits = server.Limits{Unary: time.Second, Stall: 500 * time.Millisecond}
	})
	alice := c.member("alice")
	request, err := proto.Marshal(&chatpb.HistoryRequest{Room: "held", After: proto.Uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	raw := abuse(t, c.address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for range places {
		if err := raw.WriteData(raw.open(chatpb.Chat_History_FullMethodName, alice.Token), true, message(request)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "answers", func() bool { return log.held.Load() >= places })
	again := c.client(alice)
	waitFor(t, "place, while nobody closes the dead one", func() bool {
		_, err := again.History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"})
		return err == nil
	})
}
