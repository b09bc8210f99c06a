package sandbox_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/cmd/internal/contexts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.Open(dir, "alice", "bob")
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// verify says what a service on the sandbox's files would make of a user.
func verify(t *testing.T, box *sandbox.Sandbox, u *sandbox.User) {
	t.Helper()
	s := box.Settings()
	keys, err := auth.KeyFile(s.JWKS)
	must(t, err)
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers:     []auth.Issuer{{Name: s.Issuer, Audience: s.Audience, Keys: keys, Algorithms: s.Algorithms}},
		MaxLifetime: s.MaxTokenLifetime,
	})
	must(t, err)
	claims, err := verifier.Verify(context.Background(), strings.TrimSpace(read(t, u.Token)))
	must(t, err)
	pair, err := certs.LoadKeyPair(u.Certificate, u.Key)
	must(t, err)
	if claims.Subject != u.Name || claims.Confirmation == nil || *claims.Confirmation != certs.Thumbprint(pair.Leaf) {
		t.Errorf("the token of %s is %q's, or is not bound to the certificate", u.Name, claims.Subject)
	}
	if left := time.Until(claims.Expires); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the token of %s expires in %v", u.Name, left)
	}
	name, err := certs.Identify(pair.Leaf, certs.URI, s.TrustDomain)
	must(t, err)
	if name.User != u.Name {
		t.Errorf("the certificate of %s is %q's", u.Name, name.User)
	}
	roots, err := certs.LoadCertificates(s.ClientCA)
	must(t, err)
	must(t, pair.Leaf.CheckSignatureFrom(roots[0]))
}

func TestOpenRefusesWhatIsBroken(t *testing.T) {
	tests := []struct {
		name, file, says string
		harm             func(path string) error
	}{
		{"a certificate that is none", "alice.crt", "alice.crt", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"a key that others can read", "bob.key", "chmod 600", func(path string) error { return os.Chmod(path, 0o644) }},
		{"a broken authority", "ca/ca.crt", "ca.crt", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"an authority without its key", "ca/ca.key", "ca.key", os.Remove},
		{"a broken signing key", "issuer.key", "issuer.key", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			must(t, test.harm(filepath.Join(dir, test.file)))
			_, err := sandbox.Open(dir, "alice", "bob")
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "remove the folder "+dir) {
				t.Errorf("Open: %v, want an error that names %q and says what to do", err, test.says)
			}
		})
	}
}

func TestOpenUsesAgainWhatIsGood(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	kept := []string{"ca/ca.crt", "server.crt", "alice.crt", "bob.key", "issuer.key", "jwks.json"}
	before := make(map[string]string)
	for _, name := range kept {
		before[name] = read(t, filepath.Join(dir, name))
	}
	token := read(t, first.Users()[0].Token)
	second := open(t, dir)
	for _, name := range kept {
		if read(t, filepath.Join(dir, name)) != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
	if read(t, second.Users()[0].Token) == token {
		t.Error("the token is the old one")
	}
	for _, u := range second.Users() {
		verify(t, second, u)
	}
}

func TestOpenMakesAnewWhatDoesNotLast(t *testing.T) {
	tests := []struct {
		name string
		harm func(t *testing.T, dir string)
	}{
		{"a certificate of an hour", func(t *testing.T, dir string) {
			ca, err := certs.OpenCA(filepath.Join(dir, "ca"))
			must(t, err)
			issued, err := ca.IssueUser("alice", certs.IssueOptions{Lifetime: time.Hour})
			must(t, err)
			must(t, os.Remove(filepath.Join(dir, "alice.crt")))
			must(t, os.Remove(filepath.Join(dir, "alice.key")))
			must(t, issued.WriteFiles(filepath.Join(dir, "alice.crt"), filepath.Join(dir, "alice.key")))
		}},
		{"an authority of an hour", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "ca")))
			_, err := certs.InitCA(filepath.Join(dir, "ca"), certs.CAOptions{Lifetime: time.Hour})
			must(t, err)
		}},
		{"certificates of an authority that is gone", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "ca")))
		}},
		{"half a pair", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "alice.key")))
		}},
		{"no key set", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "jwks.json")))
		}},
		{"another issuer", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "issuer.key")))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			test.harm(t, dir)
			box := open(t, dir)
			for _, u := range box.Users() {
				verify(t, box, u)
				pair, err := certs.LoadKeyPair(u.Certificate, u.Key)
				must(t, err)
				if time.Until(pair.Leaf.NotAfter) < 24*time.Hour {
					t.Errorf("the certificate of %s ends at %v", u.Name, pair.Leaf.NotAfter)
				}
			}
		})
	}
}

func TestContexts(t *testing.T) {
	person := contexts.Context{Server: "chat.example.org:50051"}
	tests := []struct {
		name        string
		prepare     func(t *testing.T, store contexts.Store)
		current     string // afterwards
		alice       string // the name of her context
		aliceServer string // of the context called alice
	}{
		{"a person's context of that name", func(t *testing.T, store contexts.Store) {
			must(t, store.Save("alice", person, false))
		}, "dev-alice", "dev-alice", person.Server},
		{"a person's choice", func(t *testing.T, store contexts.Store) {
			must(t, store.Save("mine", person, false))
			must(t, store.SetCurrent("mine"))
		}, "mine", "alice", "127.0.0.1:1"},
		{"nothing there", func(*testing.T, contexts.Store) {}, "alice", "alice", "127.0.0.1:1"},
		{"a current context that is gone", func(t *testing.T, store contexts.Store) {
			must(t, store.Save("mine", person, false))
			must(t, store.SetCurrent("mine"))
			must(t, os.Remove(filepath.Join(store.Folder(), "mine.yaml")))
		}, "alice", "alice", "127.0.0.1:1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			box := open(t, t.TempDir())
			store := contexts.In(t.TempDir())
			test.prepare(t, store)
			for range 2 { // the second time, its own contexts are there
				current, err := box.SaveContexts(store, "127.0.0.1:1")
				must(t, err)
				if current != test.current || box.Users()[0].Context != test.alice {
					t.Errorf("current is %q and alice's is %q, want %q and %q", current, box.Users()[0].Context, test.current, test.alice)
				}
			}
			saved, err := store.Load("alice")
			must(t, err)
			if saved.Server != test.aliceServer {
				t.Errorf("the context alice leads to %q", saved.Server)
			}
		})
	}
}
