package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"securechat/auth"
)

// Nothing that the admin listener answers, whoever that is, steers a terminal or
// makes a row that is none.
func TestSessionsSteerNoTerminal(t *testing.T) {
	const evil = "\x1b]0;x\a\u202e\nrow\ttab\u009b"
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]auth.Session{{ID: evil, User: evil, Certificate: evil, Method: evil, Peer: evil}})
	}))
	defer admin.Close()
	c := sessionsCommand()
	var out strings.Builder
	c.SetOut(&out)
	c.SetArgs([]string{"--admin", admin.URL})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\u202e\t\u009b") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("it shows %q", out.String())
	}
}
