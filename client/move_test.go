package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"securechat/auth/authtest"
	"securechat/certs"
)

// converse sends numbers until stop is closed and wants each acknowledged once, in
// order. It returns how many they were.
func converse(ctx context.Context, stream *Stream, stop <-chan struct{}) (int, error) {
	slots := make(chan struct{}, 64)
	sent := make(chan error, 1)
	count := 0
	go func() {
		for {
			select {
			case <-stop:
				sent <- stream.CloseSend()
				return
			case slots <- struct{}{}:
			}
			if err := stream.Send(ctx, fmt.Sprint(count)); err != nil {
				sent <- err
				return
			}
			count++
		}
	}()
	acknowledged := 0
	for m, err := range stream.Messages(ctx) {
		if err != nil {
			return acknowledged, err
		}
		if want := fmt.Sprint("Acknowledged: ", acknowledged); m.Text != want {
			return acknowledged, fmt.Errorf("got %q, want %q", m.Text, want)
		}
		acknowledged++
		<-slots
	}
	if err := <-sent; err != nil {
		return acknowledged, err
	}
	if acknowledged != count {
		return acknowledged, fmt.Errorf("sent %d, acknowledged %d", count, acknowledged)
	}
	return acknowledged, nil
}

type outcome struct {
	count int
	err   error
}

// Fifty certificates while one stream sends all the time and another listens.
func TestMoveFifty(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	w := walletOf(user)
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	sending, listening := open(t, conn), open(t, conn)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	stop := make(chan struct{})
	sent, heard := make(chan outcome, 1), make(chan outcome, 1)
	go func() {
		count, err := converse(ctx, sending, stop)
		sent <- outcome{count, err}
	}()
	go func() {
		heardSoFar := 0
		for _, err := range listening.Messages(ctx) {
			if err != nil {
				heard <- outcome{heardSoFar, err}
				return
			}
			heardSoFar++
		}
		heard <- outcome{heardSoFar, nil}
	}()
	for range 50 {
		user = realm.User("alice")
		w.rotate(user)
		wantMoved(t, all, 2)
	}
	wantOn(t, listening, user)
	close(stop)
	if got := <-sent; got.err != nil || got.count < 50 {
		t.Errorf("the stream that sends: %d acknowledged, %v", got.count, got.err)
	}
	must(t, listening.Send(ctx, "still here"))
	must(t, listening.CloseSend())
	if got := <-heard; got.err != nil || got.count != 1 {
		t.Errorf("the stream that listens: %d heard, %v", got.count, got.err)
	}
	wantLines(t, conn, 1)
	wantAllLeft(t, conn)
}

// Certificates that follow each other faster than streams can move: the last one
// wins, and there are no more lines than are of use.
func TestMoveQuickly(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	stream := open(t, conn)
	stop := make(chan struct{})
	sent := make(chan outcome, 1)
	go func() {
		count, err := converse(context.Background(), stream, stop)
		sent <- outcome{count, err}
	}()
	last := realm.User("alice")
	for range 50 {
		last = realm.User("alice")
		w.rotate(last)
		conn.lines.mu.Lock()
		if n := len(conn.lines.open); n > 5 { // current, next, and the stream's three legs at most
			t.Errorf("%d lines are open", n)
		}
		conn.lines.mu.Unlock()
	}
	proven := func() bool {
		conn.lines.mu.Lock()
		defer conn.lines.mu.Unlock()
		return conn.lines.current.certificate == certs.Thumbprint(last.Leaf())
	}
	for !proven() {
		next(t, all) // a rotation that takes the place of one under way may tear a pair apart
	}
	close(stop)
	if got := <-sent; got.err != nil {
		t.Errorf("%d acknowledged, %v", got.count, got.err)
	}
	wantLines(t, conn, 1)
}

// A stream that has moved is refreshed where it is, and only there.
func TestRefreshAfterMove(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	fresh := realm.User("alice")
	w := walletOf(realm.User("alice"))
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	stream := open(t, conn)
	w.rotate(fresh)
	wantMoved(t, all, 1)
	later := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.vouch(fresh.Mint(until(later)))
	due(conn)
	e := next(t, all)
	if refreshed, ok := e.(Refreshed); !ok || refreshed.Streams != 1 || !stream.Expires().Equal(later) {
		t.Errorf("got %T %+v, until %v", e, e, stream.Expires())
	}
	wantEcho(t, stream, "still here")
}

// A source that does not tell of its changes is looked at when a stream is opened.
func TestMoveWithoutNotice(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	old, fresh := realm.User("alice"), realm.User("alice")
	silent, token := &swap{}, &pocket{}
	silent.Store(old.Certificates)
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, token.of(old), func(c *Config) { c.Certificates = silent })
	stream := open(t, conn)
	token.of(fresh)
	silent.Store(fresh.Certificates)
	wantOn(t, open(t, conn), fresh)
	wantMoved(t, all, 1)
	wantOn(t, stream, fresh)
	wantEcho(t, stream, "over there")
}

// Going back to the certificate before is no move.
func TestMoveTakenBack(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	old, fresh := realm.User("alice"), realm.User("alice")
	w := walletOf(old)
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use)
	stream := open(t, conn)
	w.certify(fresh.Certificates)
	wantMoveFailed(t, all)
	wantLines(t, conn, 2)
	w.certify(old.Certificates)
	wantOn(t, open(t, conn), old)
	eventually(t, "the line of the certificate that was taken back stays", func() bool { return linesOf(conn) == 1 }) // the mover lets go of it last
	wantEcho(t, stream, "still here")
}

// A connection that is lost before its streams can move comes back with its own
// certificate, and with the roots of the moment.
func TestPinned(t *testing.T) {
	realm := authtest.NewRealm(t)
	old, fresh := realm.User("alice"), realm.User("alice")
	w := walletOf(old)
	p := newPinned(w, old.Certificates)
	if p.Material() != old.Certificates {
		t.Error("got another set than the source's")
	}
	other := newCA(t)
	foreign, err := certs.NewMaterial(fresh.Certificates.Certificate(), append(fresh.Certificates.Roots(), other.Certificate()), nil)
	must(t, err)
	w.certify(foreign)
	if got := p.Material(); thumbprintOf(got) != p.certificate || len(got.Roots()) != 2 {
		t.Errorf("got %d roots, and the certificate of %v", len(got.Roots()), got.Certificate().Leaf.Subject)
	}
	// A set that cannot be used changes nothing of what is in force, which may be less
	// than what the certificate came with.
	revocations, err := certs.ParseRevocations([]byte("certificate " + strings.Repeat("ab", 32) + "\n"))
	must(t, err)
	narrower, err := certs.NewMaterial(fresh.Certificates.Certificate(), []*x509.Certificate{other.Certificate()}, revocations)
	must(t, err)
	w.certify(narrower)
	before := p.Material()
	w.certify(&certs.Material{})
	if got := p.Material(); got != before || thumbprintOf(got) != p.certificate || len(got.Roots()) != 1 || got.Revocations() != revocations {
		t.Errorf("got %d roots, want those of before and their revocations", len(got.Roots()))
	}
}

// replace puts the text in the place of the file, all at once.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	must(t, os.WriteFile(path+".new", text, 0o600))
	must(t, os.Rename(path+".new", path))
}

// What an operator does: new files are renamed into place, the token before the
// certificate or after it.
func TestMoveFiles(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	for _, order := range []string{"token first", "certificate first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			paths := certs.Paths{Certificate: filepath.Join(dir, "alice.crt"), Key: filepath.Join(dir, "alice.key"), Roots: filepath.Join(dir, "ca.crt")}
			token := filepath.Join(dir, "alice.token")
			issue := func() (user *authtest.User, certificate func()) {
				issued, err := realm.CA.IssueUser("alice", certs.IssueOptions{})
				must(t, err)
				key, err := issued.KeyPEM()
				must(t, err)
				user = realm.User("alice")
				user.Certificates, err = issued.Material(realm.CA.Certificate())
				must(t, err)
				return user, func() {
					replace(t, paths.Key, key) // a key that is not the certificate's, for now
					replace(t, paths.Certificate, issued.ChainPEM())
				}
			}
			replace(t, paths.Roots, realm.CA.CertificatePEM())
			old, install := issue()
			install()
			replace(t, token, []byte(old.Mint()))
			source, err := certs.Files(paths, certs.WithInterval(20*time.Millisecond))
			must(t, err)
			defer source.Close()
			listen, all := events()
			conn := dial(t, nil, address, listen, func(c *Config) { c.Certificates, c.Token = source, TokenFile(token) })
			stream := open(t, conn)
			wantEcho(t, stream, "before")

			fresh, install := issue()
			mint := func() { replace(t, token, []byte(fresh.Mint())) }
			if order == "token first" {
				mint()
				wantEcho(t, stream, "between")
				install()
			} else {
				install()
				if failed := wantMoveFailed(t, all); failed.Err != ErrOtherCertificate || failed.Final {
					t.Errorf("got %+v", failed)
				}
				wantEcho(t, stream, "between")
				wantOn(t, open(t, conn), old)
				mint()
			}
			moving := 1
			if order == "certificate first" {
				moving = 2
			}
			wantMovedAtLast(t, all, moving)
			wantOn(t, stream, fresh)
			wantEcho(t, stream, "after")
			must(t, stream.CloseSend())
			if _, err := stream.Receive(patient(t)); err != io.EOF {
				t.Errorf("got %v, want io.EOF", err)
			}
		})
	}
}
