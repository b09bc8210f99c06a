package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
		m.goOn = func() { m.stream.turn.Unlock(); m.stream.yield() }
	}},
	{"the old leg is read", func(t *testing.T, m *midway) {
		close(m.new.admit)
		m.send(t)
		m.rotate()
		wantMoved(t, m.events, 1)
		m.send(t)
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
	reach(t, m)
	return m
}

func TestEndsMidway(t *testing.T) {
	for _, stage := range stages {
		for _, ending := range endings {
			t.Run(ending.name+" while "+stage.name, func(t *testing.T) {
				t.Parallel()
				m := startMidway(t, stage.reach)
				first := m.conn.lines.current
				ctx, cancel := context.WithCancelCause(context.Background())
				received := make(chan error, 1)
				go func() {
					_, err := m.stream.Receive(ctx)
					received <- err
				}()
				// That it is blocked shows in nothing.
				timer := time.AfterFunc(50*time.Millisecond, func() { ending.end(t, m, cancel) })
				defer timer.Stop()
				ending.want(t, <-received)
				if m.goOn != nil {
					m.goOn()
				}
				if err := m.stream.Send(patient(t), "x"); err == nil {
					t.Error("the stream goes on")
				}
				_, err := m.stream.Receive(patient(t))
				ending.want(t, err)
				_ = m.stream.Close()
				wantAllLeft(t, m.conn, first)
			})
		}
	}
}

// A half-close in the middle of a move is one at the end of what was sent.
func TestCloseSendMidway(t *testing.T) {
	for _, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			t.Parallel()
			m := startMidway(t, stage.reach)
			first := m.conn.lines.current
			if m.goOn != nil {
				m.goOn()
			}
			must(t, m.stream.CloseSend())
			if err := m.stream.Send(patient(t), "x"); err == nil || !strings.Contains(err.Error(), "after CloseSend") {
				t.Errorf("got %v, want words on CloseSend", err)
			}
			m.old.openUp()
			m.new.openUp()
			wantAcknowledged(t, m.stream, 0, m.sent)
			for range 2 {
				if _, err := m.stream.Receive(patient(t)); err != io.EOF {
					t.Errorf("got %v, want io.EOF", err)
				}
			}
			if err := m.stream.Send(patient(t), "x"); err == nil {
				t.Error("the stream goes on")
			}
			wantAllLeft(t, m.conn, first)
		})
	}
}

// A half-close that a Send hands over with the turn finds the successor of no use.
func TestCloseSendBeforeTakeOver(t *testing.T) {
	t.Parallel()
	m := startMidway(t, stages[1].reach)
	m.stream.sentAll.Store(true)
	must(t, m.stream.sender.Load().call.CloseSend())
	m.goOn()
	m.old.openUp()
	wantAcknowledged(t, m.stream, 0, m.sent)
	if _, err := m.stream.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	wantAllLeft(t, m.conn)
}

// What the old leg ends with is what the program is told, and nothing of the new
// one comes after it.
func TestOldLegFails(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	var calls atomic.Int32
	moved := make(chan struct{})
	listen, all := events()
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		if calls.Add(1) > 1 {
			return newGates().openUp().handle(stream)
		}
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		<-moved
		if err := stream.Send(&chatpb.ChatMessage{Message: "last words"}); err != nil {
			return err
		}
		return status.Error(codes.PermissionDenied, "go away")
	})
	conn := dial(t, nil, address, listen, w.use)
	stream := open(t, conn)
	first := conn.lines.current
	must(t, stream.Send(patient(t), "0"))
	w.rotate(realm.User("alice"))
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "1"))
	close(moved)
	if m, err := stream.Receive(patient(t)); err != nil || m.Text != "last words" {
		t.Errorf("got %+v, %v, want what came before the end", m, err)
	}
	for range 2 {
		if _, err := stream.Receive(patient(t)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("got %v, want PERMISSION_DENIED", err)
		}
	}
	if err := stream.Send(patient(t), "2"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, want how it ended", err)
	}
	wantAllLeft(t, conn, first)
}

// A Send that flow control blocks holds up neither the move nor other streams,
// and what it sends is acknowledged before what comes after.
func TestMoveWhileSendIsBlocked(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	stuck, other := newGates(), newGates().openUp()
	close(stuck.admit)
	close(stuck.finish)
	_, address := startGated(t, realm, stuck, other, newGates().openUp(), newGates().openUp(), newGates().openUp(), newGates().openUp())
	conn := dial(t, nil, address, listen, w.use)
	blocked, idle := open(t, conn), open(t, conn)
	first := conn.lines.current
	const count = 40
	fill := strings.Repeat("x", 16<<10)
	sent := make(chan error, 1)
	go func() {
		for range count {
			if err := blocked.Send(context.Background(), fill); err != nil {
				sent <- err
				return
			}
		}
		sent <- blocked.CloseSend()
	}()
	for i := range 2 { // the second one takes the first one's place, where that still waits
		w.rotate(realm.User("alice"))
		wantMovedAtLast(t, all, 2-i)
		must(t, idle.Send(patient(t), fmt.Sprint(i)))
		wantAcknowledged(t, idle, i, i+1)
	}
	close(stuck.serve)
	for range count {
		m, err := blocked.Receive(patient(t))
		must(t, err)
		if len(m.Text) < len(fill) {
			t.Fatalf("got %q", m.Text)
		}
	}
	must(t, <-sent)
	if _, err := blocked.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	if blocked.sender.Load().line == first {
		t.Error("the stream has not moved")
	}
	must(t, idle.Close())
	wantAllLeft(t, conn, first)
}

// A stream that still reads what it had sent before a move makes no other until it
// has: it holds two lines and no more.
func TestMoveWaitsForTheOldLeg(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	first, second, third := newGates(), newGates(), newGates().openUp()
	close(first.admit)
	close(second.admit)
	_, address := startGated(t, realm, first, newGates().openUp(), second, third)
	conn := dial(t, nil, address, listen, w.use)
	stream := open(t, conn)
	must(t, stream.Send(patient(t), "0"))
	middle := realm.User("alice")
	idle := open(t, conn)
	must(t, idle.CloseSend()) // what has said all does not move
	w.rotate(middle)
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "1"))

	last := realm.User("alice")
	w.rotate(last)
	conn.mover.nudge()
	first.openUp()
	second.openUp()
	wantOn(t, stream, middle)
	conn.keeper.mu.Lock()
	if n := len(conn.keeper.leases); n != 2 { // the sender's, and the idle stream's
		t.Errorf("%d legs are kept fresh", n)
	}
	conn.keeper.mu.Unlock()
	wantAcknowledged(t, stream, 0, 2)
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "2"))
	wantOn(t, stream, last)
	wantAcknowledged(t, stream, 2, 3)
	if _, err := idle.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	wantLines(t, conn, 1)
}
