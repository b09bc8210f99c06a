package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"

	"securechat/auth/authtest"
	"securechat/certs"
)

// A wallet is a source of certificate and token that a test replaces, one by one
// or both.
type wallet struct {
	mu       sync.Mutex
	material *certs.Material
	token    string
	changed  chan struct{}
}

func walletOf(user *authtest.User) *wallet {
	return &wallet{material: user.Certificates, token: user.Token, changed: make(chan struct{})}
}

func (w *wallet) Material() *certs.Material {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.material
}

func (w *wallet) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *wallet) Token(context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.token == "" {
		return "", errAway
	}
	return w.token, nil
}

var errAway = errors.New("the issuer is away")

func (w *wallet) certify(m *certs.Material) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.material = m
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wallet) vouch(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = token
}

func (w *wallet) rotate(user *authtest.User) {
	w.vouch(user.Token)
	w.certify(user.Certificates)
}

func (w *wallet) use(c *Config) { c.Certificates, c.Token = w, w }

// revoking is the realm's server, which finds the certificates revoked.
func revoking(t testing.TB, realm *authtest.Realm, revoked ...*x509.Certificate) *certs.Material {
	t.Helper()
	var text []byte
	for _, c := range revoked {
		text = fmt.Appendf(text, "certificate %x\n", certs.Thumbprint(c))
	}
	revocations, err := certs.ParseRevocations(text)
	must(t, err)
	m, err := certs.NewMaterial(realm.Server().Certificate(), realm.Server().Roots(), revocations)
	must(t, err)
	return m
}

func wantMoveFailed(t *testing.T, all <-chan Event) MoveFailed {
	t.Helper()
	e := next(t, all)
	failed, ok := e.(MoveFailed)
	if !ok {
		t.Fatalf("got %T %+v, want MoveFailed", e, e)
	}
	return failed
}

// wantMoved waits until so many streams have moved.
func wantMoved(t *testing.T, all <-chan Event, streams int) {
	t.Helper()
	for streams > 0 {
		e := next(t, all)
		moved, ok := e.(Moved)
		if !ok || moved.Streams < 1 || moved.Streams > streams || moved.Expires.IsZero() {
			t.Fatalf("got %T %+v, want %d Moved", e, e, streams)
		}
		streams -= moved.Streams
	}
}

// wantMovedAtLast waits for the same, whatever fails before.
func wantMovedAtLast(t *testing.T, all <-chan Event, streams int) {
	t.Helper()
	for streams > 0 {
		if moved, ok := next(t, all).(Moved); ok {
			streams -= moved.Streams
		}
	}
}

// wantOn says on whose certificate's line the stream sends.
func wantOn(t *testing.T, stream *Stream, user *authtest.User) {
	t.Helper()
	stream.turn.Lock() // who takes over just now is done then
	defer stream.turn.Unlock()
	if stream.sender.Load().line.certificate != certs.Thumbprint(user.Leaf()) {
		t.Error("the stream is on another certificate's line")
	}
}

// wantLines counts the channels that are open.
func wantLines(t *testing.T, conn *Conn, want int) {
	t.Helper()
	conn.lines.mu.Lock()
	defer conn.lines.mu.Unlock()
	if got := len(conn.lines.open); got != want {
		t.Errorf("%d lines are open, want %d", got, want)
	}
}

// wantAllLeft closes the Conn and says whether its lines are held by nobody.
func wantAllLeft(t *testing.T, conn *Conn, others ...*line) {
	t.Helper()
	must(t, conn.Close())
	for l := range conn.lines.open {
		others = append(others, l)
	}
	for _, l := range others {
		if l.held != 0 {
			t.Errorf("a line is held %d times", l.held)
		}
	}
}
