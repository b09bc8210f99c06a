package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"securechat/server/room"
)

// Who asks while a server is being started waits for it no longer than it wants to.
func TestWaitsForAServerEnd(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *Local) error{
		"Append": func(ctx context.Context, l *Local) error {
			_, err := l.Append(ctx, make([]room.Draft, 1))
			return err
		},
		"Read": func(ctx context.Context, l *Local) error {
			_, _, err := l.Read(ctx, "ops", 0, 1)
			return err
		},
		"Rooms": func(ctx context.Context, l *Local) error {
			return l.Rooms(ctx, func(room.Key, uint64) bool { return true })
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Local{down: errClosed}
			l.mu.Lock() // as long as a server is being started
			defer l.mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			ended := make(chan error, 1)
			go func() { ended <- ask(ctx, l) }()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want that it was cancelled", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it waits on")
			}
		})
	}
}
