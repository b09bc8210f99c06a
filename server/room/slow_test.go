package room_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// cutOf is closed when the member is cut.
func cutOf(m *room.Member) <-chan struct{} {
	cut := make(chan struct{})
	m.OnCut(func() { close(cut) })
	return cut
}

func wantCut(t *testing.T, cut <-chan struct{}) {
	t.Helper()
	select {
	case <-cut:
	case <-time.After(patience):
		t.Fatal("the member was not cut")
	}
}

func TestASlowMemberIsCutAndTheOthersGoOn(t *testing.T) {
	log := roomtest.NewMemory()
	hub := newHub(t, room.Config{Log: log, Queue: 16, Lag: time.Nanosecond})
	slow := joinLive(t, hub, "ops", "slow")
	bob := joinLive(t, hub, "ops", "bob")
	alice := joinLive(t, hub, "ops", "alice")
	slow.want("JOINED bob", "JOINED alice")
	bob.want("JOINED alice")

	alice.post("", "0")
	cursor := alice.wantAck().Sequence
	slow.want("alice: 0")
	bob.want("alice: 0")
	for range 16 {
		alice.post("", "x")
		alice.wantAck()
		bob.want("alice: x")
	}
	cut := cutOf(slow.Member)
	select {
	case <-cut:
		t.Fatal("cut within its bound")
	default:
	}
	alice.post("", "x")
	alice.wantAck()
	bob.want("alice: x")
	wantCut(t, cut)
	wantCut(t, cutOf(slow.Member)) // who asks afterwards is told, too
	slow.wantEnd(room.ErrSlow)
	if err := slow.Post(t.Context(), room.Posting{Text: "x"}); !errors.Is(err, room.ErrSlow) {
		t.Errorf("Post: %v", err)
	}
	slow.Leave()

	// It loses nothing by coming back to where it was.
	again := join(t, hub, "ops", "slow", after(cursor))
	for range 17 {
		again.want("alice: x")
	}
	again.want("LIVE")
	if cut := hub.Stats().Slow; cut != 1 {
		t.Errorf("%d members were cut", cut)
	}
}

// A member has all of its time after the process has been held up, in which nobody
// could be given anything.
func TestTimeInWhichTheProcessIsHeldUpIsNotAMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heldUp atomic.Int64
		hub := newHub(t, room.Config{
			Log: roomtest.NewMemory(), Queue: 8, Lag: 5 * time.Second,
			Now: func() time.Time { return time.Now().Add(time.Duration(heldUp.Load())) },
		})
		joinLive(t, hub, "ops", "slow")
		alice := joinLive(t, hub, "ops", "alice")
		time.Sleep(500*time.Millisecond - 1) // the bubble's clock: the first look comes at once
		for range 10 {
			alice.post("", "x")
			alice.wantAck()
		}
		heldUp.Store(int64(time.Hour))
		time.Sleep(5*time.Second - 1) // the bubble's clock
		synctest.Wait()
		if cut := hub.Stats().Slow; cut != 0 {
			t.Errorf("%d members were cut in their time", cut)
		}
		time.Sleep(time.Second) // the bubble's clock
		synctest.Wait()
		if cut := hub.Stats().Slow; cut != 1 {
			t.Errorf("%d members were cut, want the one that reads nothing", cut)
		}
	})
}

// Who is lapped and goes on reading catches up from the log, and is not cut.
func TestALappedMemberCatchesUp(t *testing.T) {
	const messages = 100
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Queue: 8, Lag: time.Hour})
	bob := joinLive(t, hub, "ops", "bob")
	alice := joinLive(t, hub, "ops", "alice")
	bob.want("JOINED alice")
	for i := range messages {
		alice.post("", strconv.Itoa(i))
		alice.wantAck()
	}
	bob.post("", "here")
	for i := range messages {
		bob.want("alice: " + strconv.Itoa(i))
	}
	bob.wantAck() // at its place, after what came before it
	alice.post("", "live again")
	bob.want("alice: live again")
	if cut := hub.Stats().Slow; cut != 0 {
		t.Errorf("%d members were cut", cut)
	}
}

func TestTheBoundIsInBytesToo(t *testing.T) {
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), QueueBytes: 64 << 10, Lag: time.Nanosecond})
	slow := joinLive(t, hub, "ops", "slow")
	alice := joinLive(t, hub, "ops", "alice")
	for range 4 {
		alice.post("", strings.Repeat("x", 16<<10))
		alice.wantAck()
	}
	wantCut(t, cutOf(slow.Member))
}

// However many members do not read, the room keeps its events once.
func TestSlowMembersCostNoMemory(t *testing.T) {
	const members, messages, size = 300, 400, 4 << 10
	log := roomtest.NewMemory()
	hub := newHub(t, room.Config{Log: log, QueueBytes: 16 << 20})
	for range members {
		joinLive(t, hub, "ops", "slow")
	}
	alice := joinLive(t, hub, "ops", "alice")
	before := heap()
	for range messages {
		alice.post("", strings.Repeat("x", size))
		alice.wantAck()
	}
	if grown := int64(heap()) - int64(before); grown > 4*messages*size {
		t.Errorf("%d bytes for %d messages of %d bytes", grown, messages, size)
	}
	if cut := hub.Stats().Slow; cut != 0 {
		t.Errorf("%d members were cut within their bound", cut)
	}
}

// Who is stuck in handing events on holds few of them, which the room may have no more.
func TestAMemberIsGivenLittleAtATime(t *testing.T) {
	const messages, most = 60, 128<<10 + 16<<10
	hub := newHub(t, room.Config{Log: roomtest.NewMemory()})
	bob := joinLive(t, hub, "ops", "bob")
	alice := joinLive(t, hub, "ops", "alice")
	bob.want("JOINED alice")
	text := strings.Repeat("x", 15<<10)
	for range messages {
		alice.post("", text)
		alice.wantAck()
	}
	events := make([]room.Event, 128)
	for count := 0; count < messages; {
		n, err := bob.Next(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, e := range events[:n] {
			size += len(e.Wire)
		}
		if count += n; size > most {
			t.Errorf("%d events of %d bytes at a time", n, size)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A replay is read from the log however far the room runs ahead meanwhile.
func TestAReplayIsNotCut(t *testing.T) {
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Queue: 8})
	fillRoom(t, hub, "ops", 60)
	bob := join(t, hub, "ops", "bob", beginning)
	const before, rounds = 60, 30
	lived := false
	for count := 0; count < before+10*rounds; {
		e, err := bob.next()
		if err != nil {
			t.Fatalf("after %d messages: %v", count, err)
		}
		switch show(e) {
		case "filler: filling":
			if count++; count%10 == 5 && count < 10*rounds {
				fillRoom(t, hub, "ops", 10)
			}
		case "LIVE":
			if lived || count < 10*rounds {
				t.Errorf("LIVE after %d messages", count)
			}
			lived = true
		}
	}
}

func TestPostWaitsWhileTooMuchIsNotAcknowledged(t *testing.T) {
	cases := map[string]struct {
		text string
		fit  int
	}{
		"messages": {"x", 64},
		"bytes":    {strings.Repeat("x", 60<<10), 4},
		"one huge": {strings.Repeat("x", 300<<10), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			hub := newHub(t, room.Config{Log: roomtest.NewMemory(), QueueBytes: 16 << 20})
			alice := joinLive(t, hub, "ops", "alice")
			for range c.fit {
				alice.post("", c.text)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := alice.Post(ctx, room.Posting{Text: c.text}); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("one more: %v", err)
			}
			posted := make(chan error)
			go func() { posted <- alice.Post(t.Context(), room.Posting{Text: c.text}) }()
			one := make([]room.Event, 1) // makes room for one, and no more
			if _, err := alice.Next(t.Context(), one); err != nil || show(one[0]) != "ack "+c.text {
				t.Errorf("got %.40s, %v", show(one[0]), err)
			}
			if err := <-posted; err != nil {
				t.Error(err)
			}
			go func() { posted <- alice.Post(t.Context(), room.Posting{Text: c.text}) }()
			alice.Leave()
			if err := <-posted; !errors.Is(err, room.ErrClosed) {
				t.Errorf("left while it waited: %v", err)
			}
		})
	}
}

// However many rooms have members who read nothing, what they hold together is
// bounded. Nobody loses anything by that, and nothing is held for ever.
func TestRoomsHoldABoundedAmountTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, messages, held, each = 40, 20, 1 << 20, 256 << 10
		hub := newHub(t, room.Config{Log: roomtest.NewMemory(), QueueBytes: each, HeldBytes: held, Lag: time.Hour})
		text := strings.Repeat("x", 15<<10)
		type pair struct{ says, reads *session }
		var pairs []pair
		for i := range rooms {
			key := room.Key("room" + strconv.Itoa(i))
			one := pair{says: joinLive(t, hub, key, "alice"), reads: joinLive(t, hub, key, "bob")}
			one.says.want("JOINED bob")
			pairs = append(pairs, one)
		}
		for _, one := range pairs {
			for range messages {
				one.says.post("", text)
				one.says.wantAck()
			}
		}
		const most = held + each + rooms*(each/16+16<<10) // what there was, and what each room may still take
		if bytes, events := hub.Held(); bytes > most || bytes < held/2 || events == 0 {
			t.Errorf("the rooms hold %d bytes, %d events, want %d bytes at most", bytes, events, most)
		}
		for _, one := range pairs {
			for range messages {
				one.reads.want("alice: " + text)
			}
			one.reads.Leave()
			one.says.Leave()
		}
		time.Sleep(time.Minute) // the bubble's clock
		synctest.Wait()
		if bytes, events := hub.Held(); bytes != 0 || events != 0 {
			t.Errorf("the rooms hold %d bytes, %d events, and nobody is there", bytes, events)
		}
	})
}

// Members who read nothing in rooms in which nothing happens do not have for good what
// all rooms may hold: it is there for the others.
func TestQuietRoomsGiveWayWhileAllHoldTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, held, each = 20, 1 << 20, 256 << 10
		hub := newHub(t, room.Config{Log: roomtest.NewMemory(), QueueBytes: each, HeldBytes: held, Lag: 5 * time.Second})
		text := strings.Repeat("x", 15<<10)
		var stuck []*session
		for i := range rooms {
			key := room.Key("room" + strconv.Itoa(i))
			alice := joinLive(t, hub, key, "alice")
			stuck = append(stuck, joinLive(t, hub, key, "mallory"))
			alice.want("JOINED mallory")
			for range 12 {
				alice.post("", text)
				alice.wantAck()
			}
		}
		bob := joinLive(t, hub, "busy", "bob")
		if bytes, _ := hub.Held(); bytes <= held {
			t.Fatalf("the rooms hold %d bytes", bytes)
		}
		time.Sleep(2 * time.Second) // the bubble's clock
		for range 12 {
			bob.post("", text)
			bob.wantAck()
		}
		if bytes, _ := hub.Held(); bytes > held {
			t.Errorf("the rooms hold %d bytes, want %d at most", bytes, held)
		}
		if _, events := hub.Kept("busy"); events < 12 {
			t.Errorf("a busy room holds %d events", events)
		}
		for range 12 { // who reads on, if late, loses nothing
			stuck[0].want("alice: " + text)
		}
		stuck[0].post("", "here")
		stuck[0].want("ack here")
	})
}

// What an unused room holds is given back also where it is unloaded at once, since
// there are too many.
func TestUnusedRoomsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms = 1024 + 10
		hub := newHub(t, room.Config{Log: roomtest.NewMemory()})
		var all []*session
		for i := range rooms {
			alice := joinLive(t, hub, room.Key("room"+strconv.Itoa(i)), "alice")
			alice.post("", "hello")
			alice.wantAck()
			all = append(all, alice)
		}
		if bytes, _ := hub.Held(); bytes == 0 {
			t.Error("rooms that are in use hold nothing")
		}
		for _, alice := range all {
			alice.Leave()
		}
		time.Sleep(time.Minute) // the bubble's clock
		synctest.Wait()
		if bytes, events := hub.Held(); bytes != 0 || events != 0 {
			t.Errorf("the rooms hold %d bytes, %d events, and nobody is there", bytes, events)
		}
	})
}
