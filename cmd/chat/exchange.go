package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// window is how many messages may wait for their acknowledgement.
const window = 256

var (
	errUnacknowledged = errors.New("not acknowledged in time")
	errCut            = errors.New("the server ended the stream before all was sent: send the rest again")
)

// exchange sends all texts on the stream and hands each acknowledgement to
// show. It returns nil when every text has been acknowledged and the server has
// ended the stream in good order.
//
// A text that cannot be read or sent ends the sending; what was sent before is
// still waited for.
func exchange(ctx context.Context, stream *client.Stream, source texts, show func(client.Message) error, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	open := newUnacknowledged(timeout, func() { cancel(errUnacknowledged) })
	defer open.stop()

	sent := make(chan error, 1)
	go func() { sent <- sendAll(ctx, stream, source, open) }()
	received, err := receiveAll(ctx, stream, show, open)
	// With the stream over, the sender is not to wait for more to send.
	cancel(err)
	source.stop()
	unsent := <-sent

	switch left := open.count(); {
	case errors.Is(err, errUnacknowledged):
		return cli.Exit(cli.Unacknowledged, fmt.Errorf("%d of %d messages were not acknowledged within %v: they may or may not have arrived", left, received+left, timeout))
	case err != nil && left > 0:
		return fmt.Errorf("%w: %d of %d messages were not acknowledged", err, left, received+left)
	case err != nil:
		return err
	case left > 0:
		return fmt.Errorf("the server ended the stream with %d of %d messages not acknowledged: send them again", left, received+left)
	}
	return unsent
}

// sendAll sends what source gives, each with an id of its own, and then closes
// the sending side. Its error is about a text, or errCut: how the stream fares is
// for the receiver to say.
func sendAll(ctx context.Context, stream *client.Stream, source texts, open *unacknowledged) error {
	run := rand.Text() + "-"
	for n := 1; ; n++ {
		text, err := source.next()
		if err != nil {
			return sentAll(ctx, stream, open, err)
		}
		if !open.add(ctx) {
			return errCut
		}
		if err := stream.Send(ctx, text, client.WithID(run+strconv.Itoa(n))); err != nil {
			var ended *client.Error
			if ctx.Err() != nil || errors.Is(err, client.ErrEnded) || errors.As(err, &ended) {
				return errCut
			}
			open.remove()
			return sentAll(ctx, stream, open, fmt.Errorf("%s: %w", source.name(), err))
		}
	}
}

// sentAll closes the sending side, because of err, and waits for the end of the
// stream as for an acknowledgement.
func sentAll(ctx context.Context, stream *client.Stream, open *unacknowledged, err error) error {
	if ctx.Err() != nil {
		return errCut
	}
	open.expectEnd()
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, stream.CloseSend())
}

func receiveAll(ctx context.Context, stream *client.Stream, show func(client.Message) error, open *unacknowledged) (received int, err error) {
	for m, err := range stream.Messages(ctx) {
		if err != nil {
			return received, err
		}
		open.remove()
		received++
		if err := show(m); err != nil {
			return received, fmt.Errorf("print an acknowledgement: %w", err)
		}
	}
	return received, nil
}

// unacknowledged keeps when each message that waits for its acknowledgement was
// sent, the oldest first, and calls late when that one has waited too long. The
// sender adds and the receiver removes.
type unacknowledged struct {
	timeout time.Duration
	slots   chan struct{}

	mu    sync.Mutex
	sent  []time.Time
	end   bool // nothing more is added; the end of the stream is waited for
	timer *time.Timer
}

func newUnacknowledged(timeout time.Duration, late func()) *unacknowledged {
	u := &unacknowledged{timeout: timeout, slots: make(chan struct{}, window), timer: time.AfterFunc(timeout, late)}
	u.timer.Stop()
	return u
}

// add waits for room in the window, and returns false where ctx ends first.
func (u *unacknowledged) add(ctx context.Context) bool {
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent = append(u.sent, time.Now())
	if len(u.sent) == 1 {
		u.timer.Reset(u.timeout)
	}
	return true
}

func (u *unacknowledged) remove() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.sent) == 0 {
		return // more came back than was sent
	}
	<-u.slots
	u.sent = u.sent[1:]
	switch {
	case len(u.sent) > 0:
		u.timer.Reset(time.Until(u.sent[0].Add(u.timeout)))
	case u.end:
		u.timer.Reset(u.timeout)
	default:
		u.timer.Stop()
	}
}

func (u *unacknowledged) expectEnd() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end = true
	if len(u.sent) == 0 {
		u.timer.Reset(u.timeout)
	}
}

func (u *unacknowledged) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.sent)
}

func (u *unacknowledged) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer.Stop()
}
