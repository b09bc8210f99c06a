package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"securechat/auth"
	"securechat/server/room"
)

// Rooms says where a server keeps its rooms. The zero value keeps none: then every
// room is refused.
type Rooms struct {
	// Log keeps the messages. The server does not close it: its owner does, once
	// Shutdown has returned. Nil: there are no rooms.
	Log room.Log
	// Cluster is how servers that share the log find each other. Nil: this server
	// is the log's only writer.
	Cluster room.Cluster
	// Queue and QueueBytes bound how far a member that reads slowly may be behind
	// its room, in events and in bytes, without having to catch up from the log.
	// Default 1,024 and 1 MiB.
	Queue, QueueBytes int
	// Lag is how long a member may be further behind than that before it is cut
	// with SLOW_CONSUMER. One that takes nothing of its replay for that long is cut,
	// too. Default 5 s.
	Lag time.Duration
	// MessagesPerSecond is how many messages one user may send to rooms, on all
	// streams together; what comes faster is read later. 0 sets no bound.
	MessagesPerSecond int
}

// rooms are what a server with a log has beside the echo.
type rooms struct {
	hub   *room.Hub
	log   room.Log
	now   func() time.Time
	pacer *pacer
	lag   time.Duration // how long a client may take nothing of its replay
	// failed is when the log last could not store, with the monotonic clock's
	// reading; nil: it can.
	failed atomic.Pointer[time.Time]
	// reading bounds the calls that read many entries, and so the memory that they
	// and one caller's answers take together, asking those that may ask other
	// servers, and joining the streams that are on their way into a room, which may
	// have to be loaded.
	reading, asking, joining *turnstile
	// lent has, as *[]room.Event, memory that members who are busy take in turns.
	lent sync.Pool
}

const (
	// readers is how many calls may read pages of history, or list rooms, at once,
	// askers how many may ask for a room's members, and joiners how many streams may
	// be joining rooms; callersPlaces is how many of each one caller may have.
	readers       = 32
	askers        = 64
	joiners       = 256
	callersPlaces = 8
	// logRetry is when to come back to a log that is not available.
	logRetry = time.Second
	// doubtful is how long a failure to store counts that nothing has followed.
	doubtful = 5 * time.Second
	// probing is how long the log may take to say that it is there.
	probing = 2 * time.Second
	// closing is how long the hub may take to end, once no stream is left.
	closing = 5 * time.Second
)

// newRooms returns nil where there is no log.
func (s *Server) newRooms() (*rooms, error) {
	config := s.config.Rooms
	if config.Log == nil {
		return nil, nil
	}
	orDefault(&config.Lag, 5*time.Second)
	meter := s.meter()
	metrics, err := newRoomMetrics(meter)
	if err != nil {
		return nil, err
	}
	r := &rooms{
		log: config.Log, now: s.config.Now,
		reading: newTurnstile(callersPlaces, readers), asking: newTurnstile(callersPlaces, askers), joining: newTurnstile(callersPlaces, joiners),
		pacer: newPacer(config.MessagesPerSecond, s.config.Now), lag: config.Lag,
	}
	hub := room.Config{
		Log: config.Log, Cluster: config.Cluster, Queue: config.Queue, QueueBytes: config.QueueBytes, Lag: config.Lag,
		Logger: s.config.Log, Now: s.config.Now,
		Appended: func(entries int, took time.Duration, err error) {
			metrics.appended(entries, took, err)
			r.appended(err)
		},
	}
	if s.config.Tracing != nil {
		hub.Tracer = s.tracer
	}
	r.hub = room.New(hub)
	if err := observeHub(meter, r.hub); err != nil {
		r.close(s.config.Log)
		return nil, err
	}
	return r, nil
}

// close ends the hub. Every stream has ended by then.
func (r *rooms) close(log *slog.Logger) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	if err := r.hub.Close(ctx); err != nil {
		log.Error("the rooms did not end in good order", slog.Any("error", err))
	}
}

// appended notes whether the log can store.
func (r *rooms) appended(err error) {
	switch {
	case err == nil:
		r.failed.Store(nil)
	case errors.Is(err, room.ErrUnavailable):
		now := r.now()
		r.failed.Store(&now)
	}
}

// available says why the rooms cannot be used, nil where they can: the log can be
// read, and has not refused to store just now. That it has done so is forgotten
// after a while, because a server that is not ready is sent nothing by which to
// find out that it is again.
func (r *rooms) available(ctx context.Context) error {
	if failed := r.failed.Load(); failed != nil && r.now().Sub(*failed).Abs() < doubtful { // a clock may be set back
		return fmt.Errorf("storing has failed: %w", room.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, probing)
	defer cancel()
	_, _, err := r.log.Span(ctx)
	return err
}

// roomRefusal is what a caller is told of an error of the hub's.
func roomRefusal(err error) error {
	var gone *room.GoneError
	switch {
	case errors.As(err, &gone):
		return auth.Refuse(auth.CursorGone, err).With("oldest", strconv.FormatUint(gone.Oldest, 10))
	case errors.Is(err, room.ErrRefused): // what the server's own limit lets through can be too much for a log elsewhere
		return auth.Refuse(auth.MessageTooLarge, err)
	case errors.Is(err, room.ErrUnavailable):
		return auth.Refuse(auth.LogUnavailable, err).After(logRetry)
	case errors.Is(err, room.ErrClosed):
		return auth.Refuse(auth.Draining, err).After(logRetry)
	default:
		return err
	}
}
