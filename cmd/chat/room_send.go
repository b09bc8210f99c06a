package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	return deliver(c.Context(), joined, source, receiptPrinter(c.OutOrStdout(), room, v.asJSON), v.timeout)
}

// handed is a text that has been handed over, and by when it must be stored.
type handed struct {
	text   string
	posted *client.Posted
	by     time.Time
}

// deliver sends all texts and hands each receipt to show, in order. It returns nil
// when all of them are stored.
func deliver(ctx context.Context, room *client.Room, source texts, show func(string, client.Receipt) error, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	under := make(chan handed, window) // way
	ended := make(chan error, 1)
	go func() {
		defer close(under)
		ended <- postAll(ctx, room, source, timeout, func(h handed) { under <- h })
	}()
	stored, left := 0, 0
	var first error
	for h := range under {
		receipt, err := storedInTime(ctx, h)
		if err == nil {
			stored++
			if err = show(h.text, receipt); err != nil {
				err = fmt.Errorf("print an acknowledgement: %w", err)
			}
		} else {
			left++
		}
		if err != nil && first == nil {
			first = err
			cancel(err) // for all that follow
			source.stop()
		}
	}
	unsent := <-ended
	switch {
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
func postAll(ctx context.Context, room *client.Room, source texts, timeout time.Duration, each func(handed)) error {
	run := rand.Text() + "-"
	for n := 1; ; n++ {
		text, err := source.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		posted, err := room.Post(ctx, text, client.WithID(run+strconv.Itoa(n)))
		var ended *client.Error
		switch {
		case err == nil:
			each(handed{text: text, posted: posted, by: time.Now().Add(timeout)})
		case errors.As(err, &ended) || ctx.Err() != nil:
			return err
		default:
			return fmt.Errorf("%s: %w", source.name(), err)
		}
	}
}
