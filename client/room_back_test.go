package client

import (
	"crypto/tls"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// A room that goes back to what its program has read, while its successor for a new
// certificate is on its way from further on, does without that one: what the program
// has yet to read would be missed.
func TestRoomGoesBackWhileItMoves(t *testing.T) {
	realm := authtest.NewRealm(t)
	old, renewed := realm.User("alice"), realm.User("alice")
	const kept = backlogEvents + 10 // messages that the room has
	var (
		mu       sync.Mutex
		streams  int                   // over the new certificate
		reached  = make(chan struct{}) // the successor asks to be admitted
		admit    = make(chan struct{}) // it is
		released = make(chan struct{}) // it has been let go
	)
	address := startOdd(t, realm, func(call chatpb.Chat_ChatStreamServer) error {
		which := 0
		if presented(call) == certs.Thumbprint(renewed.Leaf()) {
			mu.Lock()
			streams++
			which = streams
			mu.Unlock()
		}
		if which == 1 {
			close(reached)
			<-admit
		}
		if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, "alice")); err != nil {
			return err
		}
		if which == 1 {
			defer close(released)
		}
		if which == 2 { // in no hurry
			select {
			case <-released:
			case <-call.Context().Done():
			}
		}
		after, _ := strconv.Atoi(metadata.ValueFromIncomingContext(call.Context(), chatpb.MetadataAfter)[0])
		for n := after + 1; n <= kept; n++ {
			if err := call.Send(&chatpb.ChatMessage{User: "bob", Sequence: uint64(n)}); err != nil {
				return err
			}
		}
		err := call.Send(&chatpb.ChatMessage{Kind: chatpb.Kind_LIVE, Sequence: kept})
		if which > 0 && err == nil {
			err = call.Send(&chatpb.ChatMessage{User: "bob", Message: "new", Sequence: kept + 1})
		}
		<-call.Context().Done() // what is posted is never acknowledged
		return err
	})
	has := walletOf(old)
	room := join(t, dial(t, nil, address, has.use), "ops", FromStart())
	_, err := room.Post(patient(t), "due")
	must(t, err)
	eventually(t, "the room does not run ahead of its program", func() bool {
		room.mu.Lock()
		defer room.mu.Unlock()
		return room.ahead && room.live
	})
	has.rotate(renewed)
	<-reached
	for n := range uint64(backlogEvents) {
		wantSequence(t, room, n+1)
	}
	eventually(t, "the room does not go back", func() bool {
		room.mu.Lock()
		defer room.mu.Unlock()
		return room.stream != nil && room.seen == backlogEvents
	})
	close(admit)
	for n := uint64(backlogEvents); n <= kept; n++ {
		wantSequence(t, room, n+1)
	}
}

func wantSequence(t *testing.T, room *Room, want uint64) {
	t.Helper()
	m, err := room.Receive(patient(t))
	must(t, err)
	if m.Sequence != want {
		t.Fatalf("got the message %d, want %d", m.Sequence, want)
	}
}

// presented is the certificate of the stream's connection.
func presented(call chatpb.Chat_ChatStreamServer) thumbprint {
	p, _ := peer.FromContext(call.Context())
	var state tls.ConnectionState
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		state = info.State
	}
	if len(state.PeerCertificates) == 0 {
		return thumbprint{}
	}
	return certs.Thumbprint(state.PeerCertificates[0])
}
