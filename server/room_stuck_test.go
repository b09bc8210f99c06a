package server_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// filled is a log with messages of a size in the lobby, and their sequences.
func filled(t *testing.T, messages, size int) (*roomtest.Memory, []uint64) {
	t.Helper()
	log := roomtest.NewMemory()
	text := strings.Repeat("x", size)
	var sequences []uint64
	for newest := uint64(0); len(sequences) < messages; {
		draft := room.Draft{Entry: room.Entry{Room: "lobby", User: "alice", Text: text}, Expected: newest}
		sequence, err := log.Append(t.Context(), []room.Draft{draft})
		if err != nil {
			t.Fatal(err)
		}
		newest = sequence
		sequences = append(sequences, sequence)
	}
	return log, sequences
}

// Who asks for a replay and takes nothing of it is cut, and can come back.
func TestAReplayThatIsNotTaken(t *testing.T) {
	lines := &journal{}
	log, sequences := filled(t, 64, 200<<10)
	c := openRooms(t, onLog(log), unhurried, func(config *server.Config) {
		config.Log, config.Rooms.Lag = lines.logger(), 500*time.Millisecond
	})
	bob := c.member("bob")
	stuck := c.resume(bob, "lobby", 0)
	waitFor(t, "line that the stuck stream ended", func() bool {
		ended := lines.lines(t, "ended")
		return len(ended) == 1 && ended[0]["reason"] == "SLOW_CONSUMER"
	})
	had := 0
	for {
		m, err := stuck.stream.Recv()
		if err != nil {
			wantReason(t, err, codes.ResourceExhausted, auth.SlowConsumer)
			values, _ := infoOf(err)
			if after, _ := strconv.ParseUint(values["after"], 10, 64); after < sequences[max(had-1, 0)] {
				t.Errorf("after is %q, and the last that it got is %d", values["after"], sequences[had-1])
			}
			break
		}
		if m.Kind != chatpb.Kind_MESSAGE || m.Sequence != sequences[had] {
			t.Fatalf("message %d is %v", had, m.Sequence)
		}
		had++
	}
	back := c.resume(bob, "lobby", sequences[had-1])
	for _, want := range sequences[had:] {
		if m := back.heard(); m.Sequence != want {
			t.Fatalf("after coming back comes %d, want %d", m.Sequence, want)
		}
	}
	if m := back.next(); m.Kind != chatpb.Kind_LIVE {
		t.Errorf("the end of the replay is %v", m)
	}
	// A live member that nothing is said to may be as quiet as it likes.
	time.AfterFunc(time.Second, func() { _ = back.stream.CloseSend() })
	if err := back.end(); err.Error() != "EOF" {
		t.Errorf("it ended with %v", err)
	}
}

// A message of a replay may take longer than that, if some of it is taken.
func TestAReplayThatIsTakenSlowly(t *testing.T) {
	const size, portion = 150 << 10, 2500
	log, _ := filled(t, 2, size)
	c := openRooms(t, onLog(log), func(config *server.Config) { config.Rooms.Lag = 600 * time.Millisecond })
	bob := c.member("bob")
	raw := abuse(t, c.address, bob, http2.Setting{ID: http2.SettingInitialWindowSize, Val: portion})
	stream := raw.open(chatpb.Chat_ChatStream_FullMethodName, bob.Token, [2]string{"chat-room", "lobby"}, [2]string{"chat-after", "0"})
	if err := raw.WriteWindowUpdate(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := raw.sip(stream, portion, 20*time.Millisecond, 2*size); err != nil {
		t.Fatalf("after %d bytes: %v", got, err)
	}
}

// Replays that are not taken hold little memory until they are cut.
func TestReplaysThatAreNotTakenHoldLittle(t *testing.T) {
	const streams = 40
	log, _ := filled(t, 24, 200<<10)
	c := openRooms(t, onLog(log), patient)
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	for i := range streams {
		s := c.resume(c.member(fmt.Sprint("user", i)), "lobby", 0)
		s.heard() // the replay has begun
	}
	// Of each: what it is given at a time with its encoding, and both sides' buffers.
	held := (heap() - before) / streams
	t.Logf("a stream holds %d bytes", held)
	if held > 1200<<10 {
		t.Errorf("a replay that is not taken holds %d bytes", held)
	}
}
