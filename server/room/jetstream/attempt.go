package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"securechat/server/room"
)

// errRefused says that the stream has looked at an append and stored nothing of
// it, because a room was not as expected or a message of it is under way.
var errRefused = errors.New("a room is not as expected")

// doubtError is a failure after which an append may be stored or not, or be yet to
// be.
type doubtError struct{ cause error }

func (e *doubtError) Error() string { return "no answer: " + e.cause.Error() }
func (e *doubtError) Unwrap() error { return e.cause }

// send sends an append once and returns the sequence of its first message.
// Errors: errRefused, *doubtError; after any other nothing of this attempt is
// stored, nor will be.
func (s *stream) send(ctx context.Context, a *appending, attempt int) (uint64, error) {
	ctx, cancel := s.within(ctx, &s.writesUp)
	defer cancel()
	last := len(a.messages) - 1
	for i := range last {
		if err := s.writes.PublishMsg(a.message(s.names, i, attempt)); err != nil {
			return 0, err // a batch without its last message is none
		}
	}
	response, err := s.writes.RequestMsgWithContext(ctx, a.message(s.names, last, attempt))
	switch {
	case err == nil:
	case errors.Is(err, nats.ErrNoResponders), // no leader has it
		errors.Is(err, nats.ErrReconnectBufExceeded), // there is no connection, and nothing waits for one
		errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return 0, err
	case ctx.Err() != nil:
		return 0, &doubtError{context.Cause(ctx)}
	default:
		return 0, &doubtError{err}
	}
	return s.answered(a, response.Data)
}

// answered reads the stream's answer to an append.
func (s *stream) answered(a *appending, data []byte) (uint64, error) {
	var answer struct {
		Error    *apiError `json:"error"`
		Stream   string    `json:"stream"`
		Sequence uint64    `json:"seq"`
		Batch    string    `json:"batch"`
		Count    int       `json:"count"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return 0, &doubtError{errors.New("the server's answer is malformed")}
	}
	count := uint64(len(a.messages))
	switch {
	case answer.Error != nil && (answer.Error.ErrCode == codeWrongSequence || answer.Error.ErrCode == codeSubjectIsTaken):
		return 0, errRefused
	case answer.Error != nil:
		return 0, answer.Error
	case answer.Stream != s.names.stream || answer.Sequence < firstSequence+count-1:
		return 0, &doubtError{fmt.Errorf("the server's answer is for sequence %d of %q", answer.Sequence, answer.Stream)}
	case count > 1 && answer.Count != len(a.messages):
		return 0, &doubtError{fmt.Errorf("the server's answer is for %d messages of %d", answer.Count, count)}
	}
	return answer.Sequence - (count - 1), nil
}

// finding is what looking for an append in the stream has shown.
type finding int

const (
	// absent: nothing of it is stored, and its rooms are as it expects them.
	absent finding = iota
	// stored: all of it is.
	stored
	// overtaken: nothing of it is stored nor will be, since a room has newer
	// messages than it expects.
	overtaken
	// partial: its beginning is stored, and its end is not there. A server that is
	// committing it, or could not to the end, shows that.
	partial
)

// settling is how long a server may show part of an append, or less of a room than
// is known, without that being taken for true: it may be committing the append, or
// may have become the leader a moment ago.
const settling = time.Second

// look is find, again for a moment where what it shows may pass. What it returns then it
// has asked for after that moment, also where it was held up meanwhile.
func (s *stream) look(ctx context.Context, a *appending) (found finding, first uint64, err error) {
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		late := time.Since(begun) > settling
		found, first, err = s.find(ctx, a)
		var behind *room.BehindError
		passing := found == partial || errors.As(err, &behind)
		if !passing || late || pause(ctx, attempt) != nil {
			return found, first, err
		}
	}
}

// find looks for an append in the stream and returns the sequence of its first
// message where it is stored. It makes the append expect nothing of rooms whose
// messages have all been discarded. Errors: *room.BehindError, where nothing of the
// append is stored nor will be; any other is of the asking.
func (s *stream) find(ctx context.Context, a *appending) (finding, uint64, error) {
	found := absent
	for _, i := range a.firsts {
		m := &a.messages[i]
		newest, err := s.newest(ctx, m.room)
		if err != nil {
			return absent, 0, err
		}
		switch {
		case newest > m.known:
			ours, first, err := s.next(ctx, a, m)
			if err != nil {
				return absent, 0, err
			}
			if ours {
				found, err = s.complete(ctx, a, first)
				return found, first, err
			}
			found = overtaken
		case newest == m.known:
			m.expected = m.known
		case newest == 0:
			if err := s.discarded(ctx, m); err != nil {
				return absent, 0, err
			}
			m.expected = 0
		default:
			return absent, 0, &room.BehindError{Room: m.room, Known: m.known, Newest: newest}
		}
	}
	return found, 0, nil
}

// next says whether the room's message after the known one is the append's own, and
// returns the sequence of the append's first then.
func (s *stream) next(ctx context.Context, a *appending, m *message) (ours bool, first uint64, err error) {
	next, err := s.get(ctx, getQuery{Sequence: m.known + 1, NextFor: s.names.log(m.room)})
	switch {
	case err != nil:
		return false, 0, err
	case next == nil:
		return false, 0, errors.New("a message of the room has just been discarded")
	}
	place, ours := a.find(next)
	return ours, next.Sequence - uint64(place), nil
}

// complete says whether all of an append is stored, of which some is. The stream
// stores a batch in one run of sequences.
func (s *stream) complete(ctx context.Context, a *appending, first uint64) (finding, error) {
	end := len(a.messages) - 1
	last, err := s.get(ctx, getQuery{Sequence: first + uint64(end)})
	if err != nil {
		return absent, err
	}
	if last == nil {
		return partial, nil
	}
	if place, ours := a.find(last); !ours || place != end {
		return partial, nil
	}
	return stored, nil
}

// find returns which of the append's messages one from the stream is, if any.
func (a *appending) find(m *gotMessage) (place int, ours bool) {
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return 0, false // it has no headers, as all that are appended have
	}
	return a.place(header)
}

// discarded fails if the message that the caller knows of may still be in the
// stream although the server that was asked does not have it.
func (s *stream) discarded(ctx context.Context, m *message) error {
	first, _, err := s.span(ctx)
	if err == nil && first <= m.known {
		return &room.BehindError{Room: m.room, Known: m.known}
	}
	return err
}

// errPartial says that only the beginning of an append is stored.
var errPartial = errors.New("the server has stored the beginning alone")

// final marks an error after which trying again can't help.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// isFinal says whether trying again can't help.
func isFinal(err error) bool {
	var marked final
	return errors.As(err, &marked) || errors.Is(err, room.ErrConflict) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, errCrowded) ||
		errors.Is(err, errUnreadable)
}
