package server_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// unreadLog has rooms joined, and no entries read until it is told to.
type unreadLog struct {
	*roomtest.Memory
	readable atomic.Bool
	refused  atomic.Int64
}

// newUnreadLog has a message in the lobby, so that there are ids to be read.
func newUnreadLog(t *testing.T) *unreadLog {
	log, _ := filled(t, 1, 10)
	return &unreadLog{Memory: log}
}

func (l *unreadLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if !l.readable.Load() {
		l.refused.Add(1)
		return nil, false, fmt.Errorf("%w: no quorum", room.ErrUnavailable)
	}
	return l.Memory.Read(ctx, key, after, limit)
}

// A message whose id the log cannot be asked for ends its stream with a word, once
// what was said before it is acknowledged. Nobody else's stream ends.
func TestALogThatCannotBeAskedForAnID(t *testing.T) {
	log := newUnreadLog(t)
	lines := &journal{}
	c := openRooms(t, onLog(log), func(config *server.Config) { config.Log = lines.logger() })
	user := c.member("alice")
	alice, bob := c.join(user, "lobby"), c.join(c.realm.User("bob", rights("r", "lobby")), "lobby")
	waitFor(t, "end of the reading ahead for alice, who alone may post", func() bool {
		return len(lines.lines(t, "the ids of a room's messages could not be read")) == 1
	})
	release := log.HoldAppends()
	defer release()
	refused := log.refused.Load()
	alice.say("before")
	alice.send(&chatpb.ChatMessage{Message: "lost?", Id: "1"})
	alice.say("after")
	waitFor(t, "reading of ids", func() bool { return log.refused.Load() > refused })
	release()
	if m := alice.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT || m.Message != chatpb.Acknowledged+"before" {
		t.Errorf("alice gets %v, want what was said before acknowledged", m)
	}
	err := alice.end()
	wantReason(t, err, codes.Unavailable, auth.LogUnavailable)
	if _, wait := infoOf(err); wait <= 0 {
		t.Error("the client is not told when to come back")
	}
	log.readable.Store(true)
	again := c.join(user, "lobby")
	again.send(&chatpb.ChatMessage{Message: "lost?", Id: "1"})
	again.heard()
	for _, want := range []string{"before", "lost?"} {
		if m := bob.heard(); m.Message != want {
			t.Errorf("bob gets %v, want %q", m, want)
		}
	}
}

// A stream that ends because of it holds up no drain.
func TestADrainAfterAnIDThatCouldNotBeAskedFor(t *testing.T) {
	c := openRooms(t, onLog(newUnreadLog(t)))
	alice := c.join(c.member("alice"), "lobby")
	alice.send(&chatpb.ChatMessage{Message: "lost?", Id: "1"})
	wantReason(t, alice.end(), codes.Unavailable, auth.LogUnavailable)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c.stop(time.Hour)
	}()
	select {
	case <-drained:
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not drain")
	}
}

// A clock that is set back does not keep a server from being ready again.
func TestAClockThatIsSetBack(t *testing.T) {
	var back atomic.Bool
	log := roomtest.NewMemory()
	c := openRooms(t, onLog(log), func(config *server.Config) {
		config.Now = func() time.Time {
			now := time.Now().Round(0) // as the wall clock has it
			if back.Load() {
				return now.Add(-time.Minute)
			}
			return now
		}
	})
	alice := c.join(c.member("alice"), "lobby")
	log.Fail(errors.New("no space left on device"))
	alice.say("lost?")
	wantReason(t, alice.end(), codes.Unavailable, auth.LogUnavailable)
	if err := c.server.Available(t.Context()); err == nil {
		t.Error("the server says that it is available")
	}
	back.Store(true)
	if err := c.server.Available(t.Context()); err != nil {
		t.Errorf("the server is not available: %v", err)
	}
}
