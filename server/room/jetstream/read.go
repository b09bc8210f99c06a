package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"securechat/server/room"
)

const (
	// pageEntries and pageBytes bound what one read asks for, and so holds.
	pageEntries = 1000
	pageBytes   = 1 << 20
	// answerQueue is for how many messages a connection has room for each answer, the
	// one that ends it included. Left to itself it takes half a MiB for each.
	answerQueue = pageEntries + 1
)

// Headers and statuses of the answers to a direct get.
const (
	headerSubject  = "Nats-Subject"
	headerSequence = "Nats-Sequence"
	headerPending  = "Nats-Num-Pending"
	headerLast     = "Nats-Last-Sequence"
	headerStatus   = "Status"
	statusEnd      = "204"
	statusNone     = "404"
)

// directQuery asks for a subject's messages from a sequence on.
type directQuery struct {
	Sequence uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

var errIncomplete = errors.New("part of a server's answer is missing")

// read implements room.Log's Read. It takes one answer of several messages, ended
// by one that says which message was the last and how many there are after it.
func (s *stream) read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if limit = min(limit, pageEntries); limit <= 0 || after == math.MaxUint64 { // the one after would be 0, the first
		return nil, false, nil
	}
	over, up, done := s.reads, &s.readsUp, func() {}
	if limit == 1 {
		over, up = s.asks, &s.asksUp // a question rather than a page
	} else {
		var err error
		if done, err = s.turn(ctx, key); err != nil {
			return nil, false, err
		}
	}
	query := directQuery{Sequence: after + 1, NextFor: s.names.log(key), Batch: limit, MaxBytes: pageBytes}
	// The answer goes on where ctx ends.
	answering, stop := s.within(context.WithoutCancel(ctx), up)
	a, err := s.ask(over, query)
	if err != nil {
		stop()
		done()
		return nil, false, err
	}
	if limit == 1 { // the rest takes nobody's turn
		defer a.drop()
		defer stop()
	} else {
		defer s.rests.take(answering, a, func() {
			stop()
			done()
		})
	}
	waiting, cancel := context.WithCancel(answering)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	return s.page(waiting, a, key)
}

// ask sends a query whose answer has several messages.
func (s *stream) ask(over *nats.Conn, query directQuery) (*answer, error) {
	request, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	inbox := over.NewInbox()
	messages, err := over.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	a := &answer{messages: messages}
	if err = messages.SetPendingLimits(query.Batch+1, 2*pageBytes+int(over.MaxPayload())); err == nil {
		err = over.PublishRequest("$JS.API.DIRECT.GET."+s.names.stream, inbox, request)
	}
	if err != nil {
		a.drop()
		return nil, err
	}
	return a, nil
}

var errCrowded = errors.New("too many are reading: come back later")

// turn waits for one to read a page of a room.
func (s *stream) turn(ctx context.Context, key room.Key) (done func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, turnWithin, errCrowded)
	defer cancel()
	if s.turns.take(ctx, key) != nil {
		return nil, context.Cause(ctx)
	}
	return s.turns.done, nil
}

// page collects the messages of an answer. Each says which one was sent before it,
// so that a lost one shows.
func (s *stream) page(ctx context.Context, a *answer, key room.Key) ([]room.Entry, bool, error) {
	var entries []room.Entry
	for last := uint64(0); ; {
		message, err := a.next(ctx)
		if err != nil {
			return nil, false, err
		}
		if a.ended {
			more, err := end(message, last)
			return entries, more, err
		}
		if message.Header.Get(headerLast) != strconv.FormatUint(last, 10) {
			return nil, false, errIncomplete
		}
		e, err := s.entry(message, s.names.log(key), key)
		if err != nil {
			return nil, false, err
		}
		if last > 0 && e.Previous > last {
			return entries, true, nil // a page has no holes, and the server leaves out what it can't read
		}
		last = e.Sequence
		entries = append(entries, e)
	}
}

// end reads the last part of an answer, which must agree with what came before it.
func end(answer *nats.Msg, last uint64) (more bool, err error) {
	switch status := answer.Header.Get(headerStatus); {
	case status == nats503:
		return false, nats.ErrNoResponders
	case status == statusNone && last == 0:
		return false, nil
	case status != statusEnd:
		return false, fmt.Errorf("the server answers a read with status %q", status)
	}
	sent, err := strconv.ParseUint(answer.Header.Get(headerLast), 10, 64)
	if err != nil || sent != last {
		return false, errIncomplete
	}
	pending, err := strconv.ParseUint(answer.Header.Get(headerPending), 10, 64)
	if err != nil {
		return false, errIncomplete
	}
	return pending > 0, nil
}

// nats503 is the status by which a server says that nobody serves a subject.
const nats503 = "503"

// entry reads a message that the stream has stored: subject is the one it must have.
func (s *stream) entry(m *nats.Msg, subject string, key room.Key) (room.Entry, error) {
	if got := m.Header.Get(headerSubject); got != subject {
		return room.Entry{}, errors.New("a message is another room's")
	}
	sequence, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
	if err != nil {
		return room.Entry{}, errors.New("a message has no sequence")
	}
	e, err := room.ParseRecord(key, sequence, m.Data)
	if err != nil {
		return room.Entry{}, final{err} // it stays as it is
	}
	return e, nil
}

// rooms implements room.Log's Rooms by a consumer of each subject's last message,
// of which it asks for a bounded number at a time.
func (s *stream) rooms(ctx context.Context, yield func(room.Key, uint64) bool) error {
	consumer, err := s.lists.OrderedConsumer(ctx, js.OrderedConsumerConfig{
		FilterSubjects: []string{s.names.log(">")},
		DeliverPolicy:  js.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	})
	if err != nil {
		return err
	}
	defer s.forget(ctx, consumer)
	left := consumer.CachedInfo().NumPending
	for misses := 0; left > 0; {
		before := left
		going := true
		if left, going, err = s.someRooms(consumer, left, yield); err != nil || !going {
			return err
		}
		if left < before {
			continue
		}
		// What was counted may have been discarded since.
		info, err := consumer.Info(ctx)
		if err != nil {
			return err
		}
		left = info.NumPending
		if misses++; misses > maxMisses {
			return errIncomplete
		}
		if err := pause(ctx, misses); err != nil {
			return err
		}
	}
	return nil
}

// maxMisses is how often a listing of rooms that gets nowhere is taken up again.
const maxMisses = 10

// someRooms yields a page of rooms and returns how many are left, and whether to go
// on.
func (s *stream) someRooms(consumer js.Consumer, left uint64, yield func(room.Key, uint64) bool) (uint64, bool, error) {
	batch, err := consumer.FetchNoWait(int(min(left, pageEntries)))
	if err != nil {
		return left, false, err
	}
	going := true
	for message := range batch.Messages() { // to its end, so that nothing is left behind
		about, err := message.Metadata()
		if err != nil {
			return left, false, err
		}
		left = about.NumPending
		if key, ok := s.names.room(message.Subject()); ok && going {
			going = yield(key, about.Sequence.Stream)
		}
	}
	return left, going, batch.Error()
}

// forget deletes a consumer. Where that fails the server does, some minutes later.
func (s *stream) forget(ctx context.Context, consumer js.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.answer)
	defer cancel()
	_ = s.lists.DeleteConsumer(ctx, consumer.CachedInfo().Name)
}
