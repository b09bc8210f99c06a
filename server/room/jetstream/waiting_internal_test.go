package jetstream

import (
	"context"
	"errors"
	"runtime"
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
			l := &Local{turn: make(chan struct{}, 1)}
			l.turn <- struct{}{} // as long as a server is being started
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

// Who has given up leaves nothing behind, however many they are while a server takes
// long to start.
func TestWhoGivesUpLeavesNothing(t *testing.T) {
	l, _ := logWith(t)
	l.turn <- struct{}{} // as long as a server is being started
	defer func() { <-l.turn }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := runtime.NumGoroutine()
	for range 100 {
		if _, err := l.Newest(ctx, "ops"); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want that it was cancelled", err)
		}
	}
	if more := runtime.NumGoroutine() - before; more > 10 {
		t.Errorf("%d goroutines are left", more)
	}
}
