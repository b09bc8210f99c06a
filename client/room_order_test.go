package client

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// What a stream brings is told in order, each message once, wherever the
// acknowledgement of one that has gone out again stands.
func TestRoomTake(t *testing.T) {
	said := func(sequence uint64) Message { return Message{Kind: KindMessage, User: "bob", Sequence: sequence} }
	mine := func(sequence uint64) Message {
		return Message{Kind: KindMessage, User: "alice", ID: "mine", Sequence: sequence}
	}
	acknowledged := func(sequence uint64) Message {
		return Message{Kind: KindAcknowledgement, User: chatpb.ServerUser, ID: "mine", Sequence: sequence}
	}
	tests := []struct {
		name   string
		resent bool
		brings []Message
		want   []uint64
		cursor uint64 // where the next stream begins
	}{
		{"at its place", false, []Message{said(2), acknowledged(3), said(4)}, []uint64{2, 3, 4}, 4},
		{"at its place, sent again", true, []Message{said(2), acknowledged(3), said(4)}, []uint64{2, 3, 4}, 4},
		{"missed, and acknowledged then", true, []Message{said(2), mine(3), acknowledged(3), said(4)}, []uint64{2, 3, 4}, 4},
		{"missed, and acknowledged later", true, []Message{mine(2), said(3), acknowledged(2), said(4)}, []uint64{2, 3, 4}, 4},
		{"before its place", true, []Message{acknowledged(4), said(2), said(3), mine(4), said(5)}, []uint64{4, 2, 3, 5}, 5},
		// Nobody knows yet whether something stands before it.
		{"perhaps before its place", true, []Message{said(2), acknowledged(4)}, []uint64{2, 4}, 2},
		{"perhaps before its place, and come again", true, []Message{acknowledged(3), said(2), mine(3)}, []uint64{3, 2}, 3},
		{"repeated", false, []Message{said(2), said(2), said(3), said(2)}, []uint64{2, 3}, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &Posted{id: "mine", done: make(chan struct{}), sent: true, resent: test.resent}
			r := &Room{user: "alice", placed: true, seen: 1, kept: 1, begun: true, slots: make(chan struct{}, 1), pending: []*Posted{p}, sent: 1}
			p.room = r
			r.slots <- struct{}{}
			var got []uint64
			for _, m := range test.brings {
				if event := r.take(m); event != nil {
					if !r.keep(event) {
						t.Fatal("the backlog is full")
					}
					got = append(got, event.(Message).Sequence)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if r.seen != test.cursor || r.kept != test.cursor {
				t.Errorf("goes on from %d, and the program from %d, want %d", r.seen, r.kept, test.cursor)
			}
		})
	}
}

// Another user's message is no acknowledgement, though it has the id of one's own:
// ids are seen by everybody in the room.
func TestRoomTakeOthersID(t *testing.T) {
	p := &Posted{id: "mine", done: make(chan struct{}), sent: true}
	r := &Room{user: "alice", placed: true, seen: 1, kept: 1, begun: true, slots: make(chan struct{}, 1), pending: []*Posted{p}, sent: 1}
	p.room = r
	r.slots <- struct{}{}
	if m, ok := r.take(Message{Kind: KindMessage, User: "bob", ID: "mine", Sequence: 2}).(Message); !ok || m.Own {
		t.Errorf("got %+v, want bob's message", m)
	}
	if p.settled || len(r.pending) != 1 {
		t.Errorf("it is acknowledged at %d", p.receipt.Sequence)
	}
	r.take(Message{Kind: KindAcknowledgement, User: chatpb.ServerUser, ID: "mine", Sequence: 3})
	if !p.settled || p.receipt.Sequence != 3 {
		t.Errorf("it is acknowledged at %d, want 3", p.receipt.Sequence)
	}
}

// What was told early is not told again when the room goes back to where the
// program is.
func TestRoomTakeEarlyAndAhead(t *testing.T) {
	p := &Posted{id: "mine", done: make(chan struct{}), sent: true, resent: true}
	r := &Room{user: "alice", placed: true, seen: 1, kept: 1, begun: true, slots: make(chan struct{}, 1), pending: []*Posted{p}, sent: 1}
	p.room = r
	r.slots <- struct{}{}
	bring := func(m Message) bool {
		event := r.take(m)
		return event != nil && r.keep(event)
	}
	if !bring(Message{Kind: KindAcknowledgement, ID: "mine", Sequence: 3}) {
		t.Error("the acknowledgement is not told")
	}
	r.ahead = true
	bring(Message{Kind: KindMessage, User: "bob", Sequence: 2})
	bring(Message{Kind: KindMessage, User: "alice", Sequence: 3})
	bring(Message{Kind: KindMessage, User: "bob", Sequence: 4})
	r.rewind = true
	if _, rewind := r.next(); !rewind || r.seen != 1 {
		t.Fatalf("goes on from %d, want 1", r.seen)
	}
	for _, again := range []struct {
		sequence uint64
		told     bool
	}{{2, true}, {3, false}, {4, true}} {
		if told := bring(Message{Kind: KindMessage, User: "alice", Sequence: again.sequence}); told != again.told {
			t.Errorf("%d: told %v, want %v", again.sequence, told, again.told)
		}
	}
}

// What the program was given, before anybody knew that nothing stands before it, is
// not told again either where what came next was dropped.
func TestRoomTakeEarlyAndDrop(t *testing.T) {
	for name, next := range map[string]Message{
		"a message": {Kind: KindMessage, User: "bob", Sequence: 3},
		"live":      {Kind: KindLive, Sequence: 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Posted{id: "mine", done: make(chan struct{}), sent: true, resent: true}
			r := &Room{conn: &Conn{mover: &mover{}}, user: "alice", placed: true, seen: 1, kept: 1, begun: true, slots: make(chan struct{}, 1), pending: []*Posted{p}, sent: 1}
			p.room = r
			r.slots <- struct{}{}
			if e := r.take(Message{Kind: KindAcknowledgement, ID: "mine", Sequence: 2}); e == nil || !r.keep(e) {
				t.Fatal("the acknowledgement is not told")
			}
			e := r.take(next)
			r.ahead, r.rewind = true, true
			r.keep(e)
			if _, back := r.next(); !back {
				t.Fatal("the room does not go back")
			}
			if r.take(Message{Kind: KindMessage, User: "alice", ID: "mine", Sequence: 2}) != nil {
				t.Error("it is told again")
			}
			if e := r.take(Message{Kind: KindMessage, User: "bob", Sequence: 3}); e == nil || !r.keep(e) {
				t.Error("what was dropped is not told")
			}
			if r.kept != 3 || len(r.early) > 0 {
				t.Errorf("the program has all up to %d and early %v", r.kept, r.early)
			}
		})
	}
}

// A stream that was opened for a new certificate takes over from where it begins. A
// room that goes back to what its program has read does without.
func TestRoomNext(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	for _, rewind := range []bool{false, true} {
		waiting, err := conn.Open(patient(t))
		must(t, err)
		defer waiting.Close()
		r := &Room{successor: waiting, seen: 9, kept: 3, rewind: rewind, ahead: rewind}
		successor, back := r.next()
		if back != rewind || (successor == nil) != rewind || (waiting.ctx.Err() != nil) != rewind || r.successor != nil {
			t.Errorf("goes back %v: takes the successor %v, which has ended %v", rewind, successor != nil, waiting.ctx.Err() != nil)
		}
	}
}

// What goes out again waits until the stream is live, and what is newer waits
// behind it. What is new goes out at once.
func TestRoomDue(t *testing.T) {
	again, fresh := &Posted{text: "again", sent: true}, &Posted{text: "fresh"}
	r := &Room{pending: []*Posted{again, fresh}}
	if m := r.due(); m != nil {
		t.Errorf("got %v before the stream is live", m)
	}
	r.live = true
	for _, want := range []*Posted{again, fresh} {
		if m := r.due(); m.GetMessage() != want.text || want.resent != (want == again) {
			t.Errorf("got %v, sent again %v, want %q", m, want.resent, want.text)
		}
	}
	if m := r.due(); m != nil {
		t.Errorf("got %v, want no more", m)
	}
	r = &Room{pending: []*Posted{{text: "new"}}}
	if m := r.due(); m.GetMessage() != "new" {
		t.Errorf("got %v, want what is new", m)
	}
}

// A room runs ahead of a program only while that has something to read, and only
// for acknowledgements: nobody else would have it go back.
func TestRoomRunAhead(t *testing.T) {
	full := backlog{events: make([]RoomEvent, backlogEvents)}
	due := []*Posted{{}}
	for name, test := range map[string]struct {
		room *Room
		want bool
	}{
		"the program has just read all": {&Room{pending: due}, false},
		"nothing is due":                {&Room{backlog: full}, false},
		"both":                          {&Room{backlog: full, pending: due}, true},
	} {
		if test.room.runAhead(Message{}); test.room.ahead != test.want {
			t.Errorf("%s: got %v, want %v", name, test.room.ahead, test.want)
		}
	}
}

// Several may read a room: one that takes an event leaves word of the next.
func TestRoomReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Room{arrived: make(chan struct{}, 1), taken: make(chan struct{}, 1), over: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const readers = 3
		var taken atomic.Int32
		for range readers {
			go func() {
				if e, err := r.Next(ctx); e != nil && err == nil {
					taken.Add(1)
				}
			}()
		}
		synctest.Wait()
		r.mu.Lock()
		for range readers {
			r.backlog.add(Message{})
		}
		r.mu.Unlock()
		signal(r.arrived)
		synctest.Wait()
		if n := taken.Load(); n != readers {
			t.Errorf("%d of %d have an event", n, readers)
		}
	})
}

// A stream that was asked for from further on than the room has gone back to
// meanwhile is none to go on with.
func TestRoomAttach(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	for _, rewind := range []bool{false, true} {
		r := &Room{conn: conn, wake: make(chan struct{}, 1), rewind: rewind}
		if fits := r.attach(open(t, conn)); fits == rewind {
			t.Errorf("goes back %v: the stream fits %v", rewind, fits)
		}
	}
}

// Attempts are counted from a stream that was live for a while or has brought
// something new, and no other.
func TestRoomTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Room{ctx: t.Context(), conn: &Conn{}, first: firstReopening, arrived: make(chan struct{}, 1), user: "alice", placed: true, seen: 9}
		pause := func(lived time.Duration, want uint) {
			t.Helper()
			r.lives = time.Now().Add(-lived)
			must(t, r.pause(errLost))
			if r.tries != want {
				t.Errorf("lived %v: this was attempt %d, want %d", lived, r.tries, want)
			}
		}
		pause(time.Millisecond, 1)
		pause(longestReopening-time.Millisecond, 2)
		pause(longestReopening, 1)
		must(t, r.pause(errLost))
		if r.tries != 2 {
			t.Errorf("what one stream was counts for attempt %d", r.tries)
		}
		r.take(Message{Kind: KindMessage, User: "bob", Sequence: 9})
		pause(0, 3) // nothing new
		r.take(Message{Kind: KindMessage, User: "bob", Sequence: 10})
		pause(0, 1)
		p := &Posted{id: "mine", room: r, done: make(chan struct{}), sent: true, resent: true}
		r.pending, r.sent, r.slots = []*Posted{p}, 1, make(chan struct{}, 1)
		r.slots <- struct{}{}
		r.take(Message{Kind: KindAcknowledgement, ID: "mine", Sequence: 8})
		pause(0, 1)
	})
}

// An authority that has run out may have a successor, for a stream that was admitted.
func TestRoomFinal(t *testing.T) {
	for _, reason := range []auth.Reason{auth.TokenExpired, auth.TokenKeyRetired, auth.CertificateExpired, auth.SessionExpired} {
		e := &Error{Code: codes.Unauthenticated, Reason: reason}
		if r := new(Room); r.final(e, true) || !r.final(e, false) {
			t.Errorf("%s: final %v once admitted, %v when refused", reason, r.final(e, true), r.final(e, false))
		}
	}
}
