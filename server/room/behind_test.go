package room_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
			alice.Leave()
			bob.want([]string{"alice: 1", "alice: 2"}[:stored]...)

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
			bob.Leave()

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
