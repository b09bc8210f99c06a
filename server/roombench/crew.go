package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
)

// crewCommand is the argument with which this program plays the clients, in a
// process of its own so that the processor time of the servers' is theirs alone.
const crewCommand = "crew"

// A job is what a crew is to be: one who speaks, and members who listen.
type job struct {
	NATS                         bool // core subscribers of a NATS server, not members of a chat's room
	Address, Roots               string
	Users                        []login
	Members, Connections, Window int
	Apart                        bool // each member in a room of its own
}

// A crew is the clients' process, seen from the servers'.
type crew struct {
	process *exec.Cmd
	orders  io.WriteCloser
	reports *json.Decoder
}

// report is what a crew says when it has done something.
type report struct{ Error string }

// hire starts a crew and waits until all its members are there.
func hire(ctx context.Context, j job) (*crew, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &crew{process: exec.CommandContext(ctx, program, crewCommand)}
	c.process.Stderr = os.Stderr
	if c.orders, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	reports, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.reports = json.NewDecoder(bufio.NewReader(reports))
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	if err := c.order(j); err != nil {
		return nil, errors.Join(err, c.dismiss())
	}
	return c, nil
}

// say has so many messages said, and waits until all members have them.
func (c *crew) say(messages int) error { return c.order(messages) }

func (c *crew) order(what any) error {
	if err := json.NewEncoder(c.orders).Encode(what); err != nil {
		return fmt.Errorf("order the crew: %w", err)
	}
	var r report
	if err := c.reports.Decode(&r); err != nil {
		return fmt.Errorf("hear the crew: %w", err)
	}
	if r.Error != "" {
		return errors.New("the crew: " + r.Error)
	}
	return nil
}

// dismiss ends the process and waits for it.
func (c *crew) dismiss() error {
	err := c.orders.Close()
	return errors.Join(err, c.process.Wait())
}

// workAsCrew is the other side: it does what it is told until there is no more.
func workAsCrew(ctx context.Context, orders io.Reader, reports io.Writer) error {
	in, out := json.NewDecoder(bufio.NewReader(orders)), json.NewEncoder(reports)
	answer := func(err error) error {
		var r report
		if err != nil {
			r.Error = err.Error()
		}
		return out.Encode(r)
	}
	var j job
	if err := in.Decode(&j); err != nil {
		return err
	}
	a := newAudience(j.Members, j.Window)
	open := openChat
	if j.NATS {
		open = openNATS
	}
	speak, end, err := open(ctx, j, a)
	if err != nil {
		return answer(err)
	}
	defer end()
	for {
		if err := answer(err); err != nil {
			return err
		}
		var messages int
		if err := in.Decode(&messages); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err = a.attend(ctx, messages, speak)
	}
}

// An audience counts who has heard what, so that the speaker is never more than a
// window ahead of the last listener: nobody falls behind, whatever is compared.
type audience struct {
	members int32
	places  chan struct{} // one a message on its way
	// missing is how many members have not heard a message, by its number modulo
	// the length. Each member hears in order, so no two messages that are on their
	// way share a place.
	missing []atomic.Int32
	failed  chan error
}

func newAudience(members, window int) *audience {
	a := &audience{
		members: int32(members), places: make(chan struct{}, max(window, 1)), missing: make([]atomic.Int32, max(window, 1)),
		failed: make(chan error, 1),
	}
	for i := range a.missing {
		a.missing[i].Store(a.members)
	}
	return a
}

// A listener is one member of an audience; it is of one goroutine at a time.
type listener struct {
	audience *audience
	heard    int
}

// hear notes that the listener has the next message.
func (l *listener) hear() {
	a := l.audience
	missing := &a.missing[l.heard%len(a.missing)]
	l.heard++
	if missing.Add(-1) == 0 {
		missing.Store(a.members)
		<-a.places
	}
}

// fail ends the run of the moment.
func (a *audience) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// attend has messages said and returns when everybody has heard them.
func (a *audience) attend(ctx context.Context, messages int, speak func() error) error {
	take := func() error {
		select {
		case a.places <- struct{}{}:
			return nil
		case err := <-a.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for range messages {
		if err := take(); err != nil {
			return err
		}
		if err := speak(); err != nil {
			return err
		}
	}
	for range cap(a.places) { // nothing is on its way any more
		if err := take(); err != nil {
			return err
		}
	}
	for range cap(a.places) {
		<-a.places
	}
	return nil
}
