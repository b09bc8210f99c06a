package room_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// A log that is restored from an older state gives positions anew that it had given
// before. Who has come to a room with one that is beyond them, or was told one, would
// take what is said next for what it has had: it ends, and is told when it comes back.
func TestWhoIsBeyondALogThatHasLostItsEnd(t *testing.T) {
	for name, comes := range map[string]func(last uint64) room.Position{
		"live":           func(uint64) room.Position { return live },
		"with its place": after,
	} {
		for how, speaker := range map[string]int{"said here": 1, "said on another node": 0} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					hubs, _, log, _ := nodes(t, 2)
					fillMore(t, log, "other", 9)
					_, last, err := log.Span(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					bob := join(t, hubs[1], "silent", "bob", comes(last))
					if e, err := bob.next(); err != nil || e.Sequence != last {
						t.Fatalf("told to come back to %d, %v, want %d", e.Sequence, err, last)
					}
					log.Rewind(last - 5)
					alice := join(t, hubs[speaker], "silent", "alice", beginning)
					alice.post("1", "said")
					bob.wantEndSilently(room.ErrUnavailable)
					var gone *room.GoneError
					if m, err := hubs[1].Join(t.Context(), "silent", "bob", after(last)); !errors.As(err, &gone) {
						t.Errorf("comes back with %v", err)
						if err == nil {
							m.Leave()
						}
						return
					}
					bob = join(t, hubs[1], "silent", "bob", after(gone.Oldest))
					readTo(t, bob, "alice: said")
				})
			})
		}
	}
}

// wantEndSilently reads the end, before which no message may come.
func (s *session) wantEndSilently(want error) {
	s.t.Helper()
	for {
		e, err := s.next()
		switch {
		case err == nil && e.Kind == chatpb.Kind_MESSAGE:
			s.t.Fatalf("got %s, want the end: %v", show(e), want)
		case err != nil && !errors.Is(err, want):
			s.t.Fatalf("ended with %v, want %v", err, want)
		case err != nil:
			return
		}
	}
}

// Once it has been noticed nobody is let in with such a position, nor told one.
func TestPositionsThatALogHasLostAreNotGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 1)
		fillMore(t, log, "other", 9)
		_, last, err := log.Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		carol := joinLive(t, hubs[0], "silent", "carol")
		log.Rewind(last - 5)
		carol.rest(6 * time.Second) // the room is compared
		if e, err := join(t, hubs[0], "silent", "bob", live).next(); err != nil || e.Sequence != last-5 {
			t.Errorf("told to come back to %d, %v, want %d", e.Sequence, err, last-5)
		}
		var gone *room.GoneError
		if m, err := hubs[0].Join(t.Context(), "silent", "bob", after(last)); !errors.As(err, &gone) {
			t.Errorf("comes back with %v", err)
			if err == nil {
				m.Leave()
			}
		}
	})
}
