package room_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
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

// Who says something itself is not left waiting for an acknowledgement that it could not
// be given, however late it came there; what it has said is stored once.
func TestWhoSpeaksBeyondALogThatHasLostItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 1)
		joinLive(t, hubs[0], "silent", "carol")
		fillMore(t, log, "other", 9) // since the room was loaded
		_, last, err := log.Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bob := join(t, hubs[0], "silent", "bob", after(last))
		log.Rewind(last - 5)
		bob.post("1", "said")
		bob.wantEndSilently(room.ErrUnavailable)
		bob.Leave()
		bob = join(t, hubs[0], "silent", "bob", beginning)
		bob.post("1", "said")
		readTo(t, bob, "ack said")
		wantStored(t, log, "silent", "bob: said")
	})
}

// Nor does who only listens where others speak on another node go on after a hole.
func TestWhoListensToALogThatHasLostItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		var sequences []uint64
		for _, text := range []string{"1", "2", "3", "4", "5", "6"} {
			alice.post(text, text)
			sequences = append(sequences, alice.wantAck().Sequence)
			readTo(t, bob, "alice: "+text)
		}
		synctest.Wait() // all has been announced: what came late would pass for messages of now
		log.Rewind(sequences[2])
		alice.post("", "finds out")
		alice.wantEndSilently(room.ErrUnavailable)
		alice.Leave()
		alice = joinLive(t, hubs[0], "ops", "alice")
		alice.post("4", "4 again")
		readTo(t, alice, "ack 4 again")
		within(t, 11*time.Second, func() { bob.wantEndSilently(room.ErrUnavailable) })
		bob.Leave()
		var gone *room.GoneError
		if m, err := hubs[1].Join(t.Context(), "ops", "bob", after(sequences[5])); !errors.As(err, &gone) {
			t.Errorf("comes back with %v", err)
			if err == nil {
				m.Leave()
			}
		}
		bob = join(t, hubs[1], "ops", "bob", beginning)
		readTo(t, bob, "alice: 4 again")
		alice.post("", "on")
		readTo(t, bob, "alice: on")
	})
}

// Who is ended comes back to a room that has begun anew, however long that takes, and is
// not ended again.
func TestWhoIsEndedComesBackToARoomThatHasBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := roomtest.NewMemory()
		log := &slowSpan{Memory: memory}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		first := alice.postAcked("1")
		alice.postAcked("2")
		memory.Rewind(first.Sequence)
		log.slow.Store(true)
		alice.post("3", "3")
		alice.wantEndSilently(room.ErrUnavailable)
		alice.Leave()
		alice = joinLive(t, hub, "ops", "alice")
		alice.rest(2 * time.Second)
		alice.post("3", "3")
		readTo(t, alice, "ack 3")
	})
}

// slowSpan takes a second to say what its log holds, while slow says so.
type slowSpan struct {
	*roomtest.Memory
	slow atomic.Bool
}

func (l *slowSpan) Span(ctx context.Context) (first, last uint64, err error) {
	if l.slow.Load() {
		<-time.After(time.Second) // the bubble's clock
	}
	return l.Memory.Span(ctx)
}

// A log that has less for a moment has lost nothing.
func TestALogThatIsBehindForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := roomtest.NewMemory()
		cluster := roomtest.NewCluster(memory)
		node := cluster.Node()
		log := &lesser{Log: node}
		hub := newHub(t, room.Config{Log: log, Cluster: node})
		bob := joinLive(t, hub, "ops", "bob")
		bob.post("", "1")
		bob.want("ack 1")
		for range 3 {
			log.less.Store(true)
			bob.wantNothing(4 * time.Second) // of which one comparison is
			log.less.Store(false)
			bob.wantNothing(6 * time.Second)
		}
		bob.post("", "2")
		bob.want("ack 2")
	})
}

// lesser has nothing of any room, while less says so.
type lesser struct {
	room.Log
	less atomic.Bool
}

func (l *lesser) Newest(ctx context.Context, key room.Key) (uint64, error) {
	if l.less.Load() {
		return 0, nil
	}
	return l.Log.Newest(ctx, key)
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
