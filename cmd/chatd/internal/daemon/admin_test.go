package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"securechat/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nobody struct{ ended []string }

func (*nobody) Sessions() []auth.Session { return nil }

func (n *nobody) End(id string) bool {
	n.ended = append(n.ended, id)
	return true
}

// A page whose own name was made to lead here is not of this origin.
func TestTheAdminListenerIsAskedByItsAddress(t *testing.T) {
	for host, code := range map[string]int{
		"evil.example:9464": http.StatusMisdirectedRequest,
		"evil.example":      http.StatusMisdirectedRequest,
		"localhost.evil":    http.StatusMisdirectedRequest,
		"":                  http.StatusMisdirectedRequest,
		"127.0.0.1:9464":    http.StatusOK,
		"127.0.0.1":         http.StatusOK,
		"[::1]:9464":        http.StatusOK,
		"[::1]":             http.StatusOK,
		"localhost:9464":    http.StatusOK,
	} {
		live := &nobody{}
		handler := adminHandler(slog.New(slog.DiscardHandler), func(context.Context) bool { return true }, nil, live)
		request := httptest.NewRequest(http.MethodPost, "/sessions/7/end", nil)
		request.Host = host
		request.Header.Set(ConfirmHeader, "yes")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != code || (len(live.ended) == 1) != (code == http.StatusOK) {
			t.Errorf("host %q: %d, ended %v, want %d", host, answer.Code, live.ended, code)
		}
	}
}

func TestEndingNeedsTheHeader(t *testing.T) {
	live := &nobody{}
	handler := adminHandler(slog.New(slog.DiscardHandler), func(context.Context) bool { return true }, nil, live)
	request := httptest.NewRequest(http.MethodPost, "/sessions/7/end", nil)
	request.Host = "127.0.0.1"
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusForbidden || len(live.ended) != 0 {
		t.Errorf("%d, ended %v, want 403 and nothing", answer.Code, live.ended)
	}
}
