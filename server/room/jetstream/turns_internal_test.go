package jetstream

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
)

// Rooms take turns, and within a room who came first is first. Who has given up
// takes nobody's turn.
func TestRoomsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.take(t.Context(), "holder"); err != nil {
			t.Fatal(err)
		}
		var got []string
		ended, cancel := context.WithCancel(t.Context())
		for _, waiter := range []struct {
			ctx  context.Context
			key  room.Key
			name string
		}{
			{t.Context(), "busy", "busy 1"}, {t.Context(), "busy", "busy 2"}, {ended, "busy", "gone"},
			{t.Context(), "busy", "busy 3"}, {ended, "left", "gone"}, {t.Context(), "quiet", "quiet 1"},
		} {
			go func() {
				err := turns.take(waiter.ctx, waiter.key)
				if waiter.name == "gone" {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("who gave up got %v", err)
					}
					return
				}
				got = append(got, waiter.name)
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range 4 {
			turns.done()
			synctest.Wait()
		}
		if want := []string{"busy 1", "quiet 1", "busy 2", "busy 3"}; !slices.Equal(got, want) {
			t.Errorf("the turns were %q, want %q", got, want)
		}
		turns.done()
		if err := turns.take(ended, "other"); err != nil { // it need not wait
			t.Errorf("a free turn: %v", err)
		}
	})
}

// Who has waited for a turn for as long as anybody may does not wait again.
func TestATurnIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Shared{stream: newStream(localNames, answerWithin), patience: patience}
		for range atOnce {
			if err := l.stream.turns.take(t.Context(), "ops"); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		_, _, err := l.Read(t.Context(), "ops", 0, 2)
		if took := time.Since(begun); !errors.Is(err, room.ErrUnavailable) || took != turnWithin {
			t.Errorf("got %v after %v, want ErrUnavailable after %v", err, took, turnWithin)
		}
	})
}
