package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// gates are what a server's call waits at: before it is admitted, before it reads
// the first message, and before it ends.
type gates struct{ reached, admit, serve, finish chan struct{} }

func newGates() gates {
	return gates{make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})}
}

func (g gates) openUp() gates {
	for _, gate := range []chan struct{}{g.admit, g.serve, g.finish} {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
	return g
}

func (g gates) handle(stream chatpb.Chat_ChatStreamServer) error {
	close(g.reached)
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	pass := func(gate chan struct{}) error {
		select {
		case <-gate:
			return nil
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	if err := pass(g.admit); err != nil {
		return err
	}
	if err := stream.SendHeader(metadata.Pairs(chatpb.HeaderExpires, expires)); err != nil {
		return err
	}
	if err := pass(g.serve); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return pass(g.finish)
		}
		if err == nil {
			err = stream.Send(&chatpb.ChatMessage{Message: chatpb.Acknowledged + m.Message})
		}
		if err != nil {
			return err
		}
	}
}

// startGated runs a server without a guard whose first call has the first gates,
// and so on.
func startGated(t testing.TB, realm *authtest.Realm, all ...gates) (*grpc.Server, string) {
	t.Helper()
	var calls atomic.Int32
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())), grpc.StaticStreamWindowSize(64<<10))
	chatpb.RegisterChatServer(srv, oddChat{handler: func(stream chatpb.Chat_ChatStreamServer) error {
		n := int(calls.Add(1)) - 1
		if n >= len(all) {
			return status.Error(codes.Internal, "one call too many")
		}
		return all[n].handle(stream)
	}})
	return srv, realm.Serve(srv)
}

func wantAcknowledged(t *testing.T, stream *Stream, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		m, err := stream.Receive(patient(t))
		must(t, err)
		if want := fmt.Sprint(chatpb.Acknowledged, i); m.Text != want {
			t.Fatalf("got %.40q, want %q", m.Text, want)
		}
	}
}

// A midway is a stream in the middle of a move, with messages sent.
type midway struct {
	conn     *Conn
	stream   *Stream
	srv      *grpc.Server
	old, new gates
	events   <-chan Event
	rotate   func()
	sent     int
	goOn     func() // lets a Send that is under way be done; nil: there is none
	first    *line
}

func (m *midway) send(t *testing.T) {
	t.Helper()
	must(t, m.stream.Send(patient(t), fmt.Sprint(m.sent)))
	m.sent++
}

// The stages of a move at which something else may happen.
var stages = []struct {
	name  string
	reach func(*testing.T, *midway)
}{
	{"the successor is not admitted yet", func(t *testing.T, m *midway) {
		m.send(t)
		m.rotate()
		<-m.new.reached
		m.send(t)
	}},
	{"a Send is under way", func(t *testing.T, m *midway) {
		close(m.new.admit)
		m.send(t)
		m.stream.turn.Lock()
		m.rotate()
		wantMoved(t, m.events, 1)
		m.goOn = m.stream.turn.Unlock
	}},
	{"the old leg is read", func(t *testing.T, m *midway) {
		close(m.new.admit)
		m.send(t)
		m.rotate()
		wantMoved(t, m.events, 1)
		m.send(t)
		old := m.stream.receiver
		eventually(t, "the old leg is not read out", func() bool {
			old.reading.Lock()
			defer old.reading.Unlock()
			return old.seized
		})
	}},
}

// What ends a stream in the middle of a move, and how that shows.
var errEnough = errors.New("enough")

var endings = []struct {
	name string
	end  func(*testing.T, *midway, context.CancelCauseFunc)
	want func(*testing.T, error)
}{
	{"Close", func(_ *testing.T, m *midway, _ context.CancelCauseFunc) { _ = m.stream.Close() }, func(t *testing.T, err error) {
		if err != ErrClosed {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}},
	{"the context of a Receive", func(_ *testing.T, _ *midway, cancel context.CancelCauseFunc) { cancel(errEnough) }, func(t *testing.T, err error) {
		if err != errEnough {
			t.Errorf("got %v, want the context's cause", err)
		}
	}},
	{"Close of the Conn", func(_ *testing.T, m *midway, _ context.CancelCauseFunc) { _ = m.conn.Close() }, func(t *testing.T, err error) {
		var ended *Error
		if !errors.As(err, &ended) || ended.Retryable() {
			t.Errorf("got %v, want a final *Error", err)
		}
	}},
	{"the server is gone", func(_ *testing.T, m *midway, _ context.CancelCauseFunc) { m.srv.Stop() }, func(t *testing.T, err error) {
		var lost *Error
		if !errors.As(err, &lost) || !lost.Retryable() || lost.Code != codes.Unavailable {
			t.Errorf("got %v, want a lost connection", err)
		}
	}},
}

func startMidway(t *testing.T, reach func(*testing.T, *midway)) *midway {
	t.Helper()
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	w := walletOf(user)
	listen, all := events()
	m := &midway{old: newGates(), new: newGates(), events: all, rotate: func() { w.rotate(realm.User("alice")) }}
	close(m.old.admit)
	var address string
	m.srv, address = startGated(t, realm, m.old, m.new)
	m.conn = dial(t, nil, address, listen, w.use)
	m.stream = open(t, m.conn)
	m.first = m.conn.lines.current
	reach(t, m)
	return m
}
