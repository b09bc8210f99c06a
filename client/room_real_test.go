package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/client/clienttest"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func withRooms(log room.Log) func(*server.Config) {
	return func(c *server.Config) { c.Rooms.Log = log }
}

func chatter(c *auth.MintClaims) {
	c.Scopes, c.Rooms = []string{"chat:read", "chat:write"}, []string{"*", "@*"}
}

// The real server and this client agree on the contract.
func TestRoomReal(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm, withRooms(roomtest.NewMemory()))
	alice := dial(t, realm.User("alice", chatter), address)
	zoe := dial(t, realm.User("zoe", chatter), address)
	here, there := join(t, alice, "@zoe"), join(t, zoe, "@alice")
	first, err := here.Send(patient(t), "hi", WithID("1"))
	must(t, err)
	again, err := here.Send(patient(t), "hi", WithID("1"))
	must(t, err)
	if first.Sequence == 0 || again.Sequence != first.Sequence || !again.Time.Equal(first.Time) {
		t.Errorf("got %+v, and for the same id %+v", first, again)
	}
	_, err = there.Send(patient(t), "hello")
	must(t, err)
	for _, r := range []*Room{here, there} {
		for _, m := range wantMessages(t, r, "hi", "hello") {
			if m.Own != (m.User == r.User()) {
				t.Errorf("got %+v", m)
			}
		}
	}
	var texts []string
	for m, err := range alice.History(patient(t), "@zoe", FromStart()) {
		must(t, err)
		texts = append(texts, m.Text)
	}
	if fmt.Sprint(texts) != "[hi hello]" {
		t.Errorf("got %q", texts)
	}
	for room, err := range alice.Rooms(patient(t)) {
		must(t, err)
		if room.Name != "@zoe" {
			t.Errorf("got %+v", room)
		}
	}
	members, err := alice.Members(patient(t), "@zoe")
	must(t, err)
	if len(members) != 2 {
		t.Errorf("got %+v", members)
	}
	_, err = alice.Join(patient(t), "Not A Room")
	wantReason(t, err, auth.RoomInvalid)
	_, err = dial(t, realm.User("mallory"), address).Join(patient(t), "ops")
	wantReason(t, err, auth.ScopeMissing)
}

// A log that cannot store ends the sender's stream. What was on its way is stored
// once it can.
func TestRoomLogUnavailable(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	log := roomtest.NewMemory()
	room := join(t, dial(t, realm.User("alice", chatter), startServer(t, realm, withRooms(log))), "ops")
	log.Fail(errors.New("the disk is full"))
	sent := blockedSend(room, patient(t), "one")
	e := wantNext[Reconnecting](t, room)
	if refused := wantReason(t, e.Err, auth.LogUnavailable); e.Wait < refused.RetryAfter || refused.RetryAfter == 0 {
		t.Errorf("waits %v, and the server asks for %v", e.Wait, refused.RetryAfter)
	}
	log.Fail(nil)
	must(t, <-sent)
	wantMessages(t, room, "one")
}

// A room's authority is refreshed as that of any stream, and where it has run out
// all the same, the next stream has that of the source's newest token.
func TestRoomOutlivesToken(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	address := startServer(t, realm, withRooms(roomtest.NewMemory()))
	first := halfAnHour()
	user := realm.User("alice", chatter, until(first))
	var source pocket
	listen, all := events()
	conn := dial(t, user, address, listen, source.of(user))
	kept := join(t, conn, "ops")
	renewed := user.Mint(chatter)
	source.Store(&renewed)
	due(conn)
	if e, ok := next(t, all).(Refreshed); !ok || e.Streams != 1 || !kept.Expires().After(first) {
		t.Errorf("got %+v, expires %v", e, kept.Expires())
	}

	lapsed, _ := inLife(t, 4*time.Second, func(ends time.Time) (*Room, error) {
		var late pocket
		other := user.Mint(chatter, until(ends))
		late.Store(&other)
		return dial(t, user, address, func(c *Config) {
			c.Token = TokenFunc(func(ctx context.Context) (string, error) {
				if token, err := late.Token(ctx); err == nil && token == other {
					late.Store(&renewed) // for whoever asks next
					return token, nil
				}
				return "", errAway
			})
		}).Join(patient(t), "ops", hurry{})
	})
	defer lapsed.Close()
	for e := wantNext[Reconnecting](t, lapsed); !errors.Is(e.Err, errAway); e = wantNext[Reconnecting](t, lapsed) {
		wantReason(t, e.Err, auth.TokenExpired)
	}
}

// Rooms move to a new certificate while they send and receive.
func TestRoomMoves(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	address := startServer(t, realm, withRooms(roomtest.NewMemory()))
	source := walletOf(realm.User("alice", chatter))
	listen, all := events()
	conn := dial(t, realm.User("alice"), address, listen, source.use)
	room := join(t, conn, "ops")
	var sender sync.WaitGroup
	stop := make(chan struct{})
	sender.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := room.Send(patient(t), fmt.Sprint(i)); err != nil {
				t.Errorf("send: %v", err)
				return
			}
		}
	})
	var reader sync.WaitGroup
	var got []Message
	reader.Go(func() {
		for event, err := range room.Events(patient(t)) {
			switch e := event.(type) {
			case Message:
				got = append(got, e)
				if e.Text == "the end" {
					return
				}
			case Live: // where a program that has had all this can come back to
				if len(got) > 0 && e.Sequence < got[len(got)-1].Sequence {
					t.Errorf("live at %d after %d", e.Sequence, got[len(got)-1].Sequence)
				}
			case Reconnecting:
				t.Errorf("it was reopened: %v", e.Err)
			}
			if err != nil {
				t.Errorf("receive: %v", err)
				return
			}
		}
	})
	var last *authtest.User
	for range 10 {
		last = realm.User("alice", chatter)
		source.rotate(last)
		wantMoved(t, all, 1)
	}
	close(stop)
	sender.Wait()
	_, err := room.Send(patient(t), "the end")
	must(t, err)
	reader.Wait()
	for i, m := range got[:len(got)-1] {
		if m.Text != fmt.Sprint(i) || i > 0 && m.Sequence <= got[i-1].Sequence {
			t.Fatalf("got %q (%d) at place %d", m.Text, m.Sequence, i)
		}
	}
	members, err := conn.Members(patient(t), "ops")
	must(t, err)
	if len(members) != 1 {
		t.Errorf("got %+v", members)
	}
	wantOn(t, room.stream, last)
	eventually(t, "the old lines stay", func() bool { return linesOf(conn) == 1 })
	must(t, room.Close())
	wantAllLeft(t, conn)
}

// A room whose certificate changes before it is live moves once it is.
func TestRoomMovesOnceLive(t *testing.T) {
	realm, server := startRooms(t)
	source := walletOf(realm.User("alice"))
	listen, all := events()
	conn := dial(t, nil, server.Address(), listen, source.use)
	server.Hold(true)
	var room *Room
	ctx, joined := patient(t), make(chan error, 1)
	go func() {
		var err error
		room, err = conn.Join(ctx, "ops")
		joined <- err
	}()
	eventually(t, "nobody joins", func() bool { return server.Streams("ops") == 1 })
	source.rotate(realm.User("alice"))
	eventually(t, "nobody looks", func() bool { return linesOf(conn) == 2 })
	server.Hold(false)
	must(t, <-joined)
	defer room.Close()
	wantMovedAtLast(t, all, 1)
	_, err := room.Send(ctx, "from there")
	must(t, err)
}

func linesOf(conn *Conn) int {
	conn.lines.mu.Lock()
	defer conn.lines.mu.Unlock()
	return len(conn.lines.open)
}

// A certificate that the server refuses leaves the room where it is.
func TestRoomMoveRefused(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	address := startServer(t, realm, withRooms(roomtest.NewMemory()))
	alice := realm.User("alice", chatter)
	source := walletOf(alice)
	listen, all := events()
	room := join(t, dial(t, alice, address, listen, source.use), "ops")
	source.rotate(realm.User("bob", chatter))
	if failed := wantMoveFailed(t, all); !errors.Is(failed.Err, ErrOtherUser) || !failed.Final {
		t.Errorf("got %+v", failed)
	}
	_, err := room.Send(patient(t), "still here")
	must(t, err)
	wantOn(t, room.stream, alice)
}

// The spans of a message that goes out twice are of one trace: send ends with the
// acknowledgement.
func TestRoomSpans(t *testing.T) {
	realm, server := startRooms(t)
	here := record(t)
	room := join(t, dial(t, realm.User("alice"), server.Address(), func(c *Config) { c.Tracing = here }), "ops")
	var once atomic.Bool
	server.Fault(func(m clienttest.Moment) error {
		if m == clienttest.Stored && once.CompareAndSwap(false, true) {
			if spans := here.named("send"); len(spans) != 0 {
				t.Errorf("send has ended before the acknowledgement")
			}
			return errLost
		}
		return nil
	})
	receipt, err := room.Send(patient(t), "the text")
	must(t, err)
	m := wantMessages(t, room, "the text")[0]
	sends, receives, connects := here.named("send"), here.named("receive"), here.named("connect")
	if len(sends) != 1 || len(connects) != 2 || len(receives) == 0 {
		t.Fatalf("got %d send, %d connect, %d receive", len(sends), len(connects), len(receives))
	}
	send := sends[0]
	if trace := send.SpanContext.TraceID().String(); trace != receipt.TraceID || trace != m.TraceID || receives[0].SpanContext.TraceID() != send.SpanContext.TraceID() {
		t.Errorf("got traces %s, %s, %s", trace, receipt.TraceID, m.TraceID)
	}
	if len(send.Links) != 1 || send.Links[0].SpanContext.SpanID() != connects[0].SpanContext.SpanID() {
		t.Error("send does not link to connect alone")
	}
	if connects[1].Parent.IsValid() || connects[1].SpanContext.TraceID() == connects[0].SpanContext.TraceID() {
		t.Error("reopening is in the trace of joining")
	}

	server.Hold(true)
	ctx, cancel := context.WithCancel(patient(t))
	sent := blockedSend(room, ctx, "given up")
	eventually(t, "it is not stored", func() bool { return len(server.Entries("ops")) == 2 })
	cancel()
	if err := <-sent; err == nil {
		t.Error("acknowledged")
	}
	if failed := here.named("send")[1]; failed.Status.Code != codes.Error {
		t.Errorf("got %+v, want an error", failed.Status)
	}
	for _, s := range here.spans.GetSpans() {
		for _, a := range s.Attributes {
			if value := a.Value.String(); value == "ops" || value == "the text" {
				t.Errorf("%s of %q is %q", a.Key, s.Name, value)
			}
		}
	}
}

// A room of the largest messages can be read whole, in both directions.
func TestHistoryReal(t *testing.T) {
	const total = 60
	log := roomtest.NewMemory()
	text := strings.Repeat("x", 255<<10)
	newest := uint64(0)
	for range total {
		sequence, err := log.Append(t.Context(), []room.Draft{{
			Entry: room.Entry{Room: "lobby", User: "zoe", Text: text}, Expected: newest,
		}})
		must(t, err)
		newest = sequence
	}
	realm := authtest.NewRealm(t)
	alice := dial(t, realm.User("alice", chatter), startServer(t, realm, withRooms(log)))
	for name, options := range map[string][]HistoryOption{"backwards": nil, "forwards": {FromStart()}} {
		count := 0
		for _, err := range alice.History(patient(t), "lobby", options...) {
			must(t, err)
			count++
		}
		if count != total {
			t.Errorf("%s: %d messages, want %d", name, count, total)
		}
	}
}
