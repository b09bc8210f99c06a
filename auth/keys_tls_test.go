package auth

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// What a server on a real connection may answer, and be, for its keys to be
// taken up.
func TestKeysOverTLS(t *testing.T) {
	good := setOf(jwkOf(newEd25519Signer(t), "k", nil))
	serve := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, test := range []struct {
		name      string
		handler   http.HandlerFunc
		configure func(*httptest.Server)
		foreign   bool // the server's authority is not among the roots
		accepted  bool
	}{
		{name: "not found", handler: serve(http.StatusNotFound, good)},
		{name: "server error", handler: serve(http.StatusInternalServerError, good)},
		{name: "partial content", handler: serve(http.StatusPartialContent, good)},
		{name: "broken body", handler: serve(http.StatusOK, good[1:])},
		{name: "a page", handler: serve(http.StatusOK, "<html></html>")},
		{name: "oversize body", handler: serve(http.StatusOK, good+strings.Repeat(" ", maxKeySetBytes))},
		{name: "oversize header", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 128<<10))
			serve(http.StatusOK, good)(w, r)
		}},
		{name: "redirect to good keys", handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				serve(http.StatusOK, good)(w, r)
				return
			}
			http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
		}},
		{name: "redirect that brings good keys", handler: serve(http.StatusFound, good)},
		{name: "connection cut", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "foreign authority", handler: serve(http.StatusOK, good), foreign: true},
		{name: "TLS 1.1", handler: serve(http.StatusOK, good), configure: func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // to be refused
		}},
		{name: "good keys", handler: serve(http.StatusOK, good), accepted: true},
		{name: "good keys on HTTP/2", handler: serve(http.StatusOK, good), accepted: true, configure: func(s *httptest.Server) {
			s.EnableHTTP2 = true
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(test.handler)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if test.configure != nil {
				test.configure(server)
			}
			server.StartTLS()
			defer server.Close()
			roots := x509.NewCertPool()
			if !test.foreign {
				roots.AddCert(server.Certificate())
			}
			feed, err := Keys(server.URL+"/jwks.json", KeyRoots(roots), KeyLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			defer feed.Close()
			if test.accepted {
				wantKey(t, feed, "k")
				return
			}
			if refusal := wantNoKey(t, feed, "k", KeysUnavailable); refusal.Retry < time.Second {
				t.Errorf("retry after %v", refusal.Retry)
			}
		})
	}
}

// A client of one's own follows no redirect either, and keeps its policy for its
// other uses.
func TestOwnClientFollowsNoRedirect(t *testing.T) {
	good := setOf(jwkOf(newEd25519Signer(t), "k", nil))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/good" {
			_, _ = io.WriteString(w, good)
			return
		}
		http.Redirect(w, r, "/good", http.StatusFound)
	}))
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	feed, err := KeyURL(server.URL, KeyClient(client), KeyLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	wantNoKey(t, feed, "k", KeysUnavailable)
	if client.CheckRedirect != nil {
		t.Error("the client that was given is changed")
	}
}

// An answer without an end is read no further than a key set may go, also one that
// is small until it is unpacked.
func TestAnswersWithoutAnEnd(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter) io.Writer{
		"plain": func(w http.ResponseWriter) io.Writer { return w },
		"packed": func(w http.ResponseWriter) io.Writer {
			w.Header().Set("Content-Encoding", "gzip")
			return gzip.NewWriter(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				spaces := bytes.Repeat([]byte(" "), 64<<10)
				for out, err := write(w), error(nil); err == nil; {
					_, err = out.Write(spaces)
				}
			}))
			defer server.Close()
			roots := x509.NewCertPool()
			roots.AddCert(server.Certificate())
			feed, err := KeyURL(server.URL, KeyRoots(roots), KeyLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			defer feed.Close()
			if refusal := wantNoKey(t, feed, "k", KeysUnavailable); !strings.Contains(refusal.Error(), "bytes, more than") {
				t.Errorf("got %v, want that the key set is too large", refusal)
			}
		})
	}
}

// The cookies of a client of one's own are not sent, nor is one kept.
func TestOwnClientSendsNoCookies(t *testing.T) {
	good := setOf(jwkOf(newEd25519Signer(t), "k", nil))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Errorf("it sent %v", r.Cookies())
		}
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "x"})
		_, _ = io.WriteString(w, good)
	}))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	defer client.CloseIdleConnections()
	if client.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	client.Jar.SetCookies(address, []*http.Cookie{{Name: "mine", Value: "x"}})
	feed, err := KeyURL(server.URL, KeyClient(client), KeyLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	for range 2 {
		if err := feed.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if kept := client.Jar.Cookies(address); len(kept) != 1 {
		t.Errorf("it keeps %v", kept)
	}
}
