package client

import (
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

// asking is a status that asks the client to wait.
func asking(t *testing.T, code codes.Code, wait *durationpb.Duration) error {
	t.Helper()
	st, err := status.New(code, "a fault of the test's").WithDetails(&errdetails.RetryInfo{RetryDelay: wait})
	must(t, err)
	return st.Err()
}

// A server that asks to wait for a time that makes no sense is asked again neither
// at once, again and again, nor never.
func TestRoomAskedToWait(t *testing.T) {
	for name, test := range map[string]struct {
		asked *durationpb.Duration
		want  time.Duration // or up to the pause of a first attempt more
	}{
		"negative":       {durationpb.New(-time.Hour), 0},
		"most negative":  {&durationpb.Duration{Seconds: math.MinInt64}, 0},
		"a year":         {durationpb.New(365 * 24 * time.Hour), longestAsked},
		"beyond measure": {&durationpb.Duration{Seconds: math.MaxInt64}, longestAsked},
		"sensible":       {durationpb.New(3 * time.Second), 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			ending := asking(t, codes.Unavailable, test.asked)
			address := startOdd(t, realm, func(call chatpb.Chat_ChatStreamServer) error { return liveOnce(call, ending) })
			room, err := dial(t, realm.User("alice"), address).Join(patient(t), "ops")
			must(t, err)
			defer room.Close()
			if e := wantNext[Reconnecting](t, room); e.Wait < test.want || e.Wait > test.want+firstReopening {
				t.Errorf("it waits %v, want %v", e.Wait, test.want)
			}
		})
	}
}

// A server that has streams live and ends them at once, again and again, is asked
// less and less often.
func TestRoomThatDoesNotLast(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startOdd(t, realm, func(call chatpb.Chat_ChatStreamServer) error { return liveOnce(call, nil) })
	room := join(t, dial(t, realm.User("alice"), address), "ops")
	for event, err := range room.Events(patient(t)) {
		must(t, err)
		if e, ok := event.(Reconnecting); ok && e.Wait > firstReopening/4 {
			return // where the first waits are up to 2 ms
		}
	}
}

// A stream that ends before the room has begun has Join say so, and it waits for no
// other.
func TestJoinWithoutBeginning(t *testing.T) {
	for name, ending := range map[string]error{
		"in good order": nil,
		"in a fault":    status.Error(codes.Unavailable, "a fault of the test's"),
	} {
		t.Run(name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			address := startOdd(t, realm, func(call chatpb.Chat_ChatStreamServer) error {
				if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, "alice")); err != nil {
					return err
				}
				return ending
			})
			_, err := dial(t, realm.User("alice"), address).Join(patient(t), "ops", hurry{})
			var lost *Error
			if !errors.As(err, &lost) || lost.Code != codes.Unavailable || !lost.Retryable() {
				t.Errorf("got %v, want a retryable UNAVAILABLE", err)
			}
		})
	}
}

// liveOnce admits a stream, has it live and ends it.
func liveOnce(call chatpb.Chat_ChatStreamServer, ending error) error {
	if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, "alice")); err != nil {
		return err
	}
	if err := call.Send(&chatpb.ChatMessage{Kind: chatpb.Kind_LIVE, Sequence: 1}); err != nil {
		return err
	}
	return ending
}
