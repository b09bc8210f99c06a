package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"securechat/server/room"
)

// answerWithin is how long a server has for one answer.
const answerWithin = 5 * time.Second

const (
	// atOnce is how many pages are read at once; further readers wait.
	atOnce = 8
	// turnWithin is how long a reader waits for its turn.
	turnWithin = 30 * time.Second
)

// stream is the one that holds the rooms, as reached by three connections: a server
// serves the reads of a connection one after the other, and neither appends nor
// questions with short answers, nor what is followed, are to wait for pages.
type stream struct {
	names  names
	writes *nats.Conn
	asks   *nats.Conn
	reads  *nats.Conn
	handle js.Stream // over asks
	lists  js.Stream // over reads
	answer time.Duration
	turns  *turns // of those who read pages
	rests  rests  // of pages

	writesUp, asksUp, readsUp connection
}

func newStream(n names, answer time.Duration) *stream {
	return &stream{names: n, answer: answer, turns: newTurns(atOnce)}
}

// within bounds the wait for one answer.
func (s *stream) within(ctx context.Context, over *connection) (context.Context, func()) {
	ctx, stop := over.while(ctx)
	ctx, cancel := context.WithTimeout(ctx, s.answer)
	return ctx, func() {
		cancel()
		stop()
	}
}

// unanswered ends the waits for answers that will not come.
func (s *stream) unanswered(cause error) {
	s.writesUp.lost(cause)
	s.asksUp.lost(cause)
	s.readsUp.lost(cause)
}

// names are the stream's name and the subjects of rooms.
type names struct {
	stream, prefix string
}

func (n names) log(key room.Key) string  { return n.prefix + ".log." + string(key) }
func (n names) live(key room.Key) string { return n.prefix + ".live." + string(key) }
func (n names) note(key room.Key) string { return n.prefix + ".note." + string(key) }

// room returns the room of a subject of the log.
func (n names) room(subject string) (room.Key, bool) {
	prefix := n.log("")
	if len(subject) <= len(prefix) || subject[:len(prefix)] != prefix {
		return "", false
	}
	return room.Key(subject[len(prefix):]), true
}

// unavailable wraps what kept the log from answering.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", room.ErrUnavailable, doing, err)
}

// errorOf keeps the errors of room.Log, and a context's, so that the caller sees its
// own doing, and makes of any other an ErrUnavailable.
func errorOf(ctx context.Context, doing string, err error) error {
	var behind *room.BehindError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, room.ErrUnavailable), errors.Is(err, room.ErrConflict), errors.As(err, &behind):
		return err
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %s: %w", room.ErrRefused, doing, err)
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return unavailable(doing, err)
	}
}

// apiError is the error in a server's answer.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Error codes of JetStream's API.
const (
	codeNoPeers        = 10005 // the leader does not know of enough servers yet, or there are not enough
	codeNoLeader       = 10008
	codeNoMessage      = 10037
	codeWrongSequence  = 10071 // another sequence is the subject's last
	codeSubjectIsTaken = 10164 // a message of the subject is under way
)

// get asks the stream's leader for one message and returns it, or nil where there
// is none. The leader has every message that it has acknowledged.
func (s *stream) get(ctx context.Context, query getQuery) (*gotMessage, error) {
	ctx, cancel := s.within(ctx, &s.asksUp)
	defer cancel()
	request, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	response, err := s.asks.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.names.stream, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *gotMessage `json:"message"`
		Error   *apiError   `json:"error"`
	}
	if err := json.Unmarshal(response.Data, &answer); err != nil {
		return nil, errors.New("the server's answer is malformed")
	}
	switch {
	case answer.Error != nil && answer.Error.ErrCode == codeNoMessage:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, errors.New("the server's answer is empty")
	}
	return answer.Message, nil
}

// getQuery asks for a subject's last message or for its next from a sequence on.
type getQuery struct {
	LastFor  string `json:"last_by_subj,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
}

// gotMessage is what is needed of a stored message.
type gotMessage struct {
	Sequence uint64 `json:"seq"`
	Header   []byte `json:"hdrs"`
}

// errUnreadable says that a server has messages of a room and can't read them: of
// each it says that there is none.
var errUnreadable = errors.New("the server can't read what it has of the room")

// rereads is how often a server is asked for messages that it is to have before they
// are taken for unreadable, and not for discarded or stored in that moment.
const rereads = 3

// newest returns the sequence of a room's newest message, 0 where it has none.
func (s *stream) newest(ctx context.Context, key room.Key) (uint64, error) {
	for range rereads {
		message, err := s.get(ctx, getQuery{LastFor: s.names.log(key)})
		if err != nil {
			return 0, err
		}
		if message != nil {
			return message.Sequence, nil
		}
		if some, err := s.has(ctx, key); err != nil || !some {
			return 0, err
		}
	}
	return 0, errUnreadable
}

// has says whether the server counts messages of a room, which it does in memory.
func (s *stream) has(ctx context.Context, key room.Key) (bool, error) {
	ctx, cancel := s.within(ctx, &s.asksUp)
	defer cancel()
	subject := s.names.log(key)
	info, err := s.handle.Info(ctx, js.WithSubjectFilter(subject))
	if err != nil {
		return false, err
	}
	return info.State.Subjects[subject] > 0, nil
}

// span returns the first sequence that is kept and the last that was given.
func (s *stream) span(ctx context.Context) (first, last uint64, err error) {
	ctx, cancel := s.within(ctx, &s.asksUp)
	defer cancel()
	info, err := s.handle.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// close ends the connections and waits until they have.
func (s *stream) close() {
	for _, nc := range []*nats.Conn{s.writes, s.asks, s.reads} {
		if nc != nil {
			nc.Close()
		}
	}
	s.rests.close()
}
