package daemon

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"securechat/auth"
)

// ConfirmHeader must be in a request that ends a session, with any value. No page
// in a browser can send it to another origin without asking first, and the admin
// listener allows no origin (the Fetch standard, "CORS-safelisted request-header").
const ConfirmHeader = "Chatd-Admin"

// sessions are the live streams.
type sessions interface {
	Sessions() []auth.Session
	End(id string) bool
}

func listSessions(live sessions) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(live.Sessions()) // who asked is gone, and nobody else needs it
	}
}

func endSession(log *slog.Logger, live sessions) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		switch {
		case r.Header.Get(ConfirmHeader) == "":
			answer(w, http.StatusForbidden, "send the header "+ConfirmHeader)
		case !live.End(id):
			answer(w, http.StatusNotFound, "no such session")
		default:
			log.Info("session ended by an operator", slog.String("session", id), slog.String("from", r.RemoteAddr))
			answer(w, http.StatusOK, "ended")
		}
	}
}
