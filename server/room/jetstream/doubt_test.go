package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// An append whose answer or whose messages get lost ends as it would have without
// that: stored once, or refused because another was faster.
func TestAppendInDoubt(t *testing.T) {
	t.Parallel()
	n := startNATS(t, 1)
	target := n.servers[0].Addr().String()
	tests := []struct {
		name         string
		loseMessages bool // on their way to the server
		overtaken    bool // another node writes to the room meanwhile
		count        int
		wantErr      error
		wantTexts    []string
	}{
		{"the answer to one is lost", false, false, 1, nil, []string{"one", "mine0"}},
		{"the answer to a batch is lost", false, false, 3, nil, []string{"one", "mine0", "mine1", "mine2"}},
		{"the answer is lost, and another writes then", false, true, 1, nil, []string{"one", "mine0", "other"}},
		{"one is lost", true, false, 1, nil, []string{"one", "mine0"}},
		{"a batch is lost", true, false, 3, nil, []string{"one", "mine0", "mine1", "mine2"}},
		{"one is lost, and another writes", true, true, 1, room.ErrConflict, []string{"one", "other"}},
		{"a batch is lost, and another writes", true, true, 3, room.ErrConflict, []string{"one", "other"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := n.config(roomtest.Limits{})
			other := connect(t, config)
			defer other.Close()
			p := startProxy(t, target)
			config.URLs = []string{p.url()}
			log := connect(t, config)
			defer log.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()

			one, err := log.Append(ctx, []room.Draft{said("ops", 0, "one")})
			if err != nil {
				t.Fatal(err)
			}
			drafts := make([]room.Draft, test.count)
			for i := range drafts {
				drafts[i] = said("ops", one, fmt.Sprint("mine", i))
			}
			p.lose(test.loseMessages, !test.loseMessages)
			var appending sync.WaitGroup
			var first uint64
			appending.Go(func() { first, err = log.Append(ctx, drafts) })
			until(t, p.haveLost)
			newest := one
			if !test.loseMessages {
				newest = one + uint64(test.count)
				untilNewest(t, other, "ops", newest)
			}
			if test.overtaken {
				if _, err := other.Append(ctx, []room.Draft{said("ops", newest, "other")}); err != nil {
					t.Error(err)
				}
			}
			p.cut()
			appending.Wait()
			if !errors.Is(err, test.wantErr) || test.wantErr == nil && first != one+1 {
				t.Errorf("the append gave %d, %v; want %d, %v", first, err, one+1, test.wantErr)
			}
			var texts []string
			for _, e := range readAll(t, other, "ops") {
				texts = append(texts, e.Text)
			}
			if !slices.Equal(texts, test.wantTexts) {
				t.Errorf("the room has %q, want %q", texts, test.wantTexts)
			}
		})
	}
}

// What has been sent to a leader that is there no more is sent again as soon as there
// is another, however long an answer may take.
func TestAnAppendDoesNotWaitForALeaderThatIsGone(t *testing.T) {
	n := startNATS(t, 3)
	config := n.config(roomtest.Limits{})
	p := startProxy(t, n.servers[0].Addr().String())
	config.URLs = []string{p.url()}
	log := connect(t, config)
	defer log.Close()
	log.Hurry(4*readyWithin, 2*readyWithin)
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	one, err := log.Append(ctx, []room.Draft{said("ops", 0, "one")})
	if err != nil {
		t.Fatal(err)
	}
	p.lose(true, false)
	var appending sync.WaitGroup
	appending.Go(func() {
		if _, err := log.Append(ctx, []room.Draft{said("ops", one, "two")}); err != nil {
			t.Error(err)
		}
	})
	until(t, p.haveLost)
	p.lose(false, false)
	n.stepDown(strings.ToUpper(config.Name))
	appending.Wait()
}

// A server that is there no more without a word, as one whose machine has lost its
// power, is given up in time for an append to be stored through another, even where
// it is more than the connection has room for.
func TestAServerThatFallsSilent(t *testing.T) {
	n := startNATS(t, 3)
	for name, count := range map[string]int{"one message": 1, "many large ones": 64} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := n.config(roomtest.Limits{})
			p := startProxy(t, n.servers[0].Addr().String())
			config.URLs = []string{p.url()} // the others are learned from it
			log := connect(t, config)
			defer log.Close()
			one, err := log.Append(t.Context(), []room.Draft{said("ops", 0, "one")})
			if err != nil {
				t.Fatal(err)
			}
			drafts := make([]room.Draft, count)
			for i := range drafts {
				drafts[i] = said("ops", one, strings.Repeat("x", 256<<10))
			}
			p.stall()
			if _, err := log.Append(t.Context(), drafts); err != nil { // it gives up after 15 s
				t.Error(err)
			}
		})
	}
}

// An append ends with its context, whatever has become of it.
func TestAppendInDoubtEndsWithItsContext(t *testing.T) {
	n := startNATS(t, 1)
	p := startProxy(t, n.servers[0].Addr().String())
	config := n.config(roomtest.Limits{})
	config.URLs = []string{p.url()}
	log := connect(t, config)
	defer log.Close()
	p.lose(true, false)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if first, err := log.Append(ctx, []room.Draft{said("ops", 0, "x")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the append gave %d, %v; want its context's error", first, err)
	}
}

// A node that loses its connection says so once it is back, and follows and
// listens as before.
func TestReconnected(t *testing.T) {
	n := startNATS(t, 1)
	config := n.config(roomtest.Limits{})
	log := connect(t, config)
	defer log.Close()
	entries, notes := make(chan string, 16), make(chan string, 16)
	stopEntries, err := log.Follow("ops", func(e room.Entry) { entries <- e.Text })
	if err != nil {
		t.Fatal(err)
	}
	defer stopEntries()
	stopNotes, err := log.Listen("ops", func(note []byte) { notes <- string(note) })
	if err != nil {
		t.Fatal(err)
	}
	defer stopNotes()

	n.stop(0)
	if err := untilError(t, func() error { return log.Publish("ops", []byte("lost")) }); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("a note without a connection gave %v, want ErrUnavailable", err)
	}
	n.start(0)
	select {
	case <-log.Reconnected():
	case <-time.After(readyWithin):
		t.Fatal("nothing says that the connection is back")
	}
	if _, err := log.Append(t.Context(), []room.Draft{said("ops", 0, "back")}); err != nil {
		t.Fatal(err)
	}
	if err := log.Publish("ops", []byte("note")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from chan string
		want string
	}{"entry": {entries, "back"}, "note": {notes, "note"}} {
		select {
		case got := <-c.from:
			if got != c.want {
				t.Errorf("the %s is %q, want %q", name, got, c.want)
			}
		case <-time.After(readyWithin):
			t.Errorf("no %s comes", name)
		}
	}
}

// Writers of two nodes go on while each server of a cluster in turn is stopped and
// started, its leader first, and all that was acknowledged is there once.
func TestServersOfAClusterEnd(t *testing.T) {
	n := startNATS(t, 3)
	config := n.config(roomtest.Limits{})
	logs := []*jetstream.Shared{connect(t, config), connect(t, config)}
	defer logs[0].Close()
	defer logs[1].Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var mu sync.Mutex
	acknowledged := map[uint64]string{}
	inDoubt := map[string]bool{} // what may be there
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			log, key := logs[w%2], room.Key([]string{"a", "b"}[w/2])
			var newest uint64
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprintf("%d.%d", w, i)
				first, err := log.Append(ctx, []room.Draft{said(key, newest, text), said(key, 0, text+"'")})
				switch {
				case errors.Is(err, room.ErrConflict), errors.Is(err, room.ErrInDoubt):
					if errors.Is(err, room.ErrInDoubt) { // an election that takes long
						mu.Lock()
						inDoubt[text], inDoubt[text+"'"] = true, true
						mu.Unlock()
					}
					if newest, err = log.Newest(ctx, key); err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				case err != nil:
					t.Errorf("writer %d: %v", w, err)
					return
				default:
					newest = first + 1
					mu.Lock()
					acknowledged[first], acknowledged[first+1] = text, text+"'"
					mu.Unlock()
				}
			}
		})
	}
	// more waits until the writers get on.
	more := func() {
		t.Helper()
		count := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
		before := count()
		until(t, func() bool { return count() >= before+20 })
	}
	more()
	stream := "LOG1"
	for range 2 {
		i := n.leader(stream)
		n.stop(i)
		more()
		n.start(i)
		n.untilReady()
		more()
	}
	close(stop)
	writers.Wait()

	for _, key := range []room.Key{"a", "b"} {
		newest, err := logs[0].Newest(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		var entries []room.Entry
		until(t, func() bool {
			entries = readAll(t, logs[0], key)
			return len(entries) > 0 && entries[len(entries)-1].Sequence >= newest
		})
		var last uint64
		texts := map[string]bool{}
		for _, e := range entries {
			if e.Previous != last || texts[e.Text] {
				t.Errorf("%s: %d %q comes after %d, and says after %d", key, e.Sequence, e.Text, last, e.Previous)
			}
			last, texts[e.Text] = e.Sequence, true
			if acknowledged[e.Sequence] != e.Text && !inDoubt[e.Text] {
				t.Errorf("%s: %d %q is there, %q was acknowledged", key, e.Sequence, e.Text, acknowledged[e.Sequence])
			}
			delete(acknowledged, e.Sequence)
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged messages are missing, such as %v", len(acknowledged), acknowledged)
	}
}

// until waits until a condition holds.
func until(t testing.TB, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	late := time.After(readyWithin)
	for !holds() {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("waited too long")
		}
	}
}

func untilNewest(t testing.TB, log room.Log, key room.Key, want uint64) {
	t.Helper()
	until(t, func() bool {
		newest, err := log.Newest(t.Context(), key)
		return err == nil && newest == want
	})
}

func untilError(t testing.TB, call func() error) (err error) {
	t.Helper()
	until(t, func() bool { err = call(); return err != nil })
	return err
}
