package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"securechat/auth/authtest"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// What people and servers do to an echo stream, at random: texts of all sizes,
// acknowledgements that are read late and come late, contexts that have ended,
// certificates and tokens that change. Every message is acknowledged once and in order,
// and then the stream ends in good order.
func TestStreamAtRandom(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			echoAtRandom(t, seed)
		})
	}
}

// dawdling is an echo that takes its time now and then, and whose streams do not live
// long unless they are refreshed.
type dawdling struct {
	mu     sync.Mutex
	random *rand.Rand
}

func (d *dawdling) intN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.IntN(n)
}

func (d *dawdling) dawdle(ctx context.Context, in int) {
	if d.intN(in) > 0 {
		return
	}
	timer := time.NewTimer(time.Duration(d.intN(20)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (*dawdling) expires() string {
	return time.Now().Add(300 * time.Millisecond).UTC().Format(time.RFC3339Nano)
}

func (d *dawdling) handle(call chatpb.Chat_ChatStreamServer) error {
	d.dawdle(call.Context(), 2)
	if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, "alice", chatpb.HeaderExpires, d.expires())); err != nil {
		return err
	}
	for {
		m, err := call.Recv()
		if err == io.EOF {
			d.dawdle(call.Context(), 2)
			return nil
		}
		if err != nil {
			return err
		}
		d.dawdle(call.Context(), 30)
		m.User, m.Message, m.Kind = chatpb.ServerUser, chatpb.Acknowledged+m.Message, chatpb.Kind_ACKNOWLEDGEMENT
		if err := call.Send(m); err != nil {
			return err
		}
	}
}

func (d *dawdling) refresh(ctx context.Context) (*authpb.RefreshResponse, error) {
	d.dawdle(ctx, 2)
	return &authpb.RefreshResponse{Expires: d.expires(), Streams: 1}, nil
}

func echoAtRandom(t *testing.T, seed uint64) {
	const count = 600
	realm := authtest.NewRealm(t)
	server := &dawdling{random: rand.New(rand.NewPCG(seed, 0))}
	has := walletOf(realm.User("alice"))
	var mu sync.Mutex
	told := map[string]int{}
	conn := dial(t, nil, startOddSession(t, realm, server.handle, server.refresh), has.use, func(c *Config) {
		c.Events = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			told[fmt.Sprintf("%T", e)]++
		}
	})
	stream := open(t, conn)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	ended, end := context.WithCancel(ctx)
	end()

	var others sync.WaitGroup
	over := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(server.intN(150)) * time.Millisecond):
				has.rotate(realm.User("alice"))
			}
		}
	})
	others.Go(func() {
		random := rand.New(rand.NewPCG(seed, 1))
		for i := range count {
			text := sized(i, random)
			if random.IntN(10) == 0 {
				if err := stream.Send(ended, text); !errors.Is(err, context.Canceled) {
					t.Errorf("a context that has ended: got %v", err)
				}
			}
			once, done := context.WithCancel(ctx)
			err := stream.Send(once, text, WithID(fmt.Sprint(i)))
			done()
			if err != nil {
				t.Errorf("message %d: %v", i, err)
				return
			}
			server.dawdle(ctx, 40)
		}
		if err := stream.CloseSend(); err != nil {
			t.Errorf("CloseSend: %v", err)
		}
	})
	receiveAtRandom(ctx, ended, t, stream, count, rand.New(rand.NewPCG(seed, 2)), server)
	close(over)
	others.Wait()
	if _, err := stream.Receive(ctx); err != io.EOF {
		t.Errorf("after the end: got %v, want io.EOF", err)
	}
	mu.Lock()
	t.Logf("%v", told)
	mu.Unlock()
	wantAllLeft(t, conn)
}

// sized is a text that begins with its number; one in ten is large.
func sized(i int, random *rand.Rand) string {
	if random.IntN(10) == 0 {
		return fmt.Sprint(i, " ", strings.Repeat("x", random.IntN(192<<10)))
	}
	return fmt.Sprint(i, " ")
}

// receiveAtRandom wants the acknowledgements in order, and then the end.
func receiveAtRandom(ctx, ended context.Context, t *testing.T, stream *Stream, count int, random *rand.Rand, server *dawdling) {
	t.Helper()
	for i := range count {
		if random.IntN(10) == 0 {
			if _, err := stream.Receive(ended); !errors.Is(err, context.Canceled) {
				t.Fatalf("a context that has ended: got %v", err)
			}
		}
		if random.IntN(100) == 0 {
			server.dawdle(ctx, 1)
		}
		once, done := context.WithCancel(ctx)
		m, err := stream.Receive(once)
		done()
		if err != nil || m.ID != fmt.Sprint(i) || !strings.HasPrefix(m.Text, fmt.Sprint(chatpb.Acknowledged, i, " ")) {
			t.Fatalf("acknowledgement %d: got %.40q (%s), %v", i, m.Text, m.ID, err)
		}
	}
	if m, err := stream.Receive(ctx); err != io.EOF {
		t.Fatalf("got %.40q, %v, want the end", m.Text, err)
	}
}
