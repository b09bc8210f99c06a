package jetstream

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"securechat/server/room"
)

// Headers of the messages that are stored.
const (
	headerExpected    = "Nats-Expected-Last-Subject-Sequence"
	headerBatch       = "Nats-Batch-Id"
	headerBatchPlace  = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	// headerAppend has the id of the append that stored the message, on the first
	// message that it stored in each room. The batch's id begins with it.
	headerAppend = "Append-Id"
)

// maxDrafts is how many messages a server takes in one atomic batch.
const maxDrafts = 1000

// An appending is what one Append wants stored, ready to be sent as often as it
// takes to know whether it is.
type appending struct {
	id       string
	messages []message
	// firsts are the places of the first message of each room.
	firsts []int
}

// message is one that is to be stored.
type message struct {
	room   room.Key
	record []byte
	first  bool
	// Of a room's first message: known is the newest that the caller knows of,
	// expected the one that the stream must have. They differ where the stream has
	// discarded what the caller knows of.
	known, expected uint64
}

// prepare makes messages of drafts.
func (s *stream) prepare(ctx context.Context, drafts []room.Draft) (*appending, error) {
	if len(drafts) > maxDrafts {
		return nil, fmt.Errorf("jetstream: %d messages are too many for one append: pass %d at most", len(drafts), maxDrafts)
	}
	a := &appending{id: nuid.Next(), messages: make([]message, len(drafts))}
	places := make(map[room.Key]int, len(drafts))
	var unknown uint64 // what a new room is linked to
	var asked bool
	for i := range drafts {
		draft := &drafts[i]
		e, m := draft.Entry, &a.messages[i]
		m.room = draft.Room
		before, known := places[draft.Room]
		places[draft.Room] = i
		if !known {
			if draft.Expected == 0 && !asked {
				var err error
				if unknown, err = s.beforeFirst(ctx); err != nil {
					return nil, err
				}
				asked = true
			}
			m.first, m.known, m.expected = true, draft.Expected, draft.Expected
			a.firsts = append(a.firsts, i)
			before = i
			if e.Previous = draft.Expected; e.Previous == 0 {
				e.Previous = unknown
			}
		}
		var err error
		if m.record, err = room.AppendRecord(nil, &e, i-before); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// beforeFirst returns the last sequence that the stream no longer has, 0 if it has
// discarded nothing yet. Whatever a room without messages once had is not after it.
func (s *stream) beforeFirst(ctx context.Context) (uint64, error) {
	first, _, err := s.span(ctx)
	if err != nil || first <= firstSequence {
		return 0, err
	}
	return first - 1, nil
}

// place returns which of the append's messages a stored one is, counted from 0, if
// it is one of them.
func (a *appending) place(header nats.Header) (place int, ours bool) {
	if id, _, _ := strings.Cut(header.Get(headerBatch), "."); len(a.messages) > 1 && id == a.id {
		place, err := strconv.Atoi(header.Get(headerBatchPlace))
		return place - 1, err == nil && place >= 1 && place <= len(a.messages)
	}
	return 0, header.Get(headerAppend) == a.id
}

// size is about how many bytes the messages take.
func (a *appending) size() int64 {
	const overhead = 256 // headers, subject and the file's own
	var size int64
	for i := range a.messages {
		size += int64(len(a.messages[i].record)) + overhead
	}
	return size
}

// message returns the i-th message as it is sent. Attempt tells the batches of one
// append apart, since a server may still hold the rest of an earlier one.
func (a *appending) message(n names, i, attempt int) *nats.Msg {
	m := &a.messages[i]
	header := nats.Header{}
	if m.first {
		header[headerExpected] = []string{strconv.FormatUint(m.expected, 10)}
		header[headerAppend] = []string{a.id}
	}
	if len(a.messages) > 1 {
		header[headerBatch] = []string{a.id + "." + strconv.Itoa(attempt)}
		header[headerBatchPlace] = []string{strconv.Itoa(i + 1)}
	}
	if len(a.messages) > 1 && i == len(a.messages)-1 {
		header[headerBatchCommit] = []string{"1"}
	}
	return &nats.Msg{Subject: n.log(m.room), Header: header, Data: m.record}
}
