package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/metadata"

	"securechat/client/clienttest"
)

// A thousand times a stream ends at a random moment, while eight goroutines send,
// somebody else does, and a reader reads: all that was acknowledged is there once,
// the reader has the room's order, and each sender's order is kept.
func TestRoomThousandReopenings(t *testing.T) {
	for _, test := range []struct {
		name        string
		early, late bool
	}{
		{"acknowledged at their place, some stored late", false, true},
		{"acknowledged at once", true, false},
		{"acknowledged at once, some stored late", true, true}, // no server of ours: the order is not to be had
	} {
		t.Run(test.name, func(t *testing.T) { reopen(t, 334, test.early, test.late) })
	}
}

func reopen(t *testing.T, times int64, early, late bool) {
	realm, server := startRooms(t)
	server.AcknowledgeEarly(early)
	server.StoreLate(late)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")

	var faults atomic.Int64
	random := rand.New(rand.NewPCG(1, 2))
	server.Fault(func(clienttest.Moment) error {
		if random.IntN(12) > 0 || faults.Load() >= times {
			return nil
		}
		if faults.Add(1)%20 == 0 {
			server.Drop()
			return nil
		}
		return errLost
	})

	ctx := patient(t)
	var senders sync.WaitGroup
	receipts := make([][]Receipt, 8)
	for i := range receipts {
		senders.Go(func() {
			for n := 0; faults.Load() < times; n++ {
				receipt, err := room.Send(ctx, fmt.Sprintf("%d/%d", i, n))
				if err != nil {
					t.Errorf("sender %d: %v", i, err)
					return
				}
				receipts[i] = append(receipts[i], receipt)
				if i == 0 && n%3 == 0 {
					server.Say("ops", "bob", fmt.Sprint("bob ", n))
				}
			}
		})
	}
	go func() {
		senders.Wait()
		server.Fault(nil)
		server.Say("ops", "bob", "the end")
	}()
	var got []Message
	for m, err := range room.Messages(ctx) {
		must(t, err)
		got = append(got, m)
		if m.Text == "the end" {
			break
		}
	}
	if early && late {
		wantEach(t, got, server.Entries("ops"))
	} else {
		wantLog(t, got, server.Entries("ops"))
	}
	wantReceipts(t, receipts, server.Entries("ops"))
	t.Logf("%d messages, %d streams ended", len(got), faults.Load())
}

// wantEach wants each entry once, in whatever order.
func wantEach(t *testing.T, got []Message, entries []clienttest.Entry) {
	t.Helper()
	seen := map[uint64]int{}
	for _, m := range got {
		seen[m.Sequence]++
	}
	for _, e := range entries {
		if seen[e.Sequence] != 1 {
			t.Errorf("%d %q came %d times", e.Sequence, e.Text, seen[e.Sequence])
		}
	}
	if len(got) != len(entries) {
		t.Errorf("got %d messages of %d", len(got), len(entries))
	}
}

// wantReceipts wants each message that was acknowledged stored once, where its
// receipt says, and each sender's in order.
func wantReceipts(t *testing.T, receipts [][]Receipt, entries []clienttest.Entry) {
	t.Helper()
	stored := map[string][]uint64{}
	for _, e := range entries {
		stored[e.Text] = append(stored[e.Text], e.Sequence)
	}
	for i, of := range receipts {
		last := uint64(0)
		for n, r := range of {
			text := fmt.Sprintf("%d/%d", i, n)
			if len(stored[text]) != 1 || stored[text][0] != r.Sequence || r.Sequence <= last {
				t.Errorf("%q is stored at %v, acknowledged at %d, after %d", text, stored[text], r.Sequence, last)
			}
			last = r.Sequence
		}
	}
}

// A message whose acknowledgement is lost is stored once, and the one that Send
// returns is of where it was stored at first. Newer messages wait behind it.
func TestRoomLostAcknowledgement(t *testing.T) {
	for name, moment := range map[string]clienttest.Moment{
		"message lost":         clienttest.Received,
		"acknowledgement lost": clienttest.Stored,
	} {
		t.Run(name, func(t *testing.T) {
			realm, server := startRooms(t)
			room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
			var once atomic.Bool
			server.Fault(func(m clienttest.Moment) error {
				if m == moment && once.CompareAndSwap(false, true) {
					return errLost
				}
				return nil
			})
			var posted []*Posted
			for _, text := range []string{"one", "two", "three"} {
				p, err := room.Post(patient(t), text)
				must(t, err)
				posted = append(posted, p)
			}
			for _, p := range posted {
				receipt, err := p.Stored(patient(t))
				must(t, err)
				if receipt.ID != p.ID() || len(receipt.ID) < 22 {
					t.Errorf("got id %q of %q", receipt.ID, p.ID())
				}
			}
			got := wantMessages(t, room, "one", "two", "three")
			wantLog(t, got, server.Entries("ops"))
		})
	}
}

// What a context gives up is not sent later, and Send says whether it can have
// been stored.
func TestRoomSendGivenUp(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	cause := errors.New("enough")
	ended, end := context.WithCancelCause(context.Background())
	end(cause)
	if _, err := room.Send(ended, "never"); !errors.Is(err, cause) || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("ended before: got %v", err)
	}

	server.Hold(true)
	ctx, cancel := context.WithCancelCause(context.Background())
	sent := blockedSend(room, ctx, "held")
	eventually(t, "it is not stored", func() bool { return len(server.Entries("ops")) == 1 })
	cancel(cause)
	if err := <-sent; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, cause) {
		t.Errorf("handed over: got %v, want ErrUnconfirmed and the cause", err)
	}

	// One that the server loses, and one that waits behind it.
	server.Refuse(errLost)
	server.Fault(func(m clienttest.Moment) error {
		if m == clienttest.Received {
			return errLost
		}
		return nil
	})
	ctx, cancel = context.WithCancelCause(context.Background())
	lost := blockedSend(room, ctx, "lost")
	for e := wantNext[Reconnecting](t, room); e.Err == nil; {
		e = wantNext[Reconnecting](t, room)
	}
	waiting := blockedSend(room, ctx, "waiting")
	eventually(t, "it does not wait", func() bool { return pendingOf(room) == 3 }) // with "held", which no stream has had the time to drop
	cancel(cause)
	if err := <-lost; !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("lost: got %v, want ErrUnconfirmed", err)
	}
	if err := <-waiting; !errors.Is(err, cause) || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("never handed over: got %v, want the cause alone", err)
	}
	server.Fault(nil)
	server.Refuse(nil)
	server.Hold(false)
	_, err := room.Send(patient(t), "after")
	must(t, err)
	wantLog(t, wantMessages(t, room, "held", "after"), server.Entries("ops"))
}

// loseOnReceipt has the stream that the next message arrives on lost with it.
func loseOnReceipt(server *clienttest.Server) {
	var once atomic.Bool
	server.Fault(func(m clienttest.Moment) error {
		if m == clienttest.Received && once.CompareAndSwap(false, true) {
			return errLost
		}
		return nil
	})
}

// A message that waits behind one that goes out again, and is given up, never
// goes out.
func TestRoomWaitingGivenUp(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	loseOnReceipt(server)
	wantNext[Live](t, room)
	server.Hold(true) // the next stream is not live, so that nothing goes out again
	first := blockedSend(room, patient(t), "first")
	wantNext[Reconnected](t, room)
	ctx, cancel := context.WithCancel(context.Background())
	behind := blockedSend(room, ctx, "behind")
	eventually(t, "it does not wait", func() bool { return pendingOf(room) == 2 })
	cancel()
	if err := <-behind; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("got %v", err)
	}
	server.Hold(false)
	must(t, <-first)
	_, err := room.Send(patient(t), "last")
	must(t, err)
	wantLog(t, wantMessages(t, room, "first", "last"), server.Entries("ops"))
}

// A message that was lost with its stream, and is given up before the next one is
// live, does not go out again.
func TestRoomLostGivenUp(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	loseOnReceipt(server)
	wantNext[Live](t, room)
	server.Hold(true) // the next stream is not live, so that nothing goes out again
	ctx, cancel := context.WithCancel(context.Background())
	lost := blockedSend(room, ctx, "lost")
	wantNext[Reconnected](t, room)
	eventually(t, "there is no next stream", func() bool {
		room.mu.Lock()
		defer room.mu.Unlock()
		return room.stream != nil
	})
	cancel()
	if err := <-lost; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want ErrUnconfirmed and the cause", err)
	}
	if n := pendingOf(room); n > 0 {
		t.Errorf("%d messages wait, which take the places of others", n)
	}
	server.Hold(false)
	_, err := room.Send(patient(t), "last")
	must(t, err)
	wantLog(t, wantMessages(t, room, "last"), server.Entries("ops"))
}

func pendingOf(room *Room) int {
	room.mu.Lock()
	defer room.mu.Unlock()
	return len(room.pending)
}

// No more than a window of messages is on its way, and contexts bound the wait.
func TestRoomWindow(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	server.Hold(true)
	var posted []*Posted
	for range window {
		p, err := room.Post(patient(t), "x")
		must(t, err)
		posted = append(posted, p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	more := blockedSend(room, ctx, "one more")
	eventually(t, "they are not stored", func() bool { return len(server.Entries("ops")) == window })
	cancel()
	if err := <-more; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnconfirmed) {
		t.Errorf("got %v", err)
	}
	server.Hold(false)
	for _, p := range posted {
		_, err := p.Stored(patient(t))
		must(t, err)
	}
	_, err := room.Send(patient(t), "after")
	must(t, err)
	if entries := server.Entries("ops"); len(entries) != window+1 {
		t.Errorf("got %d messages", len(entries))
	}
}

// What cannot be sent is refused, and costs the room nothing.
func TestRoomSendRefused(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	for _, test := range []struct{ text, id, words string }{
		{"caf\xe9", "", "not valid UTF-8"},
		{"x", strings.Repeat("i", 65), "65 bytes"},
		{"x", "\xff", "valid UTF-8"},
	} {
		if _, err := room.Send(patient(t), test.text, WithID(test.id)); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("got %v, want %q in it", err, test.words)
		}
	}
	_, err := room.Send(metadata.AppendToOutgoingContext(patient(t), "chat-room", "other"), "fine")
	must(t, err)
	if entries := server.Entries("ops"); len(entries) != 1 {
		t.Errorf("got %+v", entries)
	}
}

// A program that sends and never reads has its acknowledgements. When it reads
// after all, it gets everything.
func TestRoomSenderDoesNotRead(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	const count = 3 * backlogEvents
	for i := range count {
		_, err := room.Send(patient(t), fmt.Sprint(i))
		must(t, err)
		if i == 2*backlogEvents {
			server.Drop() // it comes back from where it was, not from where the program is
		}
	}
	room.mu.Lock()
	held := len(room.backlog.events)
	room.mu.Unlock()
	if held > backlogEvents {
		t.Errorf("%d events are held", held)
	}
	server.Say("ops", "bob", "the end")
	var got []Message
	for len(got) < count+1 {
		m, err := room.Receive(patient(t))
		must(t, err)
		got = append(got, m)
	}
	wantLog(t, got, server.Entries("ops"))
	_, err := room.Send(patient(t), "on")
	must(t, err)
	wantMessages(t, room, "on")
}

// A message that went out twice is told once, though it is the last for which there
// is room, and what comes next is dropped and read again.
func TestRoomLastBeforeItRunsAhead(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	var got []Message
	for fill := range 16 { // what else is told takes some of it, more or less
		for i := range backlogEvents - 12 + fill {
			server.Say("ops", "bob", fmt.Sprint(i))
		}
		loseOnReceipt(server)
		_, err := room.Send(patient(t), "mine")
		must(t, err)
		server.Say("ops", "bob", "after")
		_, err = room.Send(patient(t), fmt.Sprint("the end of ", fill))
		must(t, err)
		for len(got) == 0 || got[len(got)-1].Text != fmt.Sprint("the end of ", fill) {
			m, err := room.Receive(patient(t))
			must(t, err)
			got = append(got, m)
		}
	}
	wantLog(t, got, server.Entries("ops"))
}

// A program that reads slowly and sends nothing has the server wait, and misses
// nothing; nor does one that was cut for it.
func TestRoomSlowReader(t *testing.T) {
	realm, server := startRooms(t)
	room := join(t, dial(t, realm.User("alice"), server.Address()), "ops")
	wantNext[Live](t, room)
	text := strings.Repeat("x", 8<<10)
	const count = 1000
	for range count {
		server.Say("ops", "bob", text)
	}
	held := func() int {
		room.mu.Lock()
		defer room.mu.Unlock()
		return room.backlog.bytes
	}
	eventually(t, "the backlog does not fill", func() bool { return held() > backlogBytes-2*len(text) })
	server.End(clienttest.InGoodOrder)
	var got []Message
	for len(got) < count {
		if held() > backlogBytes {
			t.Fatalf("%d bytes are held", held())
		}
		m, err := room.Receive(patient(t))
		must(t, err)
		got = append(got, m)
	}
	wantLog(t, got, server.Entries("ops"))
}
