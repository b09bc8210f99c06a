package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"securechat/server/room"
)

// An append without an answer is in doubt for as long as no server can be asked what
// has become of it, however the time for that has been used up.
func TestWhatCannotBeSettledIsInDoubt(t *testing.T) {
	l, err := Embedded(EmbeddedConfig{Dir: t.TempDir() + "/log", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := l.current
	a, err := in.prepare(t.Context(), []room.Draft{{Entry: room.Entry{Room: "ops", User: "alice"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.config.Dir = file // in which no server starts
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.settle(ctx, in, a, &doubtError{errors.New("it is slow")}); !errors.Is(err, room.ErrInDoubt) {
		t.Errorf("got %v, want ErrInDoubt", err)
	}
}

// An append whose time is over before its answer is there is in doubt, too, whatever
// was answered before.
func TestWhatIsNotAnsweredInTimeIsInDoubt(t *testing.T) {
	l, a := logWith(t, room.Draft{Entry: room.Entry{Room: "ops", User: "alice"}})
	var err error
	sent := false
	for patience := 20 * time.Millisecond; !sent; patience *= 2 { // which may be over before the second attempt
		err = persistently(t.Context(), patience, func(ctx context.Context, attempt int) error {
			if attempt == 1 {
				return errRefused
			}
			<-ctx.Done()
			sent = true
			_, err := l.attempt(ctx, l.current, a, attempt)
			return err
		})
	}
	if err = errorOf(t.Context(), "append", err); !errors.Is(err, room.ErrInDoubt) {
		t.Errorf("got %v, want ErrInDoubt", err)
	}
}

// An append that a server shows is stored once one shows it that has it from the disk.
func TestWhatIsOnlyShownIsNotSettled(t *testing.T) {
	l, a := logWith(t, room.Draft{Entry: room.Entry{Room: "ops", User: "alice"}})
	shows := l.current
	stored, err := shows.send(t.Context(), a, 1) // not as an append does it
	if err != nil {
		t.Fatal(err)
	}
	failed := &instance{} // which shows has replaced
	if first, err := l.settle(t.Context(), failed, a, &doubtError{errors.New("it is slow")}); first != stored || err != nil {
		t.Errorf("got %d, %v, want %d", first, err, stored)
	}
	if l.current == shows {
		t.Error("the server that has not acknowledged it was believed")
	}
}

// Of an append to a room whose end the disk has lost nothing is stored: another server
// would find no more.
func TestALostEndIsNoDoubt(t *testing.T) {
	l, a := logWith(t, room.Draft{Entry: room.Entry{Room: "ops", User: "alice"}, Expected: 7})
	begun := time.Now()
	_, err := l.settle(t.Context(), l.current, a, &doubtError{errors.New("it is slow")})
	var behind *room.BehindError
	if !errors.As(err, &behind) || errors.Is(err, room.ErrInDoubt) {
		t.Errorf("got %v, want a BehindError alone", err)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

// logWith opens a log and prepares an append to it.
func logWith(t *testing.T, drafts ...room.Draft) (*Local, *appending) {
	t.Helper()
	l, err := Embedded(EmbeddedConfig{Dir: t.TempDir() + "/log"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	a, err := l.current.prepare(t.Context(), drafts)
	if err != nil {
		t.Fatal(err)
	}
	return l, a
}
