package room_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// recorded is a room whose participants are recorded.
type recorded struct {
	t       testing.TB
	key     room.Key
	history *roomtest.History
	tasks   sync.WaitGroup
}

func record(t testing.TB, key room.Key) *recorded {
	return &recorded{t: t, key: key, history: roomtest.NewHistory()}
}

// talk posts count messages as a sender of the user's, and reads on the same
// session until all are acknowledged.
func (r *recorded) talk(hub *room.Hub, user, sender string, count int) {
	r.tasks.Go(func() {
		m, err := hub.Join(context.Background(), r.key, user, live)
		if err != nil {
			r.t.Errorf("%s joins: %v", sender, err)
			return
		}
		defer m.Leave()
		posted := make(chan struct{})
		go func() {
			defer close(posted)
			for i := range count {
				id := fmt.Sprintf("%s-%d", sender, i)
				r.history.Posting(sender, user, id, "text of "+id)
				if err := m.Post(context.Background(), room.Posting{ID: id, Text: "text of " + id}); err != nil {
					r.t.Errorf("%s posts: %v", sender, err)
					return
				}
			}
		}()
		r.read(m, sender, func(acknowledged int, _ uint64) bool { return acknowledged == count })
		<-posted
	})
}

// read records what a member that begins live is sent until done says so of the
// number of acknowledgements and the last sequence.
func (r *recorded) read(m *room.Member, name string, done func(acknowledged int, last uint64) bool) {
	var reader *roomtest.Reader
	r.events(m, name, func(e room.Event, acknowledged int) bool {
		switch {
		case e.Kind == chatpb.Kind_LIVE:
			reader = r.history.Reader(name, e.Sequence)
		case e.Kind == chatpb.Kind_MESSAGE, e.Entry.Sequence > reader.Cursor(): // no acknowledgement of something older
			reader.Saw(message(e.Entry))
		}
		return done(acknowledged, reader.Cursor())
	})
}

// events reads until each says that it has had enough.
func (r *recorded) events(m *room.Member, name string, each func(e room.Event, acknowledged int) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	events := make([]room.Event, 7)
	acknowledged := 0
	for {
		n, err := m.Next(ctx, events)
		if err != nil {
			if !errors.Is(err, room.ErrSlow) {
				r.t.Errorf("%s reads: %v", name, err)
			}
			return
		}
		for _, e := range events[:n] {
			switch e.Kind {
			case chatpb.Kind_ACKNOWLEDGEMENT:
				acknowledged++
				r.history.Acknowledged(e.Entry.User, e.Entry.ID, e.Entry.Sequence)
			case chatpb.Kind_MESSAGE, chatpb.Kind_LIVE:
			default:
				continue
			}
			if each(e, acknowledged) {
				return
			}
		}
	}
}

func message(e room.Entry) roomtest.Message {
	return roomtest.Message{Sequence: e.Sequence, User: e.User, ID: e.ID, Text: e.Text}
}

// resume reads as a reader that comes back to its cursor after every limit of
// events, until it has had total messages and is live.
func (r *recorded) resume(hub *room.Hub, name string, limit, total int) {
	r.tasks.Go(func() {
		reader := r.history.Reader(name, 0)
		for had := 0; ; {
			from := room.Position{Replay: true, After: reader.Cursor()}
			m, err := hub.Join(context.Background(), r.key, name, from)
			if err != nil {
				r.t.Errorf("%s comes back to %d: %v", name, from.After, err)
				return
			}
			lives, count, finished := 0, 0, false
			r.events(m, name, func(e room.Event, _ int) bool {
				if e.Kind == chatpb.Kind_LIVE {
					lives++
				} else {
					reader.Saw(message(e.Entry))
					had++
				}
				count++
				finished = had == total && lives == 1
				return finished || count >= limit && had < total
			})
			m.Leave()
			if lives > 1 {
				r.t.Errorf("%s was told %d times that it is live", name, lives)
			}
			if finished || r.t.Failed() {
				return
			}
		}
	})
}

func (r *recorded) check() {
	r.t.Helper()
	if err := r.history.Check(); err != nil {
		r.t.Error(err)
	}
}

// Readers come and go at all places while the room is being written to: what each
// is sent has neither a gap nor a repetition, and LIVE comes once.
func TestTheSeamUnderConcurrentWrites(t *testing.T) {
	for trial := range 40 {
		log := roomtest.NewMemory()
		hub := room.New(room.Config{Log: log, Queue: 32 << (trial % 6)})
		r := record(t, "ops")
		const writers, messages = 3, 100
		for i := range writers {
			r.tasks.Go(func() { r.write(hub, fmt.Sprintf("sender-%d", i), messages) })
		}
		for i := range 4 {
			r.resume(hub, fmt.Sprintf("reader-%d", i), 5+37*i, writers*messages)
		}
		r.tasks.Wait()
		r.check()
		closeHub(t, hub)
		if t.Failed() {
			t.Fatalf("in trial %d", trial)
		}
	}
}

// write posts one message after the other, each once the one before is
// acknowledged, and comes back if it was cut.
func (r *recorded) write(hub *room.Hub, user string, count int) {
	var m *room.Member
	defer func() {
		if m != nil {
			m.Leave()
		}
	}()
	for i := 0; i < count; {
		if m == nil {
			var err error
			if m, err = hub.Join(context.Background(), r.key, user, live); err != nil {
				r.t.Errorf("%s joins: %v", user, err)
				return
			}
		}
		id := fmt.Sprint(i)
		r.history.Posting(user, user, id, "text")
		done := false
		if err := m.Post(context.Background(), room.Posting{ID: id, Text: "text"}); err == nil {
			r.events(m, user, func(e room.Event, _ int) bool {
				done = e.Kind == chatpb.Kind_ACKNOWLEDGEMENT
				return done
			})
		}
		if r.t.Failed() {
			return
		}
		if done {
			i++
		} else {
			m.Leave()
			m = nil
		}
	}
}

// Several sessions a user, all of which talk: one order for all.
func TestOneOrderForAll(t *testing.T) {
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Queue: 1 << 14, QueueBytes: 64 << 20})
	r := record(t, "ops")
	for i := range 8 {
		r.talk(hub, fmt.Sprintf("user-%d", i/2), fmt.Sprintf("sender-%d", i), 200)
	}
	r.tasks.Wait()
	r.check()
	if stats := hub.Stats(); stats.Posts != 1600 || stats.Appends >= stats.Posts {
		t.Errorf("%d posts in %d appends", stats.Posts, stats.Appends)
	}
}
