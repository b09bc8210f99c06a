package client

import (
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

func TestAddress(t *testing.T) {
	for _, refused := range []string{
		"", ":50051", "host:", "host:0", "host:65536", "host:http", "https://host:443", "host/path", "ho st", "host:1:2",
		"user@host", "host\n", "hôst", "[", "[host", "a]b:1", "fe80::1%eth0",
	} {
		if got, err := address(refused); err == nil {
			t.Errorf("%q: got %q, want a refusal", refused, got)
		}
	}
	for server, want := range map[string]string{
		"host":          "host:50051",
		"host:1":        "host:1",
		"127.0.0.1":     "127.0.0.1:50051",
		"::1":           "[::1]:50051",
		"[::1]":         "[::1]:50051",
		"[::1]:65535":   "[::1]:65535",
		"Chat.Example.": "Chat.Example.:50051",
	} {
		if got, err := address(server); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", server, got, err, want)
		}
	}
}

// A channel that waited longer than a room does would have the room's attempts fail
// without one to connect, and keep it away from a server that is back.
func TestReconnecting(t *testing.T) {
	retries := reconnecting()
	if longest := time.Duration(float64(retries.MaxDelay) * (1 + retries.Jitter)); longest > longestReopening {
		t.Errorf("the attempts to connect are up to %v apart, and those of a room %v", longest, longestReopening)
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"host", "host:1", "[::1]:2", "::1", "https://host", "a:b:c", "[", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, server string) {
		got, err := address(server)
		if err != nil {
			return
		}
		if again, err := address(got); err != nil || again != got {
			t.Fatalf("%q became %q, which becomes %q, %v", server, got, again, err)
		}
		if _, _, err := net.SplitHostPort(got); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzAdmission(f *testing.F) {
	f.Add("alice", "2030-01-02T03:04:05Z")
	f.Add("zo%C3%AB", "")
	f.Add("%", "tomorrow")
	f.Fuzz(func(t *testing.T, user, expires string) {
		got, _, err := readAdmission(metadata.Pairs(chatpb.HeaderUser, user, chatpb.HeaderExpires, expires))
		if err != nil {
			return
		}
		if again, err := chatpb.UnescapeUser(chatpb.EscapeUser(got)); err != nil || again != got {
			t.Fatalf("%q: %q is not itself again, %v", user, got, err)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add("a b")
	f.Add("\r\n")
	f.Fuzz(func(t *testing.T, token string) {
		if checkToken(token) == nil && strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Fatalf("%q may not stand in a header", token)
		}
	})
}

func TestDialRefused(t *testing.T) {
	user := authtest.NewRealm(t).User("alice")
	good := Config{Server: "localhost", Certificates: user.Certificates, Token: TokenFile("token")}
	for words, spoil := range map[string]func(*Config){
		"HOST:PORT":                       func(c *Config) { c.Server = "" },
		"Config.Certificates is required": func(c *Config) { c.Certificates = nil },
		"Config.Token is required":        func(c *Config) { c.Token = nil },
	} {
		config := good
		spoil(&config)
		conn, err := Dial(config)
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q in it", err, words)
		}
	}
	conn, err := Dial(good)
	must(t, err)
	must(t, conn.Close())
}
