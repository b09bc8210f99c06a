package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// sendToRoom sends all texts to the room and shows that each is stored.
func sendToRoom(c *cobra.Command, v *visit, room string, source texts) error {
	session, err := v.begin(c)
	if err != nil {
		return err
	}
	defer session.Close()
	joined, err := session.join(c.Context(), v.timeout, room)
	if err != nil {
		return err
	}
	defer joined.Close()
	return deliver(c.Context(), joined, source,
		receiptPrinter(c.OutOrStdout(), room, v.asJSON), roomNotices(c.ErrOrStderr(), false), v.timeout)
}

// handed is a text that has been handed over, and by when it must be stored.
type handed struct {
	text   string
	posted *client.Posted
	by     time.Time
}

// deliver sends all texts and hands each receipt to show, in order. It returns nil
// when all of them are stored and shown, however the room has ended by then.
func deliver(ctx context.Context, room *client.Room, source texts, show func(string, client.Receipt) error, notice func(client.RoomEvent), timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel(nil)
	listening.Go(func() {
		for event, err := range room.Events(ctx) {
			if err != nil { // the room has ended, perhaps while there is nothing to send
				cancel(err)
				source.stop()
				return
			}
			notice(event)
		}
	})
	posted := make(chan handed, window)
	ended := make(chan error, 1)
	go func() {
		defer close(posted)
		ended <- postAll(ctx, room, source, timeout, posted)
	}()
	stored, left := 0, 0
	var unshown error
	for h := range posted {
		receipt, err := storedInTime(ctx, h)
		if err != nil {
			left++
		} else {
			stored++
			err = show(h.text, receipt)
			unshown = cmp.Or(unshown, err)
		}
		if err != nil {
			cancel(err) // for all that follow
			source.stop()
		}
	}
	unsent := <-ended
	switch first := context.Cause(ctx); {
	case left == 0 && unsent == nil && unshown == nil:
		return nil
	case errors.Is(first, errUnacknowledged):
		return cli.Exit(cli.Unacknowledged, fmt.Errorf("%d of %d messages were not acknowledged within %v: they may or may not have been stored", left, stored+left, timeout))
	case first != nil && left > 0:
		return fmt.Errorf("%w: %d of %d messages were not acknowledged", first, left, stored+left)
	case first != nil:
		return first
	}
	return unsent
}

// storedInTime waits for the acknowledgement, and returns errUnacknowledged where
// it comes too late.
func storedInTime(ctx context.Context, h handed) (client.Receipt, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, h.by, errUnacknowledged)
	defer cancel()
	return h.posted.Stored(ctx)
}

// postAll gives each text its place in the order. Its error is about a text, or
// how the room has ended.
func postAll(ctx context.Context, room *client.Room, source texts, timeout time.Duration, posted chan<- handed) error {
	run := rand.Text() + "-"
	for n := 1; ; n++ {
		text, err := source.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p, err := room.Post(ctx, text, client.WithID(run+strconv.Itoa(n)))
		var ended *client.Error
		switch {
		case err == nil:
			posted <- handed{text: text, posted: p, by: time.Now().Add(timeout)}
		case errors.As(err, &ended) || ctx.Err() != nil:
			return err
		default:
			return fmt.Errorf("%s: %w", source.name(), err)
		}
	}
}
