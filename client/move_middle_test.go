package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

func TestEndsMidway(t *testing.T) {
	for _, stage := range stages {
		for _, ending := range endings {
			t.Run(ending.name+" while "+stage.name, func(t *testing.T) {
				t.Parallel()
				m := startMidway(t, stage.reach)
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				from := m.stream.receiver
				received := make(chan error, 1)
				go func() {
					_, err := m.stream.Receive(ctx)
					received <- err
				}()
				wantHeld(t, &from.reading)
				ending.end(t, m, cancel)
				ending.want(t, returned(t, received))
				if m.goOn != nil {
					m.goOn()
				}
				if err := m.stream.Send(patient(t), "x"); err == nil {
					t.Error("the stream goes on")
				}
				_, err := m.stream.Receive(patient(t))
				ending.want(t, err)
				_ = m.stream.Close()
				wantAllLeft(t, m.conn, m.first)
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
			if m.goOn != nil {
				m.goOn()
			}
			must(t, m.stream.CloseSend())
			if m.stream.successor.Load() != nil {
				t.Error("a successor is kept that nobody will take")
			}
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
			wantAllLeft(t, m.conn, m.first)
		})
	}
}

// A stream that the server ends while its successor is not admitted yet is over,
// and so is the successor.
func TestEndedBeforeTheSuccessor(t *testing.T) {
	t.Parallel()
	m := startMidway(t, stages[0].reach)
	m.old.openUp()
	wantAcknowledged(t, m.stream, 0, m.sent)
	m.stream.sender.Load().cancel(nil) // as a lost connection would
	var lost *Error
	if _, err := m.stream.Receive(patient(t)); !errors.As(err, &lost) {
		t.Errorf("got %v, want an *Error", err)
	}
	m.new.openUp()
	m.conn.mover.wait() // it has nobody left to move
	if len(m.events) > 0 {
		t.Errorf("got %+v", <-m.events)
	}
	wantAllLeft(t, m.conn, m.first)
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
	blocked.mu.Lock()
	if n := len(blocked.legs); n != 2 {
		t.Errorf("the stream has %d legs, want the old one and its successor", n)
	}
	blocked.mu.Unlock()
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

// A stream makes no other move until the server has acknowledged all that it had
// sent before the last one: it holds two lines and no more.
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
	if _, lags := stream.lags(&line{}); lags {
		t.Error("the stream would move again")
	}
	wantOn(t, stream, middle)
	conn.keeper.mu.Lock()
	if n := len(conn.keeper.leases); n != 2 { // the sender's, and the idle stream's
		t.Errorf("%d legs are kept fresh", n)
	}
	conn.keeper.mu.Unlock()
	first.openUp()
	second.openUp()
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "2"))
	wantOn(t, stream, last)
	wantAcknowledged(t, stream, 0, 3)
	if _, err := idle.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	wantLines(t, conn, 1)
}

// Nor does one that was being made when the last one was still waiting for its turn:
// what the server acknowledges late comes before what it acknowledges soon.
func TestMovesFollowEachOther(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	first, second, third := newGates(), newGates().openUp(), newGates()
	close(first.admit)
	_, address := startGated(t, realm, first, second, third)
	conn := dial(t, nil, address, listen, w.use)
	stream := open(t, conn)
	must(t, stream.Send(patient(t), "0"))
	stream.turn.Lock() // a Send is under way
	w.rotate(realm.User("alice"))
	wantMoved(t, all, 1)
	last := realm.User("alice")
	w.rotate(last)
	<-third.reached
	stream.turn.Unlock()
	stream.yield()
	must(t, stream.Send(patient(t), "1"))
	third.openUp()
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "2"))
	first.openUp()
	wantAcknowledged(t, stream, 0, 3)
	eventually(t, "the stream does not get to the last certificate's line", func() bool {
		return stream.sender.Load().line.certificate == certs.Thumbprint(last.Leaf())
	})
	must(t, stream.Send(patient(t), "3"))
	wantAcknowledged(t, stream, 3, 4)
	wantLines(t, conn, 1)
}

// Who gets the turn while a leg is being read out, though none was when it asked, has
// the successor wait: two legs at a time would be mixed in the spool.
func TestOneLegIsReadOutAtATime(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startServer(t, realm)))
	waiting := stream.sender.Load() // any leg will do
	stream.successor.Store(waiting)
	stream.readingOut.Store(true)
	stream.turn.Lock()
	stream.takeOver()
	stream.turn.Unlock()
	if !stream.successor.CompareAndSwap(waiting, nil) {
		t.Error("the successor has taken over")
	}
	stream.readingOut.Store(false)
	wantEcho(t, stream, "as before")
}
