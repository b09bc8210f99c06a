package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/auth/authtest"
	"securechat/client/clienttest"
)

// What people and servers do to a room, at random: some say much at once, some read
// late, some give up; streams end in every way that can be survived, answer late, say
// things twice; certificates change. Every message comes once and in order, each
// receipt is right, and nothing hangs or is left over.
func TestRoomAtRandom(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { liveAtRandom(t, seed) })
	}
}

// How much happens.
const (
	randomSenders = 4
	randomSends   = 80 // by each
	randomBursts  = 6  // of others' messages
	randomBurst   = 80
	randomSize    = backlogBytes / 10 // of the larger texts
)

// padded is a text that takes its place, or one in four that takes many.
func padded(text string, random *rand.Rand) string {
	if random.IntN(4) == 0 {
		return text + strings.Repeat(" ", randomSize)
	}
	return text
}

// brief is a text as a failure shows it.
func brief(text string) string {
	return fmt.Sprintf("%s, %d", strings.TrimRight(text, " "), len(text))
}

func liveAtRandom(t *testing.T, seed uint64) {
	realm := authtest.NewRealm(t)
	server := newErratic(seed)
	t.Cleanup(server.receiving.Wait) // after those who send
	has := walletOf(realm.User("alice"))
	conn := dial(t, nil, startOdd(t, realm, server.handle), has.use)
	room := join(t, conn, "ops", FromStart())
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()

	var senders, others sync.WaitGroup
	sent := make([]sentAtRandom, randomSenders)
	for i := range sent {
		senders.Go(func() { sent[i].all(ctx, t, room, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	over := make(chan struct{})
	others.Go(func() { // the others in the room, and whoever issues certificates
		random := rand.New(rand.NewPCG(seed, 100))
		for n := range randomBursts {
			for i := range random.IntN(randomBurst) {
				server.say("bob", padded(fmt.Sprint("bob ", n, " ", i), random))
			}
			has.rotate(realm.User("alice"))
			if random.IntN(2) == 0 { // before the last one is done with
				has.rotate(realm.User("alice"))
			}
			server.round(over)
		}
	})
	go func() {
		senders.Wait()
		close(over)
		others.Wait()
		server.behave()
		server.say("bob", "the end")
	}()
	got := readAtRandom(ctx, t, room, rand.New(rand.NewPCG(seed, 200)))
	wantLog(t, got, server.upTo("the end"))
	for i := range sent {
		sent[i].check(t, server.stored())
	}
	eventually(t, "abandoned messages take places", func() bool {
		_, err := room.Send(ctx, "sweep") // and who is in doubt is not any more
		return err == nil && pendingOf(room) == 0
	})
	if n := len(room.slots); n > 0 {
		t.Errorf("%d places are taken by nobody", n)
	}
	must(t, room.Close())
	eventually(t, "streams stay at the server", func() bool { return server.streams() == 0 })
	wantAllLeft(t, conn)
	t.Logf("%d messages, %d streams, went back %d times", len(got), server.served(), server.returns())
}

// upTo is what the server has up to a text; what was given up may come after it.
func (s *erratic) upTo(text string) (entries []clienttest.Entry) {
	for _, e := range s.stored() {
		over := e.Text == text
		e.Text = brief(e.Text)
		if entries = append(entries, e); over {
			break
		}
	}
	return entries
}

// readAtRandom reads up to the end, now and then not for a while.
func readAtRandom(ctx context.Context, t *testing.T, room *Room, random *rand.Rand) (got []Message) {
	t.Helper()
	for {
		if random.IntN(50) == 0 {
			awaitAhead(room, 40)
		}
		m, err := room.Receive(ctx)
		must(t, err)
		over := m.Text == "the end"
		m.Text = brief(m.Text)
		if m.Own != (m.User == "alice") || m.Kind != KindMessage {
			t.Errorf("got %+v", m)
		}
		if got = append(got, m); over {
			return got
		}
	}
}

// awaitAhead waits until the room runs ahead of its program, or so many milliseconds.
func awaitAhead(room *Room, longest int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range longest {
		<-tick.C
		room.mu.Lock()
		ahead := room.ahead
		room.mu.Unlock()
		if ahead {
			return
		}
	}
}

// sentAtRandom is what has come of one sender's messages.
type sentAtRandom struct {
	receipts map[string]Receipt // by text
	doubtful map[string]bool    // given up: whether it may have been stored
	order    []string
}

// all posts a few at a time, and gives some of them up.
func (s *sentAtRandom) all(ctx context.Context, t *testing.T, room *Room, who int, random *rand.Rand) {
	s.receipts, s.doubtful = map[string]Receipt{}, map[string]bool{}
	for len(s.order) < randomSends {
		var posted []*Posted
		for range 1 + random.IntN(window/randomSenders) {
			id, options := fmt.Sprint("id ", who, " ", len(s.order)), []SendOption(nil)
			if random.IntN(2) == 0 {
				options = append(options, WithID(id))
			}
			text := padded(fmt.Sprint(who, " ", len(s.order)), random)
			s.order = append(s.order, text)
			p, err := room.Post(ctx, text, options...)
			if err != nil {
				t.Errorf("%q: %v", brief(text), err)
				return
			}
			if len(options) > 0 && p.ID() != id {
				t.Errorf("%q has the id %q", brief(text), p.ID())
			}
			posted = append(posted, p)
		}
		for _, p := range posted {
			s.wait(ctx, t, p, random)
		}
		if random.IntN(4) == 0 {
			room.Typing()
		}
	}
}

var errGivenUp = errors.New("enough")

// wait waits for the acknowledgement, or only so long.
func (s *sentAtRandom) wait(ctx context.Context, t *testing.T, p *Posted, random *rand.Rand) {
	if random.IntN(15) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(random.IntN(5))*time.Millisecond, errGivenUp)
		defer cancel()
	}
	receipt, err := p.Stored(ctx)
	switch {
	case err == nil:
		s.receipts[p.text] = receipt
	case errors.Is(err, errGivenUp):
		s.doubtful[p.text] = errors.Is(err, ErrUnconfirmed)
	default:
		t.Errorf("%q: %v", brief(p.text), err)
	}
}

// check wants each message stored once where its receipt says, none that was given up
// before it was handed over, and all in the order in which they were said.
func (s *sentAtRandom) check(t *testing.T, entries []clienttest.Entry) {
	t.Helper()
	stored := map[string][]Receipt{}
	for _, e := range entries {
		stored[e.Text] = append(stored[e.Text], Receipt{Sequence: e.Sequence, Time: e.Time, ID: e.ID})
	}
	last := uint64(0)
	for _, text := range s.order {
		at := stored[text]
		receipt, acknowledged := s.receipts[text]
		doubtful, givenUp := s.doubtful[text]
		switch {
		case acknowledged && (len(at) != 1 || at[0] != receipt):
			t.Errorf("%q is stored at %v, and acknowledged %+v", brief(text), at, receipt)
		case givenUp && (len(at) > 1 || len(at) == 1 && !doubtful):
			t.Errorf("%q was given up, maybe stored %v, and is stored at %v", brief(text), doubtful, at)
		}
		if acknowledged {
			if receipt.Sequence <= last {
				t.Errorf("%q is at %d, after %d", brief(text), receipt.Sequence, last)
			}
			last = receipt.Sequence
		}
	}
}
