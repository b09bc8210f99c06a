package jetstream_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	c := jwt.NewAccountClaims(public(o.t, keys))
	if jetStream {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	}
	token, err := c.Encode(o.keys)
	if err != nil {
		o.t.Fatal(err)
	}
	return keys, token
}

// credentials returns the file of a new user of the account.
func credentials(t *testing.T, account nkeys.KeyPair) string {
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
	path := filepath.Join(t.TempDir(), "chat.creds")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func public(t *testing.T, keys nkeys.KeyPair) string {
	t.Helper()
	key, err := keys.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCredentials(t *testing.T) {
	ours := newOperator(t)
	system, systemToken := ours.account(false)
	chat, chatToken := ours.account(true)
	stranger, _ := newOperator(t).account(true)

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

	log, err := jetstream.Connect(t.Context(), jetstream.ConnectConfig{URLs: []string{s.ClientURL()}, Credentials: credentials(t, chat)})
	if err != nil {
		t.Fatal(err)
	}
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
