package roomtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func say(t *testing.T, log room.Log, expected uint64, text string) uint64 {
	t.Helper()
	first, err := trySay(t, log, expected, text)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func trySay(t *testing.T, log room.Log, expected uint64, text string) (uint64, error) {
	return log.Append(t.Context(), []room.Draft{{
		Expected: expected, Entry: room.Entry{Room: "ops", User: "alice", Text: text, Time: time.Now()},
	}})
}

func wantNewest(t *testing.T, log room.Log, want uint64) {
	t.Helper()
	if newest, err := log.Newest(t.Context(), "ops"); err != nil || newest != want {
		t.Errorf("the newest is %d, %v; want %d", newest, err, want)
	}
}

func TestMemoryFails(t *testing.T) {
	log := roomtest.NewMemory()
	cause := errors.New("the disk is full")
	log.Fail(cause)
	if _, err := trySay(t, log, 0, "x"); !errors.Is(err, room.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("an append gave %v", err)
	}
	wantNewest(t, log, 0)
	log.Fail(nil)
	log.FailReads(cause)
	say(t, log, 0, "x")
	if _, _, err := log.Read(t.Context(), "ops", 0, 1); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("a read gave %v", err)
	}
	log.FailReads(nil)
	wantNewest(t, log, 2)
}

func TestMemoryConflicts(t *testing.T) {
	log := roomtest.NewMemory()
	log.Conflict(2)
	for range 2 {
		if _, err := trySay(t, log, 0, "x"); !errors.Is(err, room.ErrConflict) {
			t.Errorf("an append gave %v", err)
		}
		wantNewest(t, log, 0)
	}
	say(t, log, 0, "x")
}

func TestMemoryHolds(t *testing.T) {
	for name, test := range map[string]struct {
		hold   func(*roomtest.Memory) func()
		newest uint64 // while it is held
	}{
		"appends": {(*roomtest.Memory).HoldAppends, 0},
		"answers": {(*roomtest.Memory).HoldAnswers, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := roomtest.NewMemory()
				release := test.hold(log)
				done := make(chan error)
				go func() {
					_, err := trySay(t, log, 0, "x")
					done <- err
				}()
				synctest.Wait()
				wantNewest(t, log, test.newest)
				select {
				case err := <-done:
					t.Fatalf("the append ended with %v", err)
				default:
				}
				release()
				if err := <-done; err != nil {
					t.Error(err)
				}
				wantNewest(t, log, 2)

				release = test.hold(log)
				defer release()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := log.Append(ctx, []room.Draft{{Entry: room.Entry{Room: "other", User: "a", Time: time.Now()}}}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a held append whose context ends gave %v", err)
				}
			})
		})
	}
}

func TestMemoryDiscards(t *testing.T) {
	log := roomtest.NewMemory()
	for last := range uint64(4) {
		say(t, log, map[bool]uint64{true: last + 1}[last > 0], "x")
	}
	wantFirst := func(want uint64, previous uint64) {
		t.Helper()
		entries, _, err := log.Read(t.Context(), "ops", 0, 10)
		if err != nil || len(entries) == 0 || entries[0].Sequence != want || entries[0].Previous != previous {
			t.Errorf("the room has %v, %v; want %d<%d first", entries, err, previous, want)
		}
	}
	log.DiscardBefore(3)
	wantFirst(3, 2)
	log.DiscardRoom("ops", 1)
	wantFirst(5, 4)
	log.DiscardRoom("ops", 0)
	wantNewest(t, log, 0)
	say(t, log, 0, "x") // by one who knows nothing
	wantFirst(6, 5)
}

func TestNodeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := roomtest.NewCluster(roomtest.NewMemory())
		a, b := cluster.Node(), cluster.Node()
		var entries, notes []string
		stopEntries, err := b.Follow("ops", func(e room.Entry) { entries = append(entries, e.Text) })
		if err != nil {
			t.Fatal(err)
		}
		stopNotes, err := b.Listen("ops", func(note []byte) { notes = append(notes, string(note)) })
		if err != nil {
			t.Fatal(err)
		}
		send := func(expected uint64, what string) uint64 {
			t.Helper()
			if err := a.Publish("ops", []byte(what)); err != nil {
				t.Error(err)
			}
			sequence := say(t, a, expected, what)
			synctest.Wait()
			return sequence
		}
		b.Disconnect()
		last := send(0, "apart")
		if _, err := trySay(t, b, 0, "x"); !errors.Is(err, room.ErrUnavailable) {
			t.Errorf("an append of a node apart gave %v", err)
		}
		if err := b.Publish("ops", nil); !errors.Is(err, room.ErrUnavailable) {
			t.Errorf("a note of a node apart gave %v", err)
		}
		b.Reconnect()
		<-b.Reconnected()
		cluster.DropEntries(func(room.Entry) bool { return true })
		cluster.DropNotes(func(room.Key, []byte) bool { return true })
		last = send(last, "dropped")
		cluster.DropEntries(nil)
		cluster.DropNotes(nil)
		send(last, "given")
		stopEntries()
		stopNotes()
		for name, got := range map[string][]string{"entries": entries, "notes": notes} {
			if len(got) != 1 || got[0] != "given" {
				t.Errorf("the %s given are %q", name, got)
			}
		}
	})
}
