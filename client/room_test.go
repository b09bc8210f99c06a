package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/client/clienttest"
	chatpb "securechat/proto/chat"
)

// Who is not let in learns why from Join itself.
func TestJoinRefused(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	ended, cancel := context.WithCancel(context.Background())
	cancel()

	t.Run("no name", func(t *testing.T) {
		if _, err := conn.Join(patient(t), ""); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("denied", func(t *testing.T) {
		server.Refuse(refusal(auth.RoomDenied))
		defer server.Refuse(nil)
		_, err := conn.Join(patient(t), "ops")
		if wantReason(t, err, auth.RoomDenied).Retryable() {
			t.Error("it can be retried")
		}
	})
	t.Run("cursor is too old", func(t *testing.T) {
		server.Say("ops", "bob", "one")
		server.Discard("ops", server.Say("ops", "bob", "two"))
		_, err := conn.Join(patient(t), "ops", After(2))
		if gone := wantReason(t, err, auth.CursorGone); gone.Oldest != 3 || gone.Code != codes.OutOfRange || gone.Retryable() {
			t.Errorf("got %+v, want the oldest, 3", gone)
		}
		if !strings.HasSuffix(err.Error(), "(CURSOR_GONE, oldest 3)") {
			t.Errorf("who reads %q does not know where to begin", err)
		}
	})
	t.Run("context has ended", func(t *testing.T) {
		if _, err := conn.Join(ended, "ops"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("context ends before the room begins", func(t *testing.T) {
		server.Hold(true)
		defer server.Hold(false)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			eventually(t, "nobody joins", func() bool { return server.Streams("ops") > 0 })
			cancel()
		}()
		if _, err := conn.Join(ctx, "ops"); status.Code(err) != codes.Canceled || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		eventually(t, "the stream stays", func() bool { return server.Streams("ops") == 0 })
	})
	t.Run("nobody is there", func(t *testing.T) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, closed.Close())
		_, err = dial(t, realm.User("alice"), closed.Addr().String()).Join(patient(t), "ops")
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != codes.Unavailable || !refused.Retryable() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the connection is closed", func(t *testing.T) {
		closed := dial(t, realm.User("alice"), server.Address())
		must(t, closed.Close())
		if _, err := closed.Join(patient(t), "ops"); status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

// Two users in a room see one order, their own messages in it.
func TestRoom(t *testing.T) {
	realm, server := startRooms(t)
	server.Say("ops", "carol", "before anybody came")
	alice := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	bob := join(t, dial(t, realm.User("bob"), server.Address()), "ops", FromStart())
	if alice.Name() != "ops" || alice.User() != "alice" {
		t.Errorf("got %q as %q", alice.Name(), alice.User())
	}
	var receipts []Receipt
	for _, text := range []string{"one", "", "Acknowledged: three"} {
		from := alice
		if text == "" {
			from = bob
		}
		receipt, err := from.Send(patient(t), text, WithID("id "+text))
		must(t, err)
		receipts = append(receipts, receipt)
	}
	wantMessages(t, bob, "before anybody came")
	for _, room := range []*Room{alice, bob} {
		got := wantMessages(t, room, "one", "", "Acknowledged: three")
		wantLog(t, got, server.Entries("ops")[1:])
		for i, m := range got {
			if m.Own != (m.User == room.User()) || m.Sequence != receipts[i].Sequence || !m.Time.Equal(receipts[i].Time) || receipts[i].ID != "id "+m.Text {
				t.Errorf("%s got %+v, with %+v", room.User(), m, receipts[i])
			}
		}
	}
	must(t, bob.Close())
	if left := wantNext[Left](t, alice); left.User != "bob" || left.Time.IsZero() {
		t.Errorf("got %+v", left)
	}
}

// Names outside ASCII reach the server.
func TestRoomOfTwo(t *testing.T) {
	realm, server := startRooms(t)
	alice := join(t, dial(t, realm.User("alice"), server.Address()), "@Jürgen 100%")
	_, err := alice.Send(patient(t), "hi")
	must(t, err)
	if got := server.Entries("@Jürgen 100%/alice"); len(got) != 1 || got[0].Text != "hi" {
		t.Errorf("got %+v", got)
	}
}

// Each kind of event is told as what it is, in order.
func TestRoomEvents(t *testing.T) {
	realm, server := startRooms(t)
	from := server.Say("ops", "bob", "one")
	server.Say("ops", "bob", "two")
	alice := join(t, dial(t, realm.User("alice"), server.Address()), "ops", After(from))
	wantMessages(t, alice, "two")
	if live := wantNext[Live](t, alice); live.Sequence != from+1 {
		t.Errorf("got %+v, want the sequence to come back to, %d", live, from+1)
	}
	server.Announce("ops", "carol", chatpb.Kind_JOINED)
	server.Announce("ops", "carol", chatpb.Kind_TYPING)
	server.Announce("ops", "carol", chatpb.Kind_LEFT)
	if e := wantNext[Joined](t, alice); e.User != "carol" && e.User != "alice" {
		t.Errorf("got %+v", e)
	}
	if e := wantNext[Typing](t, alice); e.User != "carol" || e.Time.IsZero() {
		t.Errorf("got %+v", e)
	}
	if e := wantNext[Left](t, alice); e.User != "carol" {
		t.Errorf("got %+v", e)
	}
	bob := join(t, dial(t, realm.User("bob"), server.Address()), "ops")
	bob.Typing()
	if e := wantNext[Typing](t, alice); e.User != "bob" {
		t.Errorf("got %+v", e)
	}

	server.End(refusal(auth.SlowConsumer))
	if e := wantNext[Reconnecting](t, alice); e.Err == nil {
		t.Errorf("got %+v, want the reason", e)
	}
	wantNext[Reconnected](t, alice)
	wantNext[Live](t, alice)
}

// What ends a stream ends the room only where no other stream can help.
func TestRoomEnds(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	for _, reason := range []auth.Reason{
		auth.Expelled, auth.RoomDenied, auth.ScopeMissing, auth.TokenRevoked, auth.CertificateRevoked,
		auth.MessageTooLarge, auth.MessageInvalid, auth.CursorGone, auth.MethodDenied, auth.Internal,
	} {
		t.Run(string(reason), func(t *testing.T) {
			room := join(t, conn, "ops")
			server.Hold(true)
			defer server.Hold(false)
			sent := blockedSend(room, patient(t), "on its way")
			eventually(t, "it is not stored", func() bool {
				entries := server.Entries("ops")
				return len(entries) > 0 && entries[len(entries)-1].Text == "on its way"
			})
			server.End(refusal(reason))
			var err error
			for err == nil {
				_, err = room.Next(patient(t))
			}
			wantReason(t, err, reason)
			if err := <-sent; !errors.Is(err, ErrUnconfirmed) {
				t.Errorf("Send under way: got %v, want ErrUnconfirmed", err)
			} else {
				wantReason(t, err, reason)
			}
			if _, err := room.Send(patient(t), "late"); errors.Is(err, ErrUnconfirmed) {
				t.Errorf("Send after the end: got %v", err)
			} else {
				wantReason(t, err, reason)
			}
			if _, again := room.Next(patient(t)); again != err {
				t.Errorf("the second time: got %v", again)
			}
			server.Discard("ops", 1<<62)
		})
	}
}

func TestRoomSurvives(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	for name, end := range map[string]error{
		"connection lost":     nil,
		"unavailable":         errLost,
		"draining":            auth.Refuse(auth.Draining, nil).After(1).GRPCStatus().Err(),
		"log unavailable":     refusal(auth.LogUnavailable),
		"slow":                refusal(auth.SlowConsumer),
		"token expired":       refusal(auth.TokenExpired), // there may be another
		"certificate expired": refusal(auth.CertificateExpired),
		"long lived":          refusal(auth.SessionExpired),
		"in good order":       clienttest.InGoodOrder,
		"torn":                status.Error(codes.Internal, "stream terminated by RST_STREAM"),
	} {
		t.Run(name, func(t *testing.T) {
			if end != nil {
				server.End(end)
			} else {
				server.Drop()
			}
			wantNext[Reconnecting](t, room)
			_, err := room.Send(patient(t), name)
			must(t, err)
			wantMessages(t, room, name)
		})
	}
}

// A refusal of the next stream is final, save what may pass.
func TestRoomReopeningRefused(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	for reason, final := range map[auth.Reason]bool{
		auth.TokenExpired: true, auth.RoomDenied: true, auth.CursorGone: true,
		auth.Draining: false, auth.TooManyStreams: false, auth.TokenKeyUnknown: false,
	} {
		t.Run(string(reason), func(t *testing.T) {
			room := join(t, conn, "ops")
			server.Refuse(refusal(reason))
			defer server.Refuse(nil)
			server.Drop()
			if final {
				_, err := room.Receive(patient(t))
				wantReason(t, err, reason)
				return
			}
			for range 3 {
				for e := wantNext[Reconnecting](t, room); ; e = wantNext[Reconnecting](t, room) {
					if again, _ := auth.ReasonOf(e.Err); again == reason {
						break
					}
				}
			}
			server.Refuse(nil)
			wantNext[Reconnected](t, room)
		})
	}
}

// A stream of another user's is no successor.
func TestRoomOtherUser(t *testing.T) {
	realm, server := startRooms(t)
	source := &swap{}
	source.Store(realm.User("alice").Certificates)
	room := join(t, dial(t, realm.User("alice"), server.Address(), func(c *Config) { c.Certificates = source }), "ops")
	source.Store(realm.User("bob").Certificates)
	server.Drop()
	if _, err := room.Receive(patient(t)); !errors.Is(err, ErrOtherUser) {
		t.Errorf("got %v, want ErrOtherUser", err)
	}
}

func TestRoomClose(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	t.Run("room", func(t *testing.T) { wantClosed(t, server, join(t, conn, "ops"), (*Room).Close, ErrClosed) })
	t.Run("connection", func(t *testing.T) {
		wantClosed(t, server, join(t, conn, "ops"), func(*Room) error { return conn.Close() }, nil)
	})
}

// wantClosed has end close the room while a Send and a Next are blocked.
func wantClosed(t *testing.T, server *clienttest.Server, room *Room, end func(*Room) error, want error) {
	wantNext[Live](t, room)
	server.Hold(true)
	defer server.Hold(false)
	stored := len(server.Entries("ops"))
	sent := blockedSend(room, context.Background(), "x")
	eventually(t, "it is not stored", func() bool { return len(server.Entries("ops")) > stored })
	received := make(chan error, 1)
	go func() {
		_, err := room.Receive(context.Background())
		received <- err
	}()
	must(t, end(room))
	select {
	case <-room.over:
	default:
		t.Error("what belongs to the room is not waited for")
	}
	got := <-received
	if want != nil && got != want || want == nil && status.Code(got) != codes.Canceled {
		t.Errorf("Receive: got %v, want %v", got, want)
	}
	if err := <-sent; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, got) {
		t.Errorf("Send: got %v, want ErrUnconfirmed and %v", err, got)
	}
	must(t, room.Close())
	eventually(t, "the stream stays", func() bool { return server.Streams("ops") == 0 })
}
