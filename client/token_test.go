package client

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

func TestTokenFile(t *testing.T) {
	const token = "secret.to.ken"
	tests := []struct {
		name  string
		text  string
		mode  os.FileMode
		words string // of the refusal; empty: accepted
	}{
		{"others may read it", token, 0o604, "run `chmod 600 "},
		{"its group may read it", token, 0o640, "run `chmod 600 "},
		{"empty", " \n", 0o600, "is empty"},
		{"two lines", token + "\n" + token, 0o600, "on one line"},
		{"with its scheme", "Bearer " + token, 0o600, "on one line"},
		{"too large", strings.Repeat("a", 20<<10), 0o600, "larger than 8 KiB"},
		{"plain", token, 0o600, ""},
		{"with a line end", token + "\r\n", 0o600, ""},
		{"read-only", token, 0o400, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			must(t, os.WriteFile(path, []byte(test.text), test.mode))
			got, err := TokenFile(path).Token(context.Background())
			if test.words == "" {
				if got != token || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want the path and %q in it", err, test.words)
			}
			if strings.Contains(err.Error(), token) {
				t.Error("the token is in the error")
			}
		})
	}
}

func TestTokenFileMissing(t *testing.T) {
	folder := t.TempDir()
	if _, err := TokenFile(filepath.Join(folder, "none")).Token(context.Background()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "obtain a token") {
		t.Errorf("got %v", err)
	}
	if _, err := TokenFile(folder).Token(context.Background()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

// The file is read for each stream.
func TestTokenFileReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	source := TokenFile(path)
	for _, want := range []string{"one", "two"} {
		must(t, os.WriteFile(path, []byte(want), 0o600))
		if got, err := source.Token(context.Background()); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

type oauthSource struct {
	token *oauth2.Token
	err   error
}

func (s oauthSource) Token() (*oauth2.Token, error) { return s.token, s.err }

func TestOAuth2(t *testing.T) {
	refused := &oauth2.RetrieveError{
		Response: &http.Response{StatusCode: 401}, ErrorCode: "invalid_client", Body: []byte("refresh-token-in-the-body"),
	}
	tests := []struct {
		name   string
		source oauthSource
		words  string
	}{
		// The endpoint's answer may have anything in it.
		{"endpoint refuses", oauthSource{err: refused}, "401 \"invalid_client\""},
		{"other failure", oauthSource{err: errors.New("no network")}, "no network"},
		{"another type", oauthSource{token: &oauth2.Token{AccessToken: "a", TokenType: "mac"}}, "must be Bearer"},
		{"bearer", oauthSource{token: &oauth2.Token{AccessToken: "a.b.c", TokenType: "bearer"}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := OAuth2(test.source).Token(context.Background())
			if test.words == "" {
				if got != "a.b.c" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "body") {
				t.Errorf("got %v, want %q", err, test.words)
			}
		})
	}
}
