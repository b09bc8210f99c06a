package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/cmd/chatd/internal/sandbox"
	chatpb "securechat/proto/chat"
	"securechat/server/room/roomtest"
)

// A program whose files cannot grow, as on a full disk, says that it cannot store,
// acknowledges nothing, and lets what is there be read; and it stores again once
// they can.
func TestAProgramThatCannotWrite(t *testing.T) {
	t.Parallel()
	const total = 50
	box, err := sandbox.Open(t.TempDir(), "alice", "bob", "carol")
	if err != nil {
		t.Fatal(err)
	}
	d := startForTest(t, nil, append(serveFlags(box), "--listen", "127.0.0.1:0", "--admin-listen", "off",
		"--data", filepath.Join(t.TempDir(), "rooms"))...)
	limit := func(bytes uint64) {
		t.Helper()
		if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var people []*speaker
	for _, user := range box.Users() {
		people = append(people, newSpeaker(t, box, user, d.listen))
	}
	alice, bob, carol := people[0], people[1], people[2]
	history := roomtest.NewHistory()
	acknowledged := make(chan struct{}, 2*total)
	if err := alice.speak(ctx, lobby, total, history, acknowledged); err != nil {
		t.Fatal(err)
	}
	limit(1)
	if err := within(patience, func() error { return refusedToStore(ctx, bob) }); err != nil {
		t.Fatal(err)
	}
	if err := carol.listen(ctx, lobby, total, history.Reader("carol, meanwhile", 0)); err != nil {
		t.Errorf("what is there cannot be read: %v", err)
	}
	limit(unix.RLIM_INFINITY)
	if err := bob.speak(ctx, lobby, total, history, acknowledged); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if err := carol.listen(ctx, lobby, 2*total, history.Reader("carol, afterwards", 0)); err != nil {
		t.Error(err)
	}
	if err := history.Check(); err != nil {
		t.Error(err)
	}
}

// refusedToStore says something in a room of its own and returns nil once that is
// refused as it should be.
func refusedToStore(ctx context.Context, s *speaker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.open(ctx, "chat-room", "elsewhere")
	if err != nil {
		return err
	}
	if err := stream.Send(&chatpb.ChatMessage{Message: "is there room?"}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		switch reason, _ := auth.ReasonOf(err); {
		case err == nil && m.Kind == chatpb.Kind_ACKNOWLEDGEMENT:
			return errors.New("a message is stored still")
		case err == nil:
		case status.Code(err) == codes.Unavailable && reason == auth.LogUnavailable:
			return nil
		default:
			return fmt.Errorf("the refusal is %w", err)
		}
	}
}
