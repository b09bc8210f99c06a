//go:build unix

package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// apartVariable, in the environment, makes the test binary the process that apart
// has started.
const apartVariable = "JETSTREAM_TEST_APART"

// apart runs the test again in a process of its own and returns true there: a limit
// on files is the whole process's, and go test keeps a list in a file that may be
// longer.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartVariable) == t.Name() {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), apartVariable+"="+t.Name())
	output, err := child.CombinedOutput()
	if t.Logf("%s", output); err != nil {
		t.Error(err)
	}
	return false
}

// limitFiles makes writes fail that would make a file longer, as a full disk does,
// until the test is over or lift is called. It is for tests that run apart.
func limitFiles(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(limit syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}
	set(syscall.Rlimit{Cur: bytes, Max: before.Max})
	t.Cleanup(func() { set(before) })
	return func() { set(before) }
}

// While nothing can be written, appends fail, alone and together, and reads go on.
// What was refused is not there, and the log takes more as soon as there is room.
func TestWritesThatFail(t *testing.T) {
	if !apart(t) {
		return
	}
	log := openEmbedded(t, jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", Logger: slog.New(slog.DiscardHandler)})
	defer log.Close()
	var want []string
	var newest uint64
	large := strings.Repeat("x", 50<<10)
	store := func(text string, count int) error {
		drafts := make([]room.Draft, count)
		for i := range drafts {
			drafts[i] = said("ops", newest, fmt.Sprint(text, i, large))
		}
		// Long before a slow disk would be given up.
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		first, err := log.Append(ctx, drafts)
		if err != nil {
			return err
		}
		newest = first + uint64(count) - 1
		for _, d := range drafts {
			want = append(want, d.Text)
		}
		return nil
	}
	check := func() {
		t.Helper()
		entries := readAll(t, log, "ops")
		var last uint64
		for i, e := range entries {
			if i >= len(want) || e.Text != want[i] || e.Previous != last {
				t.Fatalf("entry %d of %d, %d<%d, is not what was stored", i, len(entries), e.Previous, e.Sequence)
			}
			last = e.Sequence
		}
		if len(entries) != len(want) {
			t.Fatalf("there are %d entries, %d were acknowledged", len(entries), len(want))
		}
	}
	for _, failing := range []struct {
		count int
		limit uint64
	}{
		{1, 120 << 10},
		{3, 120 << 10}, // while the batch is taken in
		{3, 300 << 10}, // while it is committed
	} {
		count := failing.count
		for i := range 3 {
			if err := store(fmt.Sprint("before", i), count); err != nil {
				t.Fatal(err)
			}
		}
		lift := limitFiles(t, failing.limit)
		for i := range 2 {
			err := store(fmt.Sprint("meanwhile", i), count)
			if !errors.Is(err, room.ErrUnavailable) {
				t.Fatalf("an append of %d gave %v, want ErrUnavailable", count, err)
			}
			if strings.Contains(err.Error(), "xxx") {
				t.Error("the error quotes the message")
			}
			t.Log(err)
			check()
		}
		lift()
		if err := store("after", count); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		check()
	}
}

// A server whose disk fills up while it commits a batch keeps the batch's beginning
// and never answers. That is not an acknowledgement of the batch; what is said
// afterwards does not wait for ever either, and goes on once the server is back.
func TestASharedDiskFillsUp(t *testing.T) {
	if !apart(t) {
		return
	}
	n := startNATS(t, 1)
	log := connect(t, n.config(roomtest.Limits{}))
	defer log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	large := strings.Repeat("x", 50<<10)
	batch := func(expected uint64) []room.Draft {
		drafts := make([]room.Draft, 4)
		for i := range drafts {
			drafts[i] = said("ops", expected, fmt.Sprint(i, large))
		}
		return drafts
	}
	first, err := log.Append(ctx, batch(0))
	if err != nil {
		t.Fatal(err)
	}
	newest := first + 3

	// The files of a batch that is taken in are shorter than the log's own by now.
	lift := limitFiles(t, 330<<10)
	rest := log.Hurry(readyWithin, time.Second)
	if first, err := log.Append(ctx, batch(newest)); !errors.Is(err, room.ErrInDoubt) || !errors.Is(err, room.ErrUnavailable) {
		t.Fatalf("the append gave %d, %v; want ErrInDoubt, which is ErrUnavailable", first, err)
	} else if strings.Contains(err.Error(), "xxx") {
		t.Error("the error quotes the message")
	}
	rest()
	if entries := readAll(t, log, "ops"); len(entries) <= 4 || len(entries) >= 8 {
		t.Fatalf("%d entries are there: this is not the beginning of a batch alone", len(entries))
	}
	rest = log.Hurry(2*time.Second, time.Second)
	if first, err := log.Append(ctx, batch(newest)); err == nil {
		t.Errorf("the next append gave %d", first)
	}
	if first, err := log.Append(ctx, []room.Draft{said("other", 0, large)}); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("an append of one gave %d, %v; want ErrUnavailable", first, err)
	}
	rest()
	lift()
	n.stop(0)
	n.start(0)
	until(t, func() bool { newest, err = log.Newest(ctx, "ops"); return err == nil })
	if _, err := log.Append(ctx, []room.Draft{said("ops", newest, "after")}); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	entries := readAll(t, log, "ops")
	for i, e := range entries[:len(entries)-1] {
		if e.Text != fmt.Sprint(i%4, large) {
			t.Errorf("entry %d is not what was said", i)
		}
	}
	if last := entries[len(entries)-1]; last.Text != "after" {
		t.Error("the last entry is not the last that was said")
	}
}

// A disk that takes nothing at all, while half a batch is at the log's end, keeps
// nobody from reading what was stored before; once it does, the log takes more.
func TestHalfABatchOnADiskThatTakesNothing(t *testing.T) {
	if !apart(t) {
		return
	}
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", Logger: slog.New(slog.DiscardHandler)}
	first := halfABatch(t, config)
	lift := limitFiles(t, 1)
	log := openEmbedded(t, config)
	defer log.Close()
	for key, want := range map[room.Key]uint64{"a": first, "b": first + 1, "c": 0} {
		var stored []uint64
		if want > 0 {
			stored = []uint64{want}
		}
		var got []uint64
		for _, e := range readAll(t, log, key) {
			got = append(got, e.Sequence)
		}
		newest, err := log.Newest(t.Context(), key)
		if err != nil || newest != want || !slices.Equal(got, stored) {
			t.Errorf("room %s has %v, and %d as its newest, %v; want %v", key, got, newest, err, stored)
		}
	}
	if _, last, err := log.Span(t.Context()); err != nil || last != first+1 {
		t.Errorf("the log ends at %d, %v, want %d", last, err, first+1)
	}
	rooms := map[room.Key]uint64{}
	if err := log.Rooms(t.Context(), func(key room.Key, newest uint64) bool {
		rooms[key] = newest
		return true
	}); err != nil || len(rooms) != 2 || rooms["a"] != first || rooms["b"] != first+1 {
		t.Errorf("the rooms are %v, %v", rooms, err)
	}
	if _, err := log.Append(t.Context(), []room.Draft{said("a", first, "new")}); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("an append gave %v, want ErrUnavailable", err)
	}
	lift()
	for again := time.Now().Add(20 * time.Second); ; {
		_, err := log.Append(t.Context(), []room.Draft{said("a", first, "new")})
		if err == nil {
			break
		}
		if time.Now().After(again) {
			t.Fatal(err)
		}
	}
	if got := readAll(t, log, "a"); len(got) != 2 || got[1].Previous != first {
		t.Errorf("once the disk takes more, the room has %v", got)
	}
}
