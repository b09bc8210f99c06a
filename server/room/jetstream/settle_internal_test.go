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
