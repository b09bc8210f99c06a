package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// A stream whose token is refreshed on its connection lives on; one on another
// connection does not.
func TestARefreshedStreamLivesOn(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	var ends chatpb.Chat_ChatStreamClient
	stays, _ := inLife(t, 3*time.Second, func(soon time.Time) (stays chatpb.Chat_ChatStreamClient, err error) {
		conn := alice.dial()
		if stays, err = admitted(ctx, conn, alice.token(soon)); err != nil {
			return nil, err
		}
		if ends, err = admitted(ctx, alice.dial(), alice.token(soon)); err != nil {
			return nil, err
		}
		later := soon.Add(time.Hour)
		answer, err := authpb.NewSessionClient(conn).Refresh(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+alice.token(later)), &authpb.RefreshRequest{})
		if err != nil || answer.Streams != 1 || answer.Expires != later.UTC().Format(time.RFC3339) {
			return nil, fmt.Errorf("refreshed %v, %v, want one stream until %v", answer, err, later)
		}
		return stays, nil
	})
	if _, err := ends.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream on another connection ended with %v", err)
	}
	if err := stays.Send(&chatpb.ChatMessage{Message: "still here"}); err != nil {
		t.Fatal(err)
	}
	if m, err := stays.Recv(); err != nil || m.Message != "Acknowledged: still here" {
		t.Errorf("after the first expiry: %v, %v", m, err)
	}
}

// A process that was stopped ends within a second of waking what has expired, was
// revoked or is not trusted any more, and nothing else.
func TestAStoppedProcessCatchesUp(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	later := time.Now().Add(time.Hour)
	type stopped struct {
		citizen *citizen
		until   time.Time
		reason  auth.Reason
		streams []chatpb.Chat_ChatStreamClient
	}
	all, expires := inLife(t, 4*time.Second, func(expires time.Time) ([]*stopped, error) {
		passing, err := w.roots[0].IssueUser("passing", certs.IssueOptions{NotAfter: expires})
		if err != nil {
			return nil, err
		}
		all := []*stopped{
			{citizen: w.citizen("expiring", w.roots[0], w.signers[0]), until: expires, reason: auth.TokenExpired},
			{citizen: &citizen{town: w, name: "passing", signer: w.signers[0], issued: passing}, until: later, reason: auth.CertificateExpired},
			{citizen: w.citizen("revoked", w.roots[0], w.signers[0]), until: later, reason: auth.TokenRevoked},
			{citizen: w.citizen("untrusted", w.roots[1], w.signers[0]), until: later, reason: auth.CertificateUntrusted},
			{citizen: w.citizen("retired", w.roots[0], w.signers[1]), until: later, reason: auth.TokenKeyRetired},
		}
		for _, s := range all {
			conn := s.citizen.dial()
			for range 20 {
				stream, err := admitted(ctx, conn, s.citizen.token(s.until))
				if err != nil {
					return nil, err
				}
				s.streams = append(s.streams, stream)
			}
		}
		return all, nil
	})
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	undisturbed := openPlain(ctx, t, alice.dial(), alice.token(later))

	if err := w.d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.revoke("user", "revoked")
	w.writeRoots(w.roots[0])
	w.writeKeys(w.signers[0])
	<-time.After(time.Until(expires) + time.Second)
	if err := w.d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	woke := time.Now()
	for _, s := range all {
		for _, stream := range s.streams {
			_, err := stream.Recv()
			if reason, _ := auth.ReasonOf(err); reason != s.reason {
				t.Errorf("a stream of %s ended with %v, want %s", s.citizen.name, err, s.reason)
			}
		}
		if late := time.Since(woke); late > promised() {
			t.Errorf("those of %s ended %v after the process woke, want %v at most", s.citizen.name, late, promised())
		}
	}
	wantAcknowledged(t, undisturbed, "still here")
}

// A broken replacement of every file is reported, and changes nothing.
func TestBrokenReplacementsDisturbNobody(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	stream := openPlain(ctx, t, alice.dial(), alice.token(time.Now().Add(time.Hour)))
	for _, name := range []string{"clients.crt", "crl.pem", "revocations.txt", "server.crt", "jwks.json", "policy.txt"} {
		good, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		reports := strings.Count(w.d.errors(), "not replaced")
		w.write(name, []byte("half a fi"))
		if err := within(patience, func() error {
			if strings.Count(w.d.errors(), "not replaced") == reports {
				return errors.New("nothing is said of the broken " + name)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w.write(name, good)
		if err := stream.Send(&chatpb.ChatMessage{Message: name}); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Recv(); err != nil || m.Message != "Acknowledged: "+name {
			t.Fatalf("after a broken %s: %v, %v", name, m, err)
		}
	}
}

// An operator sees who is connected and ends a stream; a page in a browser cannot.
func TestAnOperatorEndsAStream(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	conn := alice.dial()
	one, other := openPlain(ctx, t, conn, alice.token(expires)), openPlain(ctx, t, conn, alice.token(expires))
	sessions := w.sessions()
	if len(sessions) != 2 || sessions[0].User != "alice" || !sessions[0].Expires.Equal(expires) || sessions[0].Method != chatpb.Chat_ChatStream_FullMethodName || sessions[0].Peer == "" {
		t.Fatalf("the sessions are %+v", sessions)
	}
	id := sessions[0].ID
	response, err := http.Post("http://"+w.d.admin+"/sessions/"+id+"/end", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden || w.live("alice") != 2 {
		t.Errorf("without the header: %s, %d streams live", response.Status, w.live("alice"))
	}
	if text, err := exec.Command("chatd", "sessions", "end", id, "--admin", "http://"+w.d.admin).CombinedOutput(); err != nil {
		t.Fatalf("chatd sessions end: %v: %s", err, text)
	}
	var first sync.Once
	ended := make(chan error, 2)
	for _, stream := range []chatpb.Chat_ChatStreamClient{one, other} {
		go func() {
			_, err := stream.Recv()
			first.Do(func() { ended <- err })
		}()
	}
	err = <-ended
	if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.PermissionDenied || reason != auth.Expelled {
		t.Errorf("the stream ended with %v, want PERMISSION_DENIED, EXPELLED", err)
	}
	if n := w.live("alice"); n != 1 {
		t.Errorf("%d streams live, want 1", n)
	}
}
