package client

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// wantLegs waits until the stream has so many.
func wantLegs(t *testing.T, stream *Stream, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the stream has not come down to %d legs", want), func() bool {
		stream.mu.Lock()
		defer stream.mu.Unlock()
		return len(stream.legs) == want
	})
}

// Streams that move lose no acknowledgement, however late their program receives:
// the server gives them little time, and no more than a window is on its way.
func TestMoveUnread(t *testing.T) {
	t.Parallel()
	const count, size = 6, 16 << 10
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	var closed atomic.Bool
	address := startServer(t, realm, func(c *server.Config) {
		c.Limits.Stall = patience / 2 // as long as the test can wait for it
		c.Log = slog.New(slog.NewTextHandler(writer(func(line []byte) {
			if bytes.Contains(line, []byte("connection closed")) {
				closed.Store(true)
			}
		}), nil))
	})
	conn := dial(t, nil, address, listen, w.use)
	first := conn.lines.current
	streams := []*Stream{open(t, conn), open(t, conn)}
	fill := strings.Repeat("x", size)
	for _, stream := range streams {
		for range count {
			must(t, stream.Send(patient(t), fill))
		}
	}
	w.rotate(realm.User("alice"))
	wantMoved(t, all, len(streams))
	eventually(t, "the old connection stays", func() bool {
		conn.lines.mu.Lock()
		defer conn.lines.mu.Unlock()
		return closed.Load() || len(conn.lines.open) == 1
	})
	for _, stream := range streams {
		must(t, stream.Send(patient(t), "over there"))
		must(t, stream.CloseSend())
		for i := range count {
			m, err := stream.Receive(patient(t))
			if err != nil || len(m.Text) < size {
				t.Fatalf("acknowledgement %d of %d: %.40q, %v", i+1, count, m.Text, err)
			}
		}
		if m, err := stream.Receive(patient(t)); err != nil || m.Text != chatpb.Acknowledged+"over there" {
			t.Errorf("got %+v, %v", m, err)
		}
		if _, err := stream.Receive(patient(t)); err != io.EOF {
			t.Errorf("got %v, want io.EOF", err)
		}
	}
	if closed.Load() {
		t.Error("the server has closed the connection")
	}
	wantAllLeft(t, conn, first)
}

// A program that sends and does not receive moves with each certificate.
func TestMoveSendOnly(t *testing.T) {
	t.Parallel()
	const moves = 4
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	w := walletOf(user)
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	stream := open(t, conn)
	for i := range moves {
		must(t, stream.Send(patient(t), fmt.Sprint(i)))
		user = realm.User("alice")
		w.rotate(user)
		wantMoved(t, all, 1)
		wantOn(t, stream, user)
	}
	must(t, stream.Send(patient(t), fmt.Sprint(moves)))
	must(t, stream.CloseSend())
	wantAcknowledged(t, stream, 0, moves+1)
	if _, err := stream.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	wantAllLeft(t, conn)
}

// A stream whose program is far behind moves once that has caught up.
func TestMoveTooMuchUnread(t *testing.T) {
	t.Parallel()
	const size = 192 << 10 // so many bytes in one message, of the 256 KiB that it may have
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	w := walletOf(user)
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	stream := open(t, conn)
	sent := 0
	for ; stream.spool.weight() < spoolEnough; sent++ {
		must(t, stream.Send(patient(t), strings.Repeat("x", size)))
		user = realm.User("alice")
		w.rotate(user)
		wantMoved(t, all, 1)
		wantLegs(t, stream, 1)
	}
	next := realm.User("alice")
	w.rotate(next)
	must(t, open(t, conn).Close()) // the mover has the certificate to look at
	if _, lags := stream.lags(&line{}); lags {
		t.Error("the stream would move again")
	}
	wantOn(t, stream, user)
	for range sent {
		m, err := stream.Receive(patient(t))
		must(t, err)
		if len(m.Text) < size {
			t.Fatalf("got %.40q", m.Text)
		}
	}
	must(t, stream.Send(patient(t), "0"))
	wantAcknowledged(t, stream, 0, 1)
	wantMoved(t, all, 1)
	wantOn(t, stream, next)
	must(t, stream.Close())
	wantAllLeft(t, conn)
}

// What a server says without end on a leg that is read out waits with the server,
// and comes in order; or ends with the stream.
func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	const count, size = 100, 128 << 10
	for _, ending := range []string{"received", "closed"} {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			realm := authtest.NewRealm(t)
			w := walletOf(realm.User("alice"))
			var calls atomic.Int32
			listen, all := events()
			address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
				if calls.Add(1) > 1 {
					return newGates().openUp().handle(stream)
				}
				if err := stream.SendHeader(nil); err != nil {
					return err
				}
				_, _ = stream.Recv() // until the half-close
				for i := range count {
					text := fmt.Sprintf("%d %s", i, strings.Repeat("x", size))
					if err := stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
						return err
					}
				}
				return nil
			})
			conn := dial(t, nil, address, listen, w.use)
			stream := open(t, conn)
			w.rotate(realm.User("alice"))
			wantMoved(t, all, 1)
			eventually(t, "the spool is not full", func() bool { return stream.spool.weight() >= spoolMost })
			other := open(t, conn)
			for i := range 200 { // time enough for the server to say all
				must(t, other.Send(patient(t), fmt.Sprint(i)))
				wantAcknowledged(t, other, i, i+1)
				if held := stream.spool.weight(); held > spoolMost+2*size {
					t.Fatalf("%d bytes are held", held)
				}
			}
			must(t, other.Close())
			if ending == "closed" {
				must(t, stream.Close())
				wantAllLeft(t, conn)
				return
			}
			for i := range count {
				m, err := stream.Receive(patient(t))
				must(t, err)
				if !strings.HasPrefix(m.Text, fmt.Sprint(i, " ")) {
					t.Fatalf("got %.10q, want %d", m.Text, i)
				}
			}
			must(t, stream.Send(patient(t), "0"))
			wantAcknowledged(t, stream, 0, 1)
			if held := stream.spool.weight(); held != 0 {
				t.Errorf("%d bytes are held", held)
			}
			must(t, stream.Close())
			wantAllLeft(t, conn)
		})
	}
}
