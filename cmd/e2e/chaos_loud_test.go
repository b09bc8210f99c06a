//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	chatpb "securechat/proto/chat"
)

const (
	loudEvery = 100 * time.Millisecond // from one message to the next
	loudText  = 16 << 10               // bytes of each: a MiB in 6 seconds
	loudRoom  = "ops"
)

// A loud is a room in which large messages are said all the time, and what becomes
// of them.
type loud struct {
	t     *testing.T
	node  *node
	admin *http.Client

	ctx     context.Context // of all streams
	cancel  context.CancelFunc
	members sync.WaitGroup // with the speaker

	mu        sync.Mutex
	sent      map[string]time.Time
	stored    []uint64
	latencies []time.Duration // from a message's being sent to each member's having it
}

// newLoud begins to say things, to those who will come, until end.
func newLoud(t *testing.T, w *town, n *node) *loud {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	l := &loud{
		t: t, node: n, admin: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		ctx: ctx, cancel: cancel, sent: map[string]time.Time{},
	}
	stream := l.open(ctx, w.user("alice").raw(n.listen))
	l.members.Go(func() { l.speak(stream) })
	return l
}

// end ends all streams before their connections are closed.
func (l *loud) end() {
	l.cancel()
	l.members.Wait()
}

func (l *loud) open(ctx context.Context, chat chatpb.ChatClient, pairs ...string) chatpb.Chat_ChatStreamClient {
	l.t.Helper()
	stream, err := chat.ChatStream(metadata.AppendToOutgoingContext(ctx, append(pairs, chatpb.MetadataRoom, loudRoom)...))
	must(l.t, err)
	return stream
}

func (l *loud) speak(stream chatpb.Chat_ChatStreamClient) {
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		for {
			m, err := stream.Recv()
			if err != nil {
				if l.ctx.Err() == nil {
					l.t.Errorf("the speaker's stream: %v", err)
				}
				return
			}
			if m.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
				l.mu.Lock()
				l.stored = append(l.stored, m.Sequence)
				l.mu.Unlock()
			}
		}
	}()
	defer func() { <-acknowledged }()
	tick := time.NewTicker(loudEvery)
	defer tick.Stop()
	text := strings.Repeat("x", loudText)
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-acknowledged:
			return
		}
		id := strconv.Itoa(i)
		l.mu.Lock()
		l.sent[id] = time.Now()
		l.mu.Unlock()
		_ = stream.Send(&chatpb.ChatMessage{Id: id, Message: text}) // Recv has the error
	}
}

// seat has so many members who read, over a few connections, and returns when all
// are live.
func (l *loud) seat(u *townsman, members int) {
	l.t.Helper()
	const together = 20 // streams of a connection
	var live sync.WaitGroup
	var chat chatpb.ChatClient
	for i := range members {
		if i%together == 0 {
			chat = u.raw(l.node.listen)
		}
		stream := l.open(l.ctx, chat)
		live.Add(1)
		l.members.Go(func() { l.hear(stream, live.Done) })
	}
	live.Wait()
}

func (l *loud) hear(stream chatpb.Chat_ChatStreamClient, live func()) {
	begun, last := false, uint64(0)
	defer func() {
		if !begun {
			live()
		}
	}()
	for {
		m, err := stream.Recv()
		if err != nil {
			if l.ctx.Err() == nil {
				l.t.Errorf("a member who reads: %v", err)
			}
			return
		}
		switch m.Kind {
		case chatpb.Kind_LIVE:
			begun = true
			live()
		case chatpb.Kind_MESSAGE:
			now := time.Now()
			l.mu.Lock()
			l.latencies = append(l.latencies, now.Sub(l.sent[m.Id]))
			before, known := slices.BinarySearch(l.stored, last)
			gap := known && before+1 < len(l.stored) && l.stored[before+1] != m.Sequence
			l.mu.Unlock()
			if gap || m.Sequence <= last {
				l.t.Errorf("a member has %d after %d", m.Sequence, last)
			}
			last = m.Sequence
		}
	}
}

// p99 returns how long 99 of 100 messages have taken since it was last called.
func (l *loud) p99() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.latencies
	l.latencies = nil
	if len(taken) == 0 {
		return 0
	}
	slices.Sort(taken)
	return taken[len(taken)*99/100]
}

// more waits until so many more messages have been stored.
func (l *loud) more(messages int) {
	l.t.Helper()
	have := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.stored)
	}
	want := have() + messages
	eventually(l.t, "messages are stored", func() error {
		if n := have(); n < want {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	})
}

var (
	heapInUse = regexp.MustCompile(`(?m)^# HeapInuse = (\d+)$`)
	slowCuts  = regexp.MustCompile(`(?m)^securechat_cuts_total\{.*reason="SLOW_CONSUMER".*\} (\d+)$`)
)

// heap is what the server holds, in bytes, once what it no longer needs is gone.
func (l *loud) heap() int { return l.number("/debug/pprof/heap?gc=1&debug=1", heapInUse) }

// cuts is how many members have been cut for being slow.
func (l *loud) cuts() int { return l.number("/metrics", slowCuts) }

// number reads a number from a page of the admin listener; one that is not there
// is 0.
func (l *loud) number(path string, expression *regexp.Regexp) int {
	l.t.Helper()
	response, err := l.admin.Get("http://" + l.node.admin + path)
	must(l.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(l.t, err)
	found := expression.FindSubmatch(text)
	if found == nil {
		return 0
	}
	number, err := strconv.Atoi(string(found[1]))
	must(l.t, err)
	return number
}

// A sluggard is a member who does not read, until it is cut.
type sluggard struct {
	loud   *loud
	chat   chatpb.ChatClient
	stream chatpb.Chat_ChatStreamClient
	from   uint64 // where it was live
	had    []uint64
}

// sluggard joins, and stops reading once it is live. Its transport takes as much as
// HTTP/2 lets through at first, and no more.
func (l *loud) sluggard(u *townsman) *sluggard {
	l.t.Helper()
	s := &sluggard{loud: l, chat: u.raw(l.node.listen, grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))}
	s.stream = l.open(l.ctx, s.chat)
	for {
		m, err := s.stream.Recv()
		must(l.t, err)
		if m.Kind == chatpb.Kind_LIVE {
			s.from = m.Sequence
			return s
		}
	}
}

// read reads until the stream ends, which it returns how, or a message is there.
func (s *sluggard) read(until uint64) error {
	for len(s.had) == 0 || s.had[len(s.had)-1] < until {
		m, err := s.stream.Recv()
		if err != nil {
			return err
		}
		if m.Kind == chatpb.Kind_MESSAGE {
			s.had = append(s.had, m.Sequence)
		}
	}
	return nil
}

// resume comes back to its cursor and wants to have had, in the end, all that was
// said since it came first.
func (s *sluggard) resume() error {
	s.loud.mu.Lock()
	first, _ := slices.BinarySearch(s.loud.stored, s.from+1)
	want := slices.Clone(s.loud.stored[first:])
	s.loud.mu.Unlock()
	cursor := s.from
	if len(s.had) > 0 {
		cursor = s.had[len(s.had)-1]
	}
	ctx, leave := context.WithCancel(s.loud.ctx)
	defer leave()
	s.stream = s.loud.open(ctx, s.chat, chatpb.MetadataAfter, strconv.FormatUint(cursor, 10))
	if err := s.read(want[len(want)-1]); err != nil {
		return fmt.Errorf("after it has come back: %w", err)
	}
	if len(s.had) < len(want) || !slices.Equal(s.had[:len(want)], want) {
		return fmt.Errorf("of %d messages it has had %d, or others", len(want), len(s.had))
	}
	return nil
}
