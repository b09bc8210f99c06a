package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// A member is one stream of a client that reads, and what became of it. Its
// fields are those of the goroutine that it lives on until that has ended.
type member struct {
	stream  chatpb.Chat_ChatStreamClient
	from    string        // the client's address
	every   time.Duration // between the messages that it sends; 0: it only listens
	session auth.Session  // as the operator sees it

	sent  []time.Time // when each message was sent; its number is its id
	wrong error       // an acknowledgement that is none of the next message
	late  bool        // a message was accepted by the client's side after the end
	ended time.Time
	err   error

	acked atomic.Int64 // messages acknowledged, from the first on, each once and in order
}

// openMember opens a stream and waits until it is admitted.
func openMember(ctx context.Context, conn *grpc.ClientConn, token string, every time.Duration) (*member, error) {
	stream, err := admitted(ctx, conn, token)
	if err != nil {
		return nil, err
	}
	from, ok := peer.FromContext(stream.Context())
	if !ok {
		return nil, errors.New("grpc-go does not say where the connection is from")
	}
	return &member{stream: stream, from: from.LocalAddr.String(), every: every}, nil
}

// live sends and receives until the stream ends, or, once leave is closed, half-
// closes it and receives what is still to come.
func (m *member) live(leave <-chan struct{}) {
	ended := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { m.send(ended, leave) })
	for {
		ack, err := m.stream.Recv()
		if err != nil {
			m.ended, m.err = time.Now(), err
			break
		}
		if next := strconv.FormatInt(m.acked.Load(), 10); ack.Id != next && m.wrong == nil {
			m.wrong = fmt.Errorf("the acknowledgement of %q came in the place of %s", ack.Id, next)
		}
		m.acked.Add(1)
	}
	close(ended)
	sending.Wait()
}

func (m *member) send(ended, leave <-chan struct{}) {
	var tick <-chan time.Time
	if m.every > 0 {
		ticker := time.NewTicker(m.every)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ended:
			m.late = m.stream.Send(&chatpb.ChatMessage{Message: "too late"}) == nil
			return
		case <-leave:
			_ = m.stream.CloseSend() // Recv has the error
			return
		case <-tick:
			m.sent = append(m.sent, time.Now())
			_ = m.stream.Send(&chatpb.ChatMessage{Id: strconv.Itoa(len(m.sent) - 1), Message: "on"}) // likewise
		}
	}
}

// A crowd is the streams of one citizen, of clients of every kind.
type crowd struct {
	citizen            *citizen
	talkers, listeners []*member
	deaf               []*deafClient

	living sync.WaitGroup
	leave  chan struct{}
}

const (
	crowdSize    = 200 // streams of each kind
	crowdPerConn = 50
	talkEvery    = 100 * time.Millisecond
)

// crowd opens the streams, and returns when the operator sees all and those of
// the deaf clients are stuck.
func (c *citizen) crowd(ctx context.Context, expires time.Time) *crowd {
	t := c.town.t
	t.Helper()
	crowd := &crowd{citizen: c, leave: make(chan struct{})}
	before, err := c.town.unacknowledged(ctx)
	if err != nil {
		t.Fatal(err)
	}
	token := c.token(expires)
	var opening sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	open := func(f func() error) {
		opening.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
		})
	}
	for range crowdSize / crowdPerConn {
		for kind, every := range map[*[]*member]time.Duration{&crowd.talkers: talkEvery, &crowd.listeners: 0} {
			conn := c.dial()
			open(func() error {
				for range crowdPerConn {
					m, err := openMember(ctx, conn, token, every)
					if err != nil {
						return err
					}
					mu.Lock()
					*kind = append(*kind, m)
					mu.Unlock()
				}
				return nil
			})
		}
		deaf := c.deafClient()
		crowd.deaf = append(crowd.deaf, deaf)
		open(func() error { return deaf.open(crowdPerConn, token) })
	}
	opening.Wait()
	if len(failures) > 0 {
		t.Fatal(errors.Join(failures...))
	}
	for _, m := range crowd.readers() {
		crowd.living.Go(func() { m.live(crowd.leave) })
	}
	if err := within(patience, func() error { return crowd.settled(ctx, before) }); err != nil {
		t.Fatal(err)
	}
	return crowd
}

func (c *crowd) readers() []*member {
	return append(append([]*member(nil), c.talkers...), c.listeners...)
}

// sessions are those of all its streams, as the operator sees them.
func (c *crowd) sessions() (all []auth.Session) {
	for _, m := range c.readers() {
		all = append(all, m.session)
	}
	for _, d := range c.deaf {
		all = append(all, d.sessions...)
	}
	return all
}

// settled says whether all streams are live and those of the deaf clients hold a
// message whose acknowledgement cannot be sent.
func (c *crowd) settled(ctx context.Context, before int) error {
	sessions, err := c.citizen.town.list(ctx, c.citizen.name)
	if err != nil {
		return err
	}
	if len(sessions) != 3*crowdSize {
		return fmt.Errorf("%d streams are live, want %d", len(sessions), 3*crowdSize)
	}
	stuck, err := c.citizen.town.unacknowledged(ctx)
	if err != nil {
		return err
	}
	if stuck -= before; stuck < crowdSize {
		return fmt.Errorf("%d handlers are stuck, want %d", stuck, crowdSize)
	}
	for _, m := range c.talkers {
		if m.acked.Load() == 0 {
			return errors.New("a stream that sends has had nothing acknowledged")
		}
	}
	return c.recognise(sessions)
}

// recognise tells the members which sessions are theirs: those of one connection
// were admitted in the order in which they were opened.
func (c *crowd) recognise(sessions []auth.Session) error {
	byAddress := make(map[string][]auth.Session)
	for _, s := range sessions {
		byAddress[s.Peer] = append(byAddress[s.Peer], s)
	}
	for _, m := range c.readers() {
		theirs := byAddress[m.from]
		if len(theirs) == 0 {
			return fmt.Errorf("no session is left for a stream from %s", m.from)
		}
		m.session, byAddress[m.from] = theirs[0], theirs[1:]
	}
	for _, d := range c.deaf {
		d.sessions = byAddress[d.from()]
	}
	return nil
}

// unacknowledged is how many messages have been received and not acknowledged.
func (w *town) unacknowledged(ctx context.Context) (int, error) {
	counts, err := w.counts(ctx, received, acknowledged)
	if err != nil {
		return 0, err
	}
	return counts[0] - counts[1], nil
}

// wantUndisturbed lets the streams end in good order and wants every message of
// theirs to have been acknowledged.
func wantUndisturbed(t *testing.T, members []*member) (messages int) {
	t.Helper()
	for _, m := range members {
		if m.err.Error() != "EOF" || m.wrong != nil || int(m.acked.Load()) != len(m.sent) {
			t.Errorf("a stream ended with %v, %v, and %d of its %d messages were acknowledged", m.err, m.wrong, m.acked.Load(), len(m.sent))
		}
		messages += len(m.sent)
	}
	return messages
}
