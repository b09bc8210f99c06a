package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"securechat/server/room"
)

// asked is a server that answers questions about a room of which it has what a test
// gives it.
type asked struct {
	mu      sync.Mutex
	headers map[uint64]nats.Header // of the messages, by sequence
	count   int                    // of the questions
	// later is a message that is there from the question of that number on.
	later uint64
	from  int
}

// ask returns a stream that asks it. How fast it answers is the machine's.
func (f *asked) ask(t *testing.T) *stream {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	s := newStream(localNames, time.Minute)
	for _, nc := range []**nats.Conn{&s.asks, &s.writes} {
		if *nc, err = nats.Connect("", nats.InProcessServer(srv), nats.Timeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*nc).Close)
	}
	_, err = s.asks.Subscribe("$JS.API.STREAM.MSG.GET."+localNames.stream, func(m *nats.Msg) {
		var query getQuery
		if err := json.Unmarshal(m.Data, &query); err != nil {
			t.Error(err)
		}
		if err := m.Respond(f.answer(query)); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *asked) answer(query getQuery) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.later > 0 && f.count == f.from {
		f.headers[f.later] = inBatch("mine.1", int(f.later-7))
	}
	sequences := slices.Sorted(maps.Keys(f.headers))
	sequence := query.Sequence
	switch {
	case query.LastFor != "" && len(sequences) > 0:
		sequence = sequences[len(sequences)-1]
	case query.NextFor != "":
		if i, _ := slices.BinarySearch(sequences, sequence); i < len(sequences) {
			sequence = sequences[i]
		}
	}
	header, has := f.headers[sequence]
	if !has {
		return []byte(`{"error":{"err_code":10037}}`)
	}
	lines := "NATS/1.0\r\n"
	for key, values := range header {
		lines += key + ": " + values[0] + "\r\n"
	}
	answer, _ := json.Marshal(map[string]gotMessage{"message": {Sequence: sequence, Header: []byte(lines + "\r\n")}})
	return answer
}

// batchOf is an append of so many messages to a room of which the newest is known.
func batchOf(count int, known uint64) *appending {
	a := &appending{id: "mine", messages: make([]message, count), firsts: []int{0}}
	for i := range a.messages {
		a.messages[i] = message{room: "ops", record: []byte("x"), first: i == 0, known: known, expected: known}
	}
	return a
}

func inBatch(batch string, place int) nats.Header {
	return nats.Header{headerBatch: {batch}, headerBatchPlace: {fmt.Sprint(place)}}
}

// A batch is stored once its last message is there, at its place.
func TestABatchIsStoredOnceItsLastMessageIs(t *testing.T) {
	for name, test := range map[string]struct {
		last nats.Header
		want finding
	}{
		"nothing":               {nil, partial},
		"another's":             {inBatch("other.1", 3), partial},
		"one's own, of another": {inBatch("mine.2", 1), partial},
		"the last":              {inBatch("mine.1", 3), stored},
	} {
		f := &asked{headers: map[uint64]nats.Header{7: {}, 8: inBatch("mine.1", 1), 9: inBatch("mine.1", 2)}}
		if test.last != nil {
			f.headers[10] = test.last
		}
		found, first, err := f.ask(t).find(t.Context(), batchOf(3, 7))
		if err != nil || found != test.want || first != 8 {
			t.Errorf("%s: found %d, first %d, %v", name, found, first, err)
		}
	}
}

// What a server shows while it commits a batch, or has just become the leader, is not
// taken for true.
func TestWhatPassesIsLookedAtAgain(t *testing.T) {
	committing := &asked{headers: map[uint64]nats.Header{7: {}, 8: inBatch("mine.1", 1)}, later: 9, from: 6}
	if found, first, err := committing.ask(t).look(t.Context(), batchOf(2, 7)); found != stored || first != 8 || err != nil {
		t.Errorf("a batch that is being committed: found %d, first %d, %v", found, first, err)
	}
	catchingUp := &asked{headers: map[uint64]nats.Header{6: {}}, later: 7, from: 2}
	if found, _, err := catchingUp.ask(t).look(t.Context(), batchOf(2, 7)); found != absent || err != nil {
		t.Errorf("a leader that catches up: found %d, %v", found, err)
	}
}

// That a room has less than is known says nothing of an append that is in doubt: it is
// asked about for as long as others are.
func TestARoomWithLessThanIsKnown(t *testing.T) {
	for name, test := range map[string]struct {
		answer string // to the append
		final  bool
	}{
		"refused":  {`{"error":{"err_code":10071}}`, true},
		"in doubt": {`{}`, false}, // no answer at all would have to be waited for
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &asked{headers: map[uint64]nats.Header{6: {}}}
			s := f.ask(t)
			_, err := s.asks.Subscribe(s.names.log("ops"), func(m *nats.Msg) {
				_ = m.Respond([]byte(test.answer))
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.asks.Flush(); err != nil {
				t.Fatal(err)
			}
			inDoubt := false
			_, err = (&Shared{stream: s}).attempt(t.Context(), batchOf(1, 7), 1, &inDoubt)
			var behind *room.BehindError
			if !errors.As(err, &behind) || isFinal(err) != test.final || inDoubt == test.final {
				t.Errorf("got %v, final: %v, in doubt: %v", err, isFinal(err), inDoubt)
			}
		})
	}
}

// A server may still hold the rest of a batch when it is sent again.
func TestEachAttemptIsABatchOfItsOwn(t *testing.T) {
	a := batchOf(2, 7)
	seen := map[string]bool{}
	for attempt := range 3 {
		header := a.message(localNames, 1, attempt).Header
		if place, ours := a.place(header); !ours || place != 1 {
			t.Errorf("attempt %d: %v is place %d, its own: %v", attempt, header, place, ours)
		}
		seen[header.Get(headerBatch)] = true
	}
	if len(seen) != 3 {
		t.Errorf("three attempts are the batches %v", seen)
	}
}
