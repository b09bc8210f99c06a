package room_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// An append that is in doubt ends those who posted. Whatever has been stored of it
// is told to everybody else, and known when it is posted again.
func TestPostsInDoubt(t *testing.T) {
	for stored := range 3 {
		t.Run(fmt.Sprint(stored, " stored"), func(t *testing.T) {
			log := roomtest.NewMemory()
			begun := make(chan struct{}, 16)
			hub := newHub(t, room.Config{Log: tellingLog{log, begun}})
			carol := joinLive(t, hub, "other", "carol")
			alice := joinLive(t, hub, "ops", "alice")
			bob := joinLive(t, hub, "ops", "bob")
			alice.want("JOINED bob")
			release := log.HoldAppends()
			carol.post("", "0") // so that the next two are together
			<-begun
			alice.post("1", "1")
			alice.post("2", "2")
			log.Doubt(1, stored)
			release()
			alice.wantEnd(room.ErrInDoubt)
			alice.wantEnd(room.ErrUnavailable)
			bob.want([]string{"alice: 1", "alice: 2"}[:stored]...) // while she has not left, of which he would be told
			alice.Leave()

			alice = joinLive(t, hub, "ops", "alice")
			alice.post("1", "1 again")
			alice.post("2", "2 again")
			texts := []string{"1", "2"}[:stored]
			texts = append(texts, []string{"1 again", "2 again"}[stored:]...)
			for i, text := range texts {
				readTo(t, alice, "ack "+text)
				texts[i] = "alice: " + text
			}
			wantStored(t, log, "ops", texts...)
		})
	}
}

// tellingLog tells when an append begins.
type tellingLog struct {
	room.Log
	begun chan<- struct{}
}

func (l tellingLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	l.begun <- struct{}{}
	return l.Log.Append(ctx, drafts)
}

// Where the log cannot be read either, it is looked at again until it can.
func TestAPostInDoubtWhileTheLogCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "ops", "bob")
		alice.want("JOINED bob")
		log.Doubt(0, 1)
		log.FailReads(errors.New("no quorum"))
		alice.post("", "1")
		alice.wantEnd(room.ErrInDoubt)
		bob.wantNothing(61 * time.Second) // not when rooms are compared
		log.FailReads(nil)
		within(t, time.Second, func() { bob.want("alice: 1") })
	})
}

// It may be stored late: everybody is told all the same, though nothing else is said.
func TestAPostInDoubtThatIsStoredLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lateLog{Memory: roomtest.NewMemory()}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "ops", "bob")
		alice.want("JOINED bob")
		alice.post("1", "late")
		alice.wantEnd(room.ErrInDoubt)
		bob.wantNothing(20 * time.Second)
		if _, err := log.Memory.Append(t.Context(), log.late); err != nil {
			t.Fatal(err)
		}
		within(t, 6*time.Second, func() { bob.want("alice: late") })
		// What is said after it ends the doubt.
		bob.post("", "after")
		bob.want("ack after")
		time.Sleep(time.Minute) // the bubble's clock
		asked := log.newest.Load()
		time.Sleep(time.Minute) // the bubble's clock
		if more := log.newest.Load() - asked; more > 0 {
			t.Errorf("the log was asked %d times about what is known", more)
		}
	})
}

// So it is for those who come to a room that nobody has been in meanwhile.
func TestAnAppendInDoubtIsSeenByThoseWhoCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lateLog{Memory: roomtest.NewMemory()}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("1", "late")
		alice.wantEnd(room.ErrInDoubt)
		alice.Leave()
		time.Sleep(time.Minute) // the bubble's clock
		bob := joinLive(t, hub, "ops", "bob")
		if _, err := log.Memory.Append(t.Context(), log.late); err != nil {
			t.Fatal(err)
		}
		within(t, 6*time.Second, func() { bob.want("alice: late") })
	})
}

// lateLog keeps its first append in doubt, and counts what it is asked.
type lateLog struct {
	*roomtest.Memory
	first  sync.Once
	late   []room.Draft
	newest atomic.Int64
}

func (l *lateLog) Append(ctx context.Context, drafts []room.Draft) (sequence uint64, err error) {
	l.first.Do(func() { l.late, err = drafts, room.ErrInDoubt })
	if err != nil {
		return 0, err
	}
	return l.Memory.Append(ctx, drafts)
}

func (l *lateLog) Newest(ctx context.Context, key room.Key) (uint64, error) {
	l.newest.Add(1)
	return l.Memory.Newest(ctx, key)
}

// An operator deletes a room, or the log has lost its end: the room's posts fail at
// once, no other's do, and everybody in it comes back to what there is.
func TestTheLogHasLessOfARoom(t *testing.T) {
	for name, left := range map[string]int{"deleted": 0, "its end is lost": 1} {
		t.Run(name, func(t *testing.T) {
			hub, log := memoryHub(t)
			keeper := joinLive(t, hub, "other", "carol")
			keeper.post("1", "1")
			keeper.want("ack 1")
			alice := joinLive(t, hub, "ops", "alice")
			bob := joinLive(t, hub, "ops", "bob")
			alice.want("JOINED bob")
			var sequences []uint64
			for _, text := range []string{"1", "2", "3"} {
				alice.post(text, text)
				sequences = append(sequences, alice.wantAck().Sequence)
			}
			bob.want("alice: 1", "alice: 2", "alice: 3")
			var after uint64
			if left > 0 {
				after = sequences[left-1]
			}
			log.Lose("ops", after)

			release := log.HoldAppends()
			keeper.post("2", "2")
			keeper.post("3", "3")
			alice.post("4", "4")
			keeper.post("4", "4")
			release()
			keeper.want("ack 2", "ack 3", "ack 4")
			alice.wantEnd(room.ErrUnavailable)
			bob.wantEnd(room.ErrUnavailable) // though he has posted nothing
			alice.Leave()
			// Bob stays, lest the room be forgotten.

			// Who has not had what is gone is told.
			var gone *room.GoneError
			if m, err := hub.Join(t.Context(), "ops", "dave", room.Position{Replay: true, After: sequences[1]}); !errors.As(err, &gone) {
				t.Errorf("who has not had all comes back with %v", err)
				if err == nil {
					m.Leave()
				}
			} else {
				join(t, hub, "ops", "dave", room.Position{Replay: true, After: gone.Oldest}).want("LIVE")
			}
			alice = join(t, hub, "ops", "alice", room.Position{Replay: true, After: sequences[2]})
			readTo(t, alice, "LIVE")
			alice.post("3", "3 again") // it is gone
			readTo(t, alice, "ack 3 again")
			texts := []string{"alice: 1", "alice: 2", "alice: 3"}[:left]
			wantStored(t, log, "ops", append(texts, "alice: 3 again")...)
		})
	}
}

// Nor is anything acknowledged any more: it may be lost.
func TestNothingIsAcknowledgedOnceARoomBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		carol := joinLive(t, hub, "other", "carol")
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "ops", "bob")
		carol.post("", "keeps the log from being empty")
		alice.post("1", "is lost")
		synctest.Wait()
		log.Lose("ops", 0)
		bob.post("2", "finds that out")
		synctest.Wait()
		alice.wantEnd(room.ErrUnavailable)
	})
}

// What waits to be stored when a room begins anew is not, even of one who has left:
// whether it is a repetition of what is still there nobody looks at any more.
func TestPostsThatWaitWhenARoomBeginsAnew(t *testing.T) {
	log := roomtest.NewMemory()
	begun := make(chan struct{}, 16)
	var stored []uint64
	hub := newHub(t, room.Config{Log: tellingLog{log, begun}, Queue: 2, // so that each is appended alone
		Appended: func(int, time.Duration, error) {
			newest, _ := log.Newest(context.Background(), "ops")
			if stored = append(stored, newest); len(stored) == 2 {
				log.Lose("ops", stored[0])
			}
		},
	})
	carol := joinLive(t, hub, "other", "carol")
	alice, again := joinLive(t, hub, "ops", "alice"), joinLive(t, hub, "ops", "alice")
	release := log.HoldAppends()
	alice.post("1", "stays")
	<-begun
	alice.post("2", "is lost")
	alice.post("3", "finds that out")
	again.post("1", "repeated")
	again.Leave()
	carol.post("", "the last")
	release()
	carol.wantAck()
	wantStored(t, log, "ops", "alice: stays")
}

// What a room could be replayed from before it began anew it may not be any more.
func TestWhoJoinsWhileARoomBeginsAnew(t *testing.T) {
	log := &heldLog{Memory: roomtest.NewMemory()}
	hub := newHub(t, room.Config{Log: log, Queue: 4})
	alice := joinLive(t, hub, "ops", "alice")
	var sequences []uint64
	for range 20 {
		alice.post("", "x")
		sequences = append(sequences, alice.wantAck().Sequence)
	}
	begun, release := log.holdRead()
	joined := make(chan error)
	go func() {
		m, err := hub.Join(t.Context(), "ops", "bob", after(sequences[10]))
		if err == nil {
			m.Leave()
		}
		joined <- err
	}()
	<-begun
	log.Lose("ops", sequences[5])
	alice.post("", "y")
	alice.wantEnd(room.ErrUnavailable)
	carol := joinLive(t, hub, "other", "carol")
	carol.post("", "z")
	carol.wantAck() // the room has begun anew
	close(release)
	if err := <-joined; !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("bob joins with %v, though what came next is lost", err)
	}
}

// What was read of a room before it began anew is told to nobody afterwards.
func TestAPageThatARoomBeginsAnewUnder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &heldLog{Memory: roomtest.NewMemory()}
		hub := newHub(t, room.Config{Log: log})
		fillMore(t, log.Memory, "other", 1)
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("", "1")
		alice.wantAck()
		fillMore(t, log.Memory, "ops", 1) // by another node
		begun, release := log.holdRead()
		<-begun // to compare the room
		log.Lose("ops", 0)
		alice.post("", "2")
		alice.wantEnd(room.ErrUnavailable)
		synctest.Wait() // until the room has begun anew
		bob := joinLive(t, hub, "ops", "bob")
		close(release)
		synctest.Wait()
		bob.post("", "3")
		bob.want("ack 3")
	})
}

// heldLog holds up what one read returns.
type heldLog struct {
	*roomtest.Memory
	held atomic.Pointer[heldRead]
}

type heldRead struct{ begun, release chan struct{} }

// holdRead has the next read close begun and return when release is closed.
func (l *heldLog) holdRead() (begun <-chan struct{}, release chan<- struct{}) {
	held := &heldRead{make(chan struct{}), make(chan struct{})}
	l.held.Store(held)
	return held.begun, held.release
}

func (l *heldLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	entries, more, err := l.Memory.Read(ctx, key, after, limit)
	if held := l.held.Swap(nil); held != nil {
		close(held.begun)
		<-held.release
	}
	return entries, more, err
}
