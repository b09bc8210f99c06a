package jetstream_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

// operator vouches for accounts, and these for users, as a NATS server that trusts
// it wants them.
type operator struct {
	t    *testing.T
	keys nkeys.KeyPair
}

func newOperator(t *testing.T) operator {
	keys, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	return operator{t, keys}
}

func (o operator) claims() *jwt.OperatorClaims {
	return jwt.NewOperatorClaims(public(o.t, o.keys))
}

// account returns a new account's keys and what the operator says of it.
func (o operator) account(jetStream bool) (nkeys.KeyPair, string) {
	keys, err := nkeys.CreateAccount()
	if err != nil {
		o.t.Fatal(err)
	}
	return keys, o.vouch(accountClaims(o.t, keys, jetStream))
}

func accountClaims(t *testing.T, keys nkeys.KeyPair, jetStream bool) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(public(t, keys))
	if jetStream {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	}
	return c
}

func (o operator) vouch(c *jwt.AccountClaims) string {
	token, err := c.Encode(o.keys)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

// credentials returns the file of a new user of the account.
func credentials(t *testing.T, account nkeys.KeyPair) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat.creds")
	writeCredentials(t, path, account)
	return path
}

// writeCredentials makes a new user of the account, whom it returns, and writes the
// credentials down.
func writeCredentials(t *testing.T, path string, account nkeys.KeyPair) (user string) {
	t.Helper()
	keys, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewUserClaims(public(t, keys)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := keys.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return public(t, keys)
}

func public(t *testing.T, keys nkeys.KeyPair) string {
	t.Helper()
	key, err := keys.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// startOperated starts a server that trusts the operator, with one account for chat.
func startOperated(t *testing.T, ours operator) (s *server.Server, chat nkeys.KeyPair) {
	t.Helper()
	system, systemToken := ours.account(false)
	chat, chatToken := ours.account(true)
	accounts := &server.MemAccResolver{}
	for keys, token := range map[nkeys.KeyPair]string{system: systemToken, chat: chatToken} {
		if err := accounts.Store(public(t, keys), token); err != nil {
			t.Fatal(err)
		}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(),
		TrustedOperators: []*jwt.OperatorClaims{ours.claims()}, AccountResolver: accounts, SystemAccount: public(t, system),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(readyWithin) {
		t.Fatal("the server does not start")
	}
	return s, chat
}

// Credentials that the server takes no longer are tried again and again, so that
// those which replace them in the file are taken, however much later they come.
func TestCredentialsAreReplaced(t *testing.T) {
	t.Parallel()
	s, chat := startOperated(t, newOperator(t))
	file := filepath.Join(t.TempDir(), "chat.creds")
	user := writeCredentials(t, file, chat)
	refused := make(chan struct{}, 1)
	log := connect(t, jetstream.ConnectConfig{
		URLs: []string{s.ClientURL()}, Credentials: file, Logger: slog.New(&heedful{words: "authorization", heard: refused}),
	})
	defer log.Close()

	account, err := s.LookupAccount(public(t, chat))
	if err != nil {
		t.Fatal(err)
	}
	claims := accountClaims(t, chat, true)
	claims.Revoke(user)
	s.UpdateAccountClaims(account, claims)
	for range 3 * 3 { // on three connections
		select {
		case <-refused:
		case <-time.After(readyWithin):
			t.Fatal("it is not tried again")
		}
	}
	writeCredentials(t, file, chat)
	until(t, func() bool {
		_, err := log.Append(t.Context(), []room.Draft{said("ops", 0, "back")})
		return err == nil
	})
}

// heedful hands on that something with those words is logged.
type heedful struct {
	slog.Handler
	words string
	heard chan<- struct{}
}

func (h *heedful) Enabled(context.Context, slog.Level) bool { return true }

func (h *heedful) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), h.words) {
			select {
			case h.heard <- struct{}{}:
			default:
			}
		}
		return true
	})
	return nil
}

func TestCredentials(t *testing.T) {
	ours := newOperator(t)
	s, chat := startOperated(t, ours)
	stranger, _ := newOperator(t).account(true)

	for name, file := range map[string]string{
		"none":                              "",
		"a file that is not there":          filepath.Join(t.TempDir(), "none.creds"),
		"of an account that nobody vouches": credentials(t, stranger),
	} {
		log, err := jetstream.Connect(t.Context(), jetstream.ConnectConfig{URLs: []string{s.ClientURL()}, Credentials: file})
		if err == nil {
			t.Errorf("%s: let in", name)
			_ = log.Close()
		} else if strings.Contains(err.Error(), "SEED") {
			t.Errorf("%s: the error has a secret", name)
		}
	}

	log := connect(t, jetstream.ConnectConfig{URLs: []string{s.ClientURL()}, Credentials: credentials(t, chat)})
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	sequence, err := log.Append(t.Context(), []room.Draft{{Entry: room.Entry{Room: "lobby", User: "alice", Text: "hi"}}})
	if err != nil {
		t.Fatal(err)
	}
	entries, _, err := log.Read(t.Context(), "lobby", 0, 1)
	if err != nil || len(entries) != 1 || entries[0].Sequence != sequence {
		t.Errorf("read %+v, %v, want the entry %d", entries, err, sequence)
	}
}
