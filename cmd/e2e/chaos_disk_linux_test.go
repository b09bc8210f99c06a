//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/client"
	chatpb "securechat/proto/chat"
)

// A disk is where a server keeps its rooms, and can be made full and empty again.
type disk struct {
	dir  string
	fill func(*node)
	free func(*node)
}

const diskSize = 48 << 20

// smallDisk is a file system of its own, which root may make.
func smallDisk(t *testing.T) (*disk, error) {
	dir := t.TempDir()
	err := unix.Mount("chaos", dir, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(diskSize))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	return &disk{
		dir: filepath.Join(dir, "rooms"),
		fill: func(*node) {
			file, err := os.Create(filler)
			must(t, err)
			defer file.Close()
			if _, err := io.CopyN(file, zeros{}, diskSize); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("filling a disk of %d bytes with as many: %v", diskSize, err)
			}
		},
		free: func(*node) { must(t, os.Remove(filler)) },
	}, nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// limitedDisk is one on which the server's files stop growing: its writes fail as
// on a full disk, and anybody may do that to a process of their own.
func limitedDisk(t *testing.T) *disk {
	limit := func(n *node, bytes uint64) {
		t.Helper()
		must(t, unix.Prlimit(n.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil))
	}
	return &disk{
		dir:  filepath.Join(t.TempDir(), "rooms"),
		fill: func(n *node) { limit(n, 1) },
		free: func(n *node) { limit(n, unix.RLIM_INFINITY) },
	}
}

// fullDisk fills the disk under a conversation, and makes room on it again.
func (c *chaos) fullDisk(t *testing.T) {
	for name, disk := range map[string]func(*testing.T) *disk{
		"no space": func(t *testing.T) *disk {
			d, err := smallDisk(t)
			if errors.Is(err, unix.EPERM) {
				t.Log("only root may mount a disk: a limit on files stands for it")
				return limitedDisk(t)
			}
			must(t, err)
			return d
		},
		"no writes": limitedDisk,
	} {
		t.Run(name, func(t *testing.T) { c.fillDisk(t, disk(t)) })
	}
}

func (c *chaos) fillDisk(t *testing.T, d *disk) {
	times := c.times(2, 20)
	w := newTown(t)
	n := c.node(w, nil, "--data", d.dir)
	talk := converse(t, stretch(times))
	alice, bob, carol, dave := w.user("alice"), w.user("bob"), w.user("carol"), w.user("dave")
	talk.speak(alice.dial(n.listen), "alice", "ops")
	talk.speak(bob.dial(n.listen), "bob", "ops")
	talk.listen(alice.dial(n.listen), "alice", "ops")
	talk.wander(carol.raw(n.listen), "carol", "ops", 0, nil)
	talk.more(200)
	direct, reading := dave.raw(n.listen), dave.dial(n.listen)
	for i := range times {
		talk.more(50 + c.random.IntN(100))
		d.fill(n)
		refused(t, direct)
		stored := talk.stored.Load()
		if early := wantReadable(t, reading, talk); talk.stored.Load() != stored {
			t.Errorf("%d messages were acknowledged on a full disk, where %d were read", talk.stored.Load()-stored, early)
		}
		d.free(n)
		talk.more(50)
		if i%2 == 1 {
			n.kill()
			n.start()
		}
	}
	talk.end(dave.dial(n.listen))
}

// refused sends until the server says that it cannot store, in a room where nobody
// else is, and wants to be told so in words that help.
func refused(t *testing.T, chat chatpb.ChatClient) {
	t.Helper()
	eventually(t, "a full disk is noticed", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		stream, err := chat.ChatStream(metadata.AppendToOutgoingContext(ctx, chatpb.MetadataRoom, "elsewhere"))
		if err != nil {
			return err
		}
		if err := stream.Send(&chatpb.ChatMessage{Message: "is there room?"}); err != nil && err != io.EOF {
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
	})
}

// wantReadable reads all that was acknowledged before, page by page and as a
// newcomer to the room, and returns how much is there.
func wantReadable(t *testing.T, conn *client.Conn, talk *conversation) (messages int) {
	t.Helper()
	newest := talk.history("ops").Newest()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last uint64
	for m, err := range conn.History(ctx, "ops", client.FromStart()) {
		must(t, err)
		messages, last = messages+1, m.Sequence
	}
	if last < newest {
		t.Errorf("on a full disk the history ends at %d, and %d was acknowledged", last, newest)
	}
	room, err := conn.Join(ctx, "ops", client.FromStart())
	must(t, err)
	defer room.Close()
	for last = 0; last < newest; {
		m, err := room.Receive(ctx)
		must(t, err)
		last = m.Sequence
	}
	return messages
}
