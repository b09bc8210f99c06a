package contexts

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var alice = Context{
	Server: "localhost:50051", ServerName: "chat.test",
	CA: "/d/ca.crt", Cert: "/d/alice.crt", Key: "/d/alice.key", TokenFile: "/d/alice.token",
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) Store { return In(filepath.Join(t.TempDir(), "made", "on", "demand")) }

// A name becomes a path, so it must stay one element of it.
func TestCheckName(t *testing.T) {
	for _, refused := range []string{
		"", ".", "..", ".hidden", "-flag", "_x", "a/b", `a\b`, "../a", "a\x00", "a b", "a\n", "é", strings.Repeat("a", 65),
	} {
		if CheckName(refused) == nil {
			t.Errorf("%q is accepted", refused)
		}
	}
	for _, accepted := range []string{"a", "A-1_b.c", "0", strings.Repeat("a", 64)} {
		if err := CheckName(accepted); err != nil {
			t.Errorf("%q is refused: %v", accepted, err)
		}
	}
}

func TestNamesRefusedEverywhere(t *testing.T) {
	s := newStore(t)
	const name = "../escape"
	_, err := s.Load(name)
	for what, err := range map[string]error{
		"Load": err, "Save": s.Save(name, alice, true), "Remove": s.Remove(name), "SetCurrent": s.SetCurrent(name),
	} {
		if err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want words on the name", what, err)
		}
	}
	if _, err := os.Stat(s.Folder()); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refusal made the folder")
	}
}

func TestParseRefused(t *testing.T) {
	tests := []struct{ name, text, words string }{
		{"unknown key", "server: a\ninsecure: true\n", `unknown key "insecure"`},
		{"other case", "Server: a\n", `unknown key "Server"`},
		{"number", "server: 50051\n", "not text"},
		{"list", "server: [a]\n", "not text"},
		{"null", "server:\n", "not text"},
		{"twice", "server: a\nserver: b\n", "is not YAML"},
		{"no YAML", "server: [\n", "is not YAML"},
		{"a list", "- server\n", "is not YAML"},
		{"empty", "", "no server"},
		{"no server", "tls-ca: /ca.crt\n", "no server"},
		{"relative path", "server: a\ntls-key: key\n", "not an absolute path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			must(t, os.MkdirAll(s.Folder(), 0o700))
			path := filepath.Join(s.Folder(), "x.yaml")
			must(t, os.WriteFile(path, []byte(test.text), 0o600))
			_, err := s.Load("x")
			if err == nil || !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want the path and %q in it", err, test.words)
			}
			// What people wrote is not replaced for being broken.
			dev := alice
			dev.ManagedBy = "chatd dev"
			if s.Save("x", dev, false) == nil {
				t.Error("a broken context was replaced")
			}
		})
	}
}

func TestSaveAndLoad(t *testing.T) {
	s := newStore(t)
	if _, err := s.Load("alice"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	managed := alice
	managed.ManagedBy = "chatd dev"
	for name, c := range map[string]Context{"alice": alice, "dev": managed, "least": {Server: "true"}} {
		must(t, s.Save(name, c, false))
		if got, err := s.Load(name); err != nil || got != c {
			t.Errorf("got %+v, %v, want %+v", got, err, c)
		}
	}
	names, err := s.List()
	must(t, err)
	if !slices.Equal(names, []string{"alice", "dev", "least"}) {
		t.Errorf("got %q", names)
	}
	wantMode(t, s.Folder(), 0o700)
	wantMode(t, filepath.Join(s.Folder(), "alice.yaml"), 0o600)
	entries, err := os.ReadDir(s.Folder())
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("got %v, want the three files alone", entries)
	}
}

func wantMode(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != mode {
		t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), mode)
	}
}

// A program replaces what it made itself, and nobody else's.
func TestSaveOverwrites(t *testing.T) {
	tests := []struct {
		name      string
		old, new  string // managed by
		overwrite bool
		want      bool
	}{
		{"person's by a program", "", "chatd dev", false, false},
		{"a program's by a person", "chatd dev", "", false, false},
		{"a program's by another", "chatd dev", "other", false, false},
		{"person's by a person", "", "", false, false},
		{"a program's by itself", "chatd dev", "chatd dev", false, true},
		{"told to", "", "", true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			before, after := alice, alice
			before.ManagedBy, after.ManagedBy, after.Server = test.old, test.new, "other:1"
			must(t, s.Save("x", before, false))
			err := s.Save("x", after, test.overwrite)
			if (err == nil) != test.want {
				t.Fatalf("got %v, want replaced %v", err, test.want)
			}
			want := before
			if test.want {
				want = after
			}
			if got, err := s.Load("x"); err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestCurrent(t *testing.T) {
	s := newStore(t)
	wantCurrent := func(want string) {
		t.Helper()
		if got, err := s.Current(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	wantCurrent("")
	if err := s.SetCurrent("alice"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	must(t, s.Save("alice", alice, false))
	must(t, s.Save("bob", alice, false))
	must(t, s.SetCurrent("alice"))
	wantCurrent("alice")
	must(t, s.Remove("bob"))
	wantCurrent("alice")
	must(t, s.Remove("alice"))
	wantCurrent("")
	if err := s.Remove("alice"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}

	must(t, os.WriteFile(filepath.Join(s.Folder(), "current"), []byte("../../etc\n"), 0o600))
	if _, err := s.Current(); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestUser(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/somewhere")
	if got := User().Folder(); got != "/somewhere/securechat/contexts" {
		t.Errorf("got %s", got)
	}
	// The specification has relative paths ignored.
	t.Setenv("XDG_CONFIG_HOME", "relative")
	if got := User().Folder(); !filepath.IsAbs(got) {
		t.Errorf("got %s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("server: localhost:50051\ntls-ca: /ca.crt\n")
	f.Add("server: [\n")
	f.Add("a: &x [*x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse([]byte(text))
		if err != nil {
			return
		}
		again, err := c.marshal()
		must(t, err)
		if got, err := parse(again); err != nil || got != c {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
	})
}
