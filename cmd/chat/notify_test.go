package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/client"
)

// A person is told once there is something to do, and of nothing else.
func TestNotify(t *testing.T) {
	refusal := &client.Error{Server: "chat:50051", Code: codes.Unauthenticated, Reason: auth.TokenRevoked, Text: "the token is \x1b[2Jrevoked"}
	tests := []struct {
		name  string
		event client.Event
		words []string
	}{
		{"refused for good", client.RefreshFailed{Err: refusal, Final: true}, []string{"could not be renewed", "TOKEN_REVOKED", "alice.token"}},
		{"no use of a certificate", client.MoveFailed{Err: refusal, Final: true}, []string{"certificate could not be used", "TOKEN_REVOKED"}},
		{"the token is still to come", client.MoveFailed{Err: client.ErrOtherCertificate, Retry: time.Now()}, nil},
		{"moved", client.Moved{Expires: time.Now(), Streams: 1}, nil},
		{"tried again", client.RefreshFailed{Err: refusal, Retry: time.Now()}, nil},
		{"no newer token", client.RefreshFailed{Err: client.ErrNoNewToken}, nil},
		{"refreshed", client.Refreshed{Expires: time.Now(), Streams: 1}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var notices strings.Builder
			notify(&notices, "alice.token")(test.event)
			got := notices.String()
			for _, word := range test.words {
				if !strings.Contains(got, word) {
					t.Errorf("got %q, want %q in it", got, word)
				}
			}
			if len(test.words) == 0 && got != "" || strings.Contains(got, "\x1b") || strings.Count(got, "\n") > 1 {
				t.Errorf("got %q", got)
			}
		})
	}
}
