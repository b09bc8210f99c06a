//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"securechat/client"
	chatpb "securechat/proto/chat"
	"securechat/server/room/roomtest"
)

// A conversation is people who talk and listen in rooms, whatever breaks under
// them, and a record of what each was told.
type conversation struct {
	t        *testing.T
	ctx      context.Context // of all who take part
	enough   chan struct{}   // closed when nobody has anything more to say
	burst    int             // how many messages a speaker says at a time
	speaking sync.WaitGroup
	leave    context.CancelFunc // for those who listen
	present  context.Context    // likewise
	reading  sync.WaitGroup

	stored atomic.Int64 // messages acknowledged
	lost   atomic.Int64 // streams of readers that ended and were to have successors
	breaks atomic.Int64 // these successors

	mu      sync.Mutex
	rooms   map[string]*roomtest.History
	readers map[*roomtest.Reader]*roomtest.History
}

// converse begins a conversation that may take so long.
func converse(t *testing.T, limit time.Duration) *conversation {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	present, leave := context.WithCancel(ctx)
	c := &conversation{
		t: t, ctx: ctx, present: present, leave: leave, enough: make(chan struct{}), burst: 4,
		rooms: map[string]*roomtest.History{}, readers: map[*roomtest.Reader]*roomtest.History{},
	}
	t.Cleanup(func() {
		cancel()
		c.speaking.Wait()
		c.reading.Wait()
	})
	return c
}

func (c *conversation) history(room string) *roomtest.History {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms[room] == nil {
		c.rooms[room] = roomtest.NewHistory()
	}
	return c.rooms[room]
}

// join enters a room as soon as there is a server that lets it.
func (c *conversation) join(ctx context.Context, conn *client.Conn, name string, from ...client.JoinOption) (*client.Room, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		room, err := conn.Join(ctx, name, from...)
		var e *client.Error
		if err == nil || !errors.As(err, &e) || !e.Retryable() || ctx.Err() != nil {
			return room, err
		}
		<-again.C
	}
}

// talkEvery is how long a speaker rests after some messages.
const talkEvery = 10 * time.Millisecond

// speak has a user say things in a room until it is enough, and returns how many
// have been acknowledged.
func (c *conversation) speak(conn *client.Conn, sender, name string) *atomic.Int64 {
	return c.speakEvery(talkEvery, conn, sender, name)
}

func (c *conversation) speakEvery(rest time.Duration, conn *client.Conn, sender, name string) *atomic.Int64 {
	stored := &atomic.Int64{}
	c.speaking.Go(func() {
		room, err := c.join(c.ctx, conn, name)
		if err != nil {
			c.t.Errorf("%s joins %s: %v", sender, name, err)
			return
		}
		defer room.Close()
		history := c.history(name)
		posted := make(chan *client.Posted, 64)
		var confirming sync.WaitGroup
		confirming.Go(func() { c.confirm(history, room.User(), posted, stored) })
		defer confirming.Wait()
		defer close(posted)
		tick := time.NewTicker(rest)
		defer tick.Stop()
		for n := 0; ; n++ {
			id := sender + "-" + strconv.Itoa(n)
			history.Posting(sender, room.User(), id, "text of "+id)
			p, err := room.Post(c.ctx, "text of "+id, client.WithID(id))
			if err != nil {
				c.t.Errorf("%s posts in %s: %v", sender, name, err)
				return
			}
			posted <- p
			if n%c.burst != 0 {
				continue
			}
			select {
			case <-tick.C:
			case <-c.enough:
				return
			}
		}
	})
	return stored
}

func (c *conversation) confirm(history *roomtest.History, user string, posted <-chan *client.Posted, stored *atomic.Int64) {
	var failed error // the first is enough
	for p := range posted {
		receipt, err := p.Stored(c.ctx)
		if err != nil {
			if failed == nil {
				c.t.Errorf("%s is not acknowledged: %v", p.ID(), err)
			}
			failed = err
			continue
		}
		history.Acknowledged(user, p.ID(), receipt.Sequence)
		stored.Add(1)
		c.stored.Add(1)
	}
}

// listen has a user read a room from its beginning.
func (c *conversation) listen(conn *client.Conn, reader, name string) {
	saw := c.reader(reader, name)
	c.reading.Go(func() {
		room, err := c.join(c.present, conn, name, client.FromStart())
		if err != nil {
			c.t.Errorf("%s joins %s: %v", reader, name, err)
			return
		}
		defer room.Close()
		for event, err := range room.Events(c.present) {
			switch e := event.(type) {
			case client.Message:
				saw.Saw(roomtest.Message{Sequence: e.Sequence, User: e.User, ID: e.ID, Text: e.Text})
			case client.Reconnecting:
				c.lost.Add(1)
			case client.Reconnected:
				c.breaks.Add(1)
			}
			if err != nil && c.present.Err() == nil {
				c.t.Errorf("%s reads %s: %v", reader, name, err)
			}
		}
	})
}

func (c *conversation) reader(reader, name string) *roomtest.Reader {
	history := c.history(name)
	saw := history.Reader(reader, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[saw] = history
	return saw
}

// wander has a user read a room from its beginning with streams of its own, each
// from its cursor, each left after at most so many messages: 0 is never.
func (c *conversation) wander(chat chatpb.ChatClient, reader, name string, most int, random *rand.Rand) {
	saw := c.reader(reader, name)
	c.reading.Go(func() {
		for c.present.Err() == nil {
			messages := 0
			if most > 0 {
				messages = 1 + random.IntN(most)
			}
			c.visit(chat, saw, reader, name, messages)
			c.breaks.Add(1)
		}
	})
}

func (c *conversation) visit(chat chatpb.ChatClient, saw *roomtest.Reader, reader, name string, messages int) {
	ctx, cancel := context.WithCancel(c.present)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, chatpb.MetadataRoom, name, chatpb.MetadataAfter, strconv.FormatUint(saw.Cursor(), 10))
	stream, err := chat.ChatStream(ctx, grpc.WaitForReady(true))
	for had := 0; err == nil && (messages == 0 || had < messages); {
		var m *chatpb.ChatMessage
		m, err = stream.Recv()
		if err != nil {
			break
		}
		switch m.Kind {
		case chatpb.Kind_MESSAGE:
			saw.Saw(roomtest.Message{Sequence: m.Sequence, User: m.User, ID: m.Id, Text: m.Message})
			had++
		case chatpb.Kind_LIVE:
			if m.Sequence < saw.Cursor() {
				c.t.Errorf("%s is live at %d in %s and has seen %d", reader, m.Sequence, name, saw.Cursor())
			}
		}
	}
}

// leaf has a newcomer read a room page by page, up to the end of its log: beyond what
// was acknowledged last there may be what was stored twice.
func (c *conversation) leaf(conn *client.Conn, name string) {
	c.t.Helper()
	saw := c.history(name).Reader("who leafs through "+name, 0)
	for m, err := range conn.History(c.ctx, name, client.FromStart()) {
		must(c.t, err)
		saw.Saw(roomtest.Message{Sequence: m.Sequence, User: m.User, ID: m.ID, Text: m.Text})
	}
}

// more waits until so many more messages have been acknowledged.
func (c *conversation) more(messages int) {
	c.t.Helper()
	c.until(fmt.Sprint(messages, " more messages"), &c.stored, c.stored.Load()+int64(messages))
}

// until waits until a count has got so far.
func (c *conversation) until(what string, count *atomic.Int64, far int64) {
	c.t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	late := time.After(patience)
	for count.Load() < far {
		select {
		case <-again.C:
		case <-late:
			c.t.Fatalf("%s: %d of %d within %v", what, count.Load(), far, patience)
		}
		if c.t.Failed() {
			c.t.Fatalf("%s: no more", what)
		}
	}
}

// end lets those who speak finish and those who listen hear it, has a newcomer
// read each room from its beginning, in both ways, and checks what all of them were
// told.
func (c *conversation) end(newcomer *client.Conn) {
	c.t.Helper()
	close(c.enough)
	c.speaking.Wait()
	c.mu.Lock()
	rooms := slices.Collect(maps.Keys(c.rooms))
	c.mu.Unlock()
	for _, name := range rooms {
		c.listen(newcomer, "the newcomer in "+name, name)
		c.leaf(newcomer, name)
	}
	eventually(c.t, "all have read everything", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for reader, history := range c.readers {
			if reader.Cursor() < history.Newest() {
				return fmt.Errorf("somebody is at %d of %d", reader.Cursor(), history.Newest())
			}
		}
		return nil
	})
	c.leave()
	c.reading.Wait()
	for name, history := range c.rooms {
		if err := history.Check(); err != nil {
			c.t.Errorf("in %s: %v", name, err)
		}
	}
	c.t.Logf("%d messages acknowledged, %d readers in %d rooms, who came back %d times", c.stored.Load(), len(c.readers), len(c.rooms), c.breaks.Load())
}
