package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// A talker is who says lines in a room.
type talker struct {
	room   *client.Room
	source texts
	run    string        // begins the ids of what this one says
	last   time.Duration // longest wait for acknowledgements once the lines have ended
	quiet  bool          // what is typed on a terminal stands there already

	mu       sync.Mutex
	shown    uint64 // the newest sequence
	until    uint64 // all has been said, up to here; 0: not yet
	allShown context.CancelCauseFunc
}

// errAllShown ends the reading of a room in good order.
var errAllShown = errors.New("all that was said has been shown")

// converse sends the lines of stdin to the room and prints what is said there,
// until the lines end and all of them have been printed, or the last is not
// acknowledged in time.
func converse(c *cobra.Command, v *visit, room string, from ...client.JoinOption) error {
	session, err := v.begin(c)
	if err != nil {
		return err
	}
	defer session.Close()
	joined, err := session.join(c.Context(), v.timeout, room, from...)
	if err != nil {
		return err
	}
	defer joined.Close()
	lines, release := stdin(c.InOrStdin())
	defer release()
	person := isTerminal(c.InOrStdin())
	var source texts = lines
	if person {
		source = &typed{lines: lines, notices: c.ErrOrStderr()}
	}
	t := &talker{room: joined, source: source, run: rand.Text() + "-", last: v.timeout, quiet: person && isTerminal(c.OutOrStdout()) && !v.asJSON}
	if person {
		fmt.Fprintf(c.ErrOrStderr(), "you are in %s as %s; each line is a message, Ctrl-D ends\n", cli.Printable(room), cli.Printable(joined.User()))
	}
	return t.talk(c.Context(), roomPrinter(c.OutOrStdout(), room, v.asJSON), roomNotices(c.ErrOrStderr(), person))
}

// talk listens here and speaks in a goroutine of its own.
func (t *talker) talk(ctx context.Context, show func(client.Message) error, notice func(client.RoomEvent)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.allShown = cancel
	spoken := make(chan error, 1)
	go func() {
		last, err := t.speak(ctx)
		t.end(last)
		spoken <- err
	}()
	heard := t.listen(ctx, show, notice)
	cancel(heard)
	t.source.stop()
	said := <-spoken
	if errors.Is(heard, errAllShown) {
		return said
	}
	return heard
}

func (t *talker) listen(ctx context.Context, show func(client.Message) error, notice func(client.RoomEvent)) error {
	for event, err := range t.room.Events(ctx) {
		if err != nil {
			return err
		}
		m, said := event.(client.Message)
		if !said {
			notice(event)
			continue
		}
		if !(t.quiet && m.Own && strings.HasPrefix(m.ID, t.run)) {
			if err := show(m); err != nil {
				return err
			}
		}
		t.heard(m.Sequence)
	}
	return nil
}

// speak returns the sequence of the last line once all are stored. A line that
// cannot be read or sent ends it; those before it are waited for all the same.
func (t *talker) speak(ctx context.Context) (last uint64, err error) {
	newest, unsaid := t.sayAll(ctx)
	if newest == nil {
		return 0, unsaid
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.last, errUnacknowledged)
	defer cancel()
	receipt, err := newest.Stored(ctx) // acknowledgements come in order
	switch {
	case errors.Is(err, errUnacknowledged):
		err = cli.Exit(cli.Unacknowledged, fmt.Errorf("the last line was not acknowledged within %v, and perhaps others before it: they may or may not have been stored", t.last))
	case err == nil:
		err = unsaid
	}
	return receipt.Sequence, err
}

// sayAll returns the last line that has been said, and what is wrong with the next
// one; nil where there is none.
func (t *talker) sayAll(ctx context.Context) (newest *client.Posted, unsaid error) {
	for n := 1; ; n++ {
		text, err := t.source.next()
		if err == io.EOF {
			return newest, nil
		}
		if err != nil {
			return newest, err
		}
		posted, err := t.room.Post(ctx, text, client.WithID(t.run+strconv.Itoa(n)))
		if err != nil {
			return newest, fmt.Errorf("%s: %w", t.source.name(), err)
		}
		newest = posted
	}
}

// heard says what has been shown, and end what will have been when all has. Who
// comes second ends the listening.
func (t *talker) heard(sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = max(t.shown, sequence)
	if t.until > 0 && t.shown >= t.until {
		t.allShown(errAllShown)
	}
}

func (t *talker) end(last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = max(last, 1)
	if t.shown >= last {
		t.allShown(errAllShown)
	}
}
