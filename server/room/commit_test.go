package room_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// Posts that wait share what makes them durable: 64 senders with 16 messages in
// flight get at least twice as much stored as one by one, round by round in turns,
// where six times is the least to be expected of a quiet machine. What counts is the
// middle of many rounds: others may use the machine during some of them. How many share
// one append does not depend on it: about 512 do, which is all that may.
func TestGroupCommitPays(t *testing.T) {
	const senders, inFlight, each, rounds = 64, 16, 32, 9
	log := openEmbedded(t, filepath.Join(t.TempDir(), "log"))
	defer func() { _ = log.Close() }()
	hub := room.New(room.Config{Log: log})
	defer closeHub(t, hub)
	members := make([]*room.Member, senders)
	for i := range members {
		var err error
		if members[i], err = hub.Join(t.Context(), room.Key(fmt.Sprintf("room-%d", i)), "alice", live); err != nil {
			t.Fatal(err)
		}
		defer members[i].Leave()
	}
	var ratios []float64
	alone := uint64(0)
	for range rounds {
		const some = 40
		began := time.Now()
		for range some {
			var err error
			if alone, err = log.Append(t.Context(), []room.Draft{{Expected: alone, Entry: room.Entry{
				Room: "alone", User: "alice", Text: "hello", Time: time.Now(),
			}}}); err != nil {
				t.Fatal(err)
			}
		}
		one := time.Since(began) / some
		began = time.Now()
		var talking sync.WaitGroup
		for _, m := range members {
			talking.Go(func() { talk(t, m, inFlight, each) })
		}
		talking.Wait()
		ratios = append(ratios, float64(one)/(float64(time.Since(began))/(senders*each)))
	}
	slices.Sort(ratios)
	if ratios[rounds/2] < 2 {
		t.Errorf("together posts are stored %.1f times as fast as one by one, want at least twice", ratios)
	}
	stats := hub.Stats()
	if together := float64(stats.Posts) / float64(stats.Appends); together < 64 {
		t.Errorf("%.0f posts share an append, want at least 64", together)
	}
}

// talk has a member, alone in its room, post so many messages, and returns when all
// are acknowledged.
func talk(t *testing.T, m *room.Member, inFlight, messages int) {
	places := make(chan struct{}, inFlight)
	var posting sync.WaitGroup
	defer posting.Wait()
	posting.Go(func() {
		for range messages {
			places <- struct{}{}
			if err := m.Post(t.Context(), room.Posting{Text: "hello"}); err != nil {
				t.Error(err)
			}
		}
	})
	events := make([]room.Event, inFlight)
	for acknowledged := 0; acknowledged < messages; {
		n, err := m.Next(t.Context(), events)
		if err != nil {
			t.Error(err)
			return
		}
		for _, e := range events[:n] {
			if e.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
				acknowledged++
				<-places
			}
		}
	}
}
