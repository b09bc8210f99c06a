package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"securechat/certs"
	"securechat/cmd/chatd/internal/sandbox"
	chatpb "securechat/proto/chat"
	"securechat/server/room/roomtest"
)

// A speaker is a user of the sandbox who talks to a chatd that may be killed at any
// time, and knows no more of the protocol than the contract says.
type speaker struct {
	t    *testing.T
	name string
	chat chatpb.ChatClient
}

// newSpeaker makes a speaker who talks to the first of the servers that is there.
func newSpeaker(t *testing.T, box *sandbox.Sandbox, user *sandbox.User, servers ...string) *speaker {
	t.Helper()
	source, err := certs.Files(certs.Paths{Certificate: user.Certificate, Key: user.Key, Roots: box.CA()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	token, err := os.ReadFile(user.Token)
	if err != nil {
		t.Fatal(err)
	}
	found := manual.NewBuilderWithScheme("servers")
	state := resolver.State{}
	for _, address := range servers {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	found.InitialState(state)
	conn, err := grpc.NewClient("servers:///chat", grpc.WithResolvers(found),
		grpc.WithTransportCredentials(certs.ClientCredentials(source, sandbox.ServerName)),
		grpc.WithPerRPCCredentials(bearerToken(strings.TrimSpace(string(token)))),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &speaker{t: t, name: user.Name, chat: chatpb.NewChatClient(conn)}
}

type bearerToken string

var _ credentials.PerRPCCredentials = bearerToken("")

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }

// open opens a stream once there is a server that takes it.
func (s *speaker) open(ctx context.Context, pairs ...string) (chatpb.Chat_ChatStreamClient, error) {
	return s.chat.ChatStream(metadata.AppendToOutgoingContext(ctx, pairs...), grpc.WaitForReady(true))
}

// speak says total messages in the room, several at a time, and repeats what was
// not acknowledged when the server was gone.
func (s *speaker) speak(ctx context.Context, name string, total int, history *roomtest.History, acknowledged chan<- struct{}) error {
	const ahead = 16
	ctx, cancel := context.WithCancel(ctx) // its streams end with it
	defer cancel()
	done := 0 // how many are acknowledged: acknowledgements come in order
	for done < total {
		stream, err := s.open(ctx, "chat-room", name)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		for sent := done; done < total; {
			for ; sent < total && sent < done+ahead; sent++ {
				id := strconv.Itoa(sent)
				history.Posting(s.name, s.name, id, "text "+id)
				if err := stream.Send(&chatpb.ChatMessage{Message: "text " + id, Id: id}); err != nil {
					break // Recv says why
				}
			}
			m, err := stream.Recv()
			if err != nil {
				break
			}
			if m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
				continue
			}
			if m.Id != strconv.Itoa(done) {
				return fmt.Errorf("the acknowledgement of %s comes when that of %d is due", m.Id, done)
			}
			history.Acknowledged(s.name, m.Id, m.Sequence)
			done++
			acknowledged <- struct{}{}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// listen reads the room from its beginning until it has had total messages, from
// its cursor again whenever the server was gone.
func (s *speaker) listen(ctx context.Context, name string, total int, reader *roomtest.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cursor := uint64(0)
	for had := 0; had < total; {
		stream, err := s.open(ctx, "chat-room", name, "chat-after", strconv.FormatUint(cursor, 10))
		for err == nil && had < total {
			var m *chatpb.ChatMessage
			if m, err = stream.Recv(); err == nil && m.Kind == chatpb.Kind_MESSAGE {
				reader.Saw(roomtest.Message{Sequence: m.Sequence, User: m.User, ID: m.Id, Text: m.Message})
				cursor = m.Sequence
				had++
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %d messages: %w", had, errors.Join(err, ctx.Err()))
		}
	}
	return nil
}

// The program is killed in the middle of a conversation, again and again, and
// started on the same folder: nothing that was acknowledged is missing, and
// nothing is there twice.
func TestNothingAcknowledgedIsLostWhenTheProgramIsKilled(t *testing.T) {
	t.Parallel()
	const total, kills = 300, 5
	box, err := sandbox.Open(t.TempDir(), "alice", "bob", "carol")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "rooms")
	begin := func(listen string) *process {
		p, err := startProcess(t.TempDir(), append(os.Environ(), "GORACE=atexit_sleep_ms=0"),
			append(serveFlags(box), "--listen", listen, "--admin-listen", "off", "--grace", "2s", "--data", data))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d := begin("127.0.0.1:0")
	defer func() {
		if code, err := d.stop(); err != nil || code != 0 {
			t.Errorf("chatd ended with %d, %v: %s", code, err, d.errors())
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	history := roomtest.NewHistory()
	acknowledged := make(chan struct{}, 2*total)
	var talking sync.WaitGroup
	for _, user := range box.Users()[:2] {
		s := newSpeaker(t, box, user, d.listen)
		talking.Go(func() {
			if err := s.speak(ctx, lobby, total, history, acknowledged); err != nil {
				t.Errorf("%s speaks: %v", s.name, err)
			}
		})
	}
	carol := newSpeaker(t, box, box.Users()[2], d.listen)
	reader := history.Reader("carol", 0)
	talking.Go(func() {
		if err := carol.listen(ctx, lobby, 2*total, reader); err != nil {
			t.Errorf("carol listens: %v", err)
		}
	})
	for range kills {
		for range 2 * total / (kills + 1) {
			select {
			case <-acknowledged:
			case <-ctx.Done():
				t.Fatal("the conversation does not go on")
			}
		}
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = d.wait()
		d = begin(d.listen)
	}
	talking.Wait()
	if err := history.Check(); err != nil {
		t.Error(err)
	}
}

// A room spans the servers of a cluster: what is said at one is read at another, in
// one order, and who is there is known at a third.
func TestARoomSpansServers(t *testing.T) {
	t.Parallel()
	const total = 100
	state := filepath.Join(t.TempDir(), "dev")
	box, err := sandbox.Open(state, "alice", "bob")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	d := startForTest(t, []string{"XDG_STATE_HOME=" + home, "XDG_CONFIG_HOME=" + home},
		"dev", "--nodes", "3", "--state", state, "--listen", "127.0.0.1:0", "--admin-listen", "off")
	servers := []string{d.listen}
	for _, found := range regexp.MustCompile(`(?m)^ +(\S+)  the same chat`).FindAllStringSubmatch(waitForOutput(t, d, "Ctrl-C"), -1) {
		servers = append(servers, found[1])
	}
	if len(servers) != 3 {
		t.Fatalf("there are the servers %q, want 3", servers)
	}
	alice, bob := newSpeaker(t, box, box.Users()[0], servers[0]), newSpeaker(t, box, box.Users()[1], servers[1])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	history := roomtest.NewHistory()
	var talking sync.WaitGroup
	acknowledged := make(chan struct{}, 2*total)
	for _, s := range []*speaker{alice, bob} {
		reader := history.Reader(s.name, 0)
		talking.Go(func() {
			if err := s.speak(ctx, lobby, total, history, acknowledged); err != nil {
				t.Errorf("%s speaks: %v", s.name, err)
			}
		})
		talking.Go(func() {
			if err := s.listen(ctx, lobby, 2*total, reader); err != nil {
				t.Errorf("%s listens: %v", s.name, err)
			}
		})
	}
	talking.Wait()
	if err := history.Check(); err != nil {
		t.Error(err)
	}
	stream, err := alice.open(ctx, "chat-room", lobby)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	third := newSpeaker(t, box, box.Users()[1], servers[2])
	if err := within(patience, func() error {
		present, err := third.chat.Members(ctx, &chatpb.MembersRequest{Room: lobby})
		if err != nil || len(present.Members) != 1 || present.Members[0].User != "alice" {
			return fmt.Errorf("the third server knows of %v, %v", present, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// waitForOutput returns what a process has written once it has written text.
func waitForOutput(t *testing.T, p *process, text string) string {
	t.Helper()
	if err := within(patience, func() error {
		if !strings.Contains(p.output(), text) {
			return fmt.Errorf("it has not written %q: %s", text, p.errors())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return p.output()
}
