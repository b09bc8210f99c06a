package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"
)

// admin serves probes, metrics, profiles and the live sessions to whoever can
// reach it.
type admin struct {
	log    *slog.Logger
	server *http.Server
}

// newAdmin makes the admin server. metrics may be nil.
func newAdmin(log *slog.Logger, ready func(context.Context) bool, metrics http.Handler, live sessions) *admin {
	return &admin{log: log, server: &http.Server{
		Handler:           adminHandler(log, ready, metrics, live),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes half a minute by default
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

func (a *admin) serve(listener net.Listener) error {
	if !loopback(listener.Addr()) {
		a.log.Warn("the admin listener can be reached from other machines and asks nobody who they are: it shows metrics, profiles and who is connected, and ends streams; bind it to 127.0.0.1 or guard the port",
			slog.String("address", listener.Addr().String()))
	}
	if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func loopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// stop ends the server. A profile under way is cut short.
func (a *admin) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
}

func adminHandler(log *slog.Logger, ready func(context.Context) bool, metrics http.Handler, live sessions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !ready(r.Context()) {
			answer(w, http.StatusServiceUnavailable, "not ready")
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	mux.HandleFunc("GET /sessions", listSessions(live))
	mux.HandleFunc("POST /sessions/{id}/end", endSession(log, live))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return byAddress(mux)
}

// byAddress refuses requests that name the host otherwise than by its address or
// as localhost. A page in a browser can have a name of its own lead here (DNS
// rebinding), and would then be of the same origin; an address it cannot have.
func byAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
			answer(w, http.StatusMisdirectedRequest, "ask by the address of this listener, or as localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // the prober is gone, and nobody else needs it
}
