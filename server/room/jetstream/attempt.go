package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
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
	return s.answered(a, attempt, response.Data)
}

// answered reads the stream's answer to an append.
func (s *stream) answered(a *appending, attempt int, data []byte) (uint64, error) {
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
)

// find looks for an append in the stream and returns the sequence of its first
// message where it is stored. It makes the append expect nothing of rooms whose
// messages have all been discarded.
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
			ours, sequence, err := s.next(ctx, a, m)
			if err != nil {
				return absent, 0, err
			}
			if ours {
				return stored, sequence - uint64(i), nil
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
			return absent, 0, behind(m, newest)
		}
	}
	return found, 0, nil
}

// next returns the sequence of the room's message after the known one, and whether
// it is the append's own.
func (s *stream) next(ctx context.Context, a *appending, m *message) (ours bool, sequence uint64, err error) {
	next, err := s.get(ctx, getQuery{Sequence: m.known + 1, NextFor: s.names.log(m.room)})
	switch {
	case err != nil:
		return false, 0, err
	case next == nil:
		return false, 0, errors.New("a message of the room has just been discarded")
	}
	header, err := nats.DecodeHeadersMsg(next.Header)
	if err != nil {
		return false, next.Sequence, nil // not one of ours
	}
	return header.Get(headerAppend) == a.id, next.Sequence, nil
}

// discarded fails if the message that the caller knows of may still be in the
// stream although the server that was asked does not have it.
func (s *stream) discarded(ctx context.Context, m *message) error {
	first, _, err := s.span(ctx)
	if err == nil && first <= m.known {
		return behind(m, 0)
	}
	return err
}

// behind is the error for a server that does not have what the caller knows of:
// it has not caught up, or the log has been replaced by an older one.
func behind(m *message, newest uint64) error {
	return fmt.Errorf("the stream is behind: a room's newest message is %d there, and %d has been seen", newest, m.known)
}

// final marks an error after which trying again can't help.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// isFinal says whether trying again can't help.
func isFinal(err error) bool {
	var marked final
	return errors.As(err, &marked) || errors.Is(err, nats.ErrMaxPayload) ||
		errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrConnectionClosed)
}
