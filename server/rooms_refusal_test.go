package server

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/server/room"
)

// What the hub says of a room is told in our words, and what the caller can do.
func TestWhatCallersAreToldOfTheHub(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		reason auth.Reason
		waits  bool
		oldest string
	}{
		"something else":     {errors.New("inner workings"), auth.Internal, false, ""},
		"no text":            {room.ErrText, auth.Internal, false, ""}, // the codec lets none through
		"a cursor":           {fmt.Errorf("read: %w", &room.GoneError{Oldest: 7}), auth.CursorGone, false, "7"},
		"a large message":    {fmt.Errorf("append: %w", room.ErrRefused), auth.MessageTooLarge, false, ""},
		"a log that is away": {fmt.Errorf("append: %w", room.ErrUnavailable), auth.LogUnavailable, true, ""},
		"a hub that ends":    {room.ErrClosed, auth.Draining, true, ""},
	} {
		err := wire(roomRefusal(test.err))
		if reason, _ := auth.ReasonOf(err); reason != test.reason {
			t.Errorf("%s: %v, want %s", name, err, test.reason)
		}
		waits := false
		for _, detail := range status.Convert(err).Details() {
			switch detail := detail.(type) {
			case *errdetails.RetryInfo:
				waits = true
			case *errdetails.ErrorInfo:
				if oldest := detail.GetMetadata()["oldest"]; oldest != test.oldest {
					t.Errorf("%s: oldest is %q, want %q", name, oldest, test.oldest)
				}
			}
		}
		if waits != test.waits {
			t.Errorf("%s: that waiting helps is said: %v", name, waits)
		}
	}
}

// A message that is acknowledged again does not take a cursor back.
func TestCursorsDoNotGoBack(t *testing.T) {
	var c conversation
	for _, sequence := range []uint64{3, 7, 2} {
		c.reached(sequence)
	}
	refusal := c.refusal(room.ErrSlow).GRPCStatus()
	for _, detail := range refusal.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetMetadata()["after"] != "7" {
			t.Errorf("after is %q, want 7", info.GetMetadata()["after"])
		}
	}
}

func TestPagesAreBounded(t *testing.T) {
	for asked, want := range map[uint32]int{0: 50, 1: 1, 1000: 1000, 1001: 1000, 1<<32 - 1: 1000} {
		if got := page(asked, 50); got != want {
			t.Errorf("who asks for %d gets %d, want %d", asked, got, want)
		}
	}
}
