package client

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/client/clienttest"
	chatpb "securechat/proto/chat"
)

// An erratic is a server with one room, alice's for all streams, which keeps its
// promises and is as bad as it may be beside that: it does at random what a client
// must survive.
type erratic struct {
	receiving sync.WaitGroup

	mu       sync.Mutex
	random   *rand.Rand
	changed  chan struct{} // closed and replaced with each change
	entries  []clienttest.Entry
	behaves  bool
	live     map[*erraticStream]struct{}
	opened   int
	back     int // streams that begin before what one before had been sent
	furthest uint64
}

// An erraticStream is guarded by its server's mu.
type erraticStream struct {
	server   *erratic
	position uint64
	target   uint64
	live     bool
	owed     []owedAck
	paid     []clienttest.Entry
	ending   error
}

// owedAck is the acknowledgement of a post.
type owedAck struct {
	entry clienttest.Entry
	again bool // stored before
}

func newErratic(seed uint64) *erratic {
	return &erratic{random: rand.New(rand.NewPCG(seed, 300)), changed: make(chan struct{}), live: map[*erraticStream]struct{}{}}
}

// survivable are how a stream may end that another follows.
var survivable = []error{
	io.EOF,
	errLost,
	status.Error(codes.DeadlineExceeded, "a fault of the test's"),
	status.Error(codes.Internal, "a fault of the test's"),
	status.Error(codes.Unknown, "a fault of the test's"),
	status.Error(codes.Canceled, "a fault of the test's"),
	status.Error(codes.Aborted, "a fault of the test's"),
	auth.Refuse(auth.Draining, nil).After(time.Millisecond).GRPCStatus().Err(),
	auth.Refuse(auth.LogUnavailable, nil).After(time.Millisecond).GRPCStatus().Err(),
	auth.Refuse(auth.SlowConsumer, nil).GRPCStatus().Err(),
	auth.Refuse(auth.TokenExpired, nil).GRPCStatus().Err(),
	auth.Refuse(auth.TokenKeyRetired, nil).GRPCStatus().Err(),
	auth.Refuse(auth.CertificateExpired, nil).GRPCStatus().Err(),
	auth.Refuse(auth.SessionExpired, nil).GRPCStatus().Err(),
}

// passing are how one may be refused that another follows.
var passing = []error{
	errLost,
	auth.Refuse(auth.Draining, nil).After(time.Millisecond).GRPCStatus().Err(),
	auth.Refuse(auth.TokenKeyUnknown, nil).GRPCStatus().Err(),
	auth.Refuse(auth.TokenNotYetValid, nil).GRPCStatus().Err(),
	auth.Refuse(auth.TooManyStreams, nil).GRPCStatus().Err(),
	auth.Refuse(auth.TooManyConnections, nil).GRPCStatus().Err(),
}

// chance is true once in so many times. It needs mu, and so does any.
func (s *erratic) chance(in int) bool { return !s.behaves && s.random.IntN(in) == 0 }

func (s *erratic) any(errs []error) error { return errs[s.random.IntN(len(errs))] }

func (s *erratic) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// say stores a message of another's.
func (s *erratic) say(user, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(clienttest.Entry{User: user, Text: text})
}

func (s *erratic) store(e clienttest.Entry) clienttest.Entry {
	e.Sequence = 10
	if n := len(s.entries); n > 0 {
		e.Sequence = s.entries[n-1].Sequence + 1 + uint64(s.random.IntN(3))
	}
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	s.entries = append(s.entries, e)
	s.change()
	return e
}

func (s *erratic) stored() []clienttest.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// behave has it do nothing odd from now on.
func (s *erratic) behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaves = true
}

func (s *erratic) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

func (s *erratic) served() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

func (s *erratic) returns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.back
}

// round waits while some messages come, or for a while, or until over.
func (s *erratic) round(over <-chan struct{}) { s.wait(30*time.Millisecond, over) }

func (s *erratic) wait(longest time.Duration, over <-chan struct{}) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over:
	}
}

func (s *erratic) handle(call chatpb.Chat_ChatStreamServer) error {
	st, err := s.admit(call.Context())
	if err != nil {
		return err
	}
	defer s.leave(st)
	if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, "alice")); err != nil {
		return err
	}
	s.receiving.Go(func() { st.receive(call) }) // its Recv ends with the handler
	return st.send(call)
}

func (s *erratic) admit(ctx context.Context) (*erraticStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	if s.opened > 1 && s.chance(5) {
		return nil, s.any(passing)
	}
	after, err := strconv.ParseUint(metadata.ValueFromIncomingContext(ctx, chatpb.MetadataAfter)[0], 10, 64)
	if err != nil {
		return nil, err
	}
	if after < s.furthest {
		s.back++
	}
	st := &erraticStream{server: s, position: after}
	if n := len(s.entries); n > 0 {
		st.target = s.entries[n-1].Sequence
	}
	s.live[st] = struct{}{}
	return st, nil
}

func (s *erratic) leave(st *erraticStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, st)
	s.change()
}

func (st *erraticStream) receive(call chatpb.Chat_ChatStreamServer) {
	for {
		m, err := call.Recv()
		if err != nil {
			return
		}
		st.server.mu.Lock()
		if m.Kind == chatpb.Kind_MESSAGE {
			st.post(m)
		}
		st.server.mu.Unlock()
	}
}

// post stores a message once, and may end the stream before or after that.
func (st *erraticStream) post(m *chatpb.ChatMessage) {
	s := st.server
	if st.ending == nil && s.chance(60) {
		st.end(s.any(survivable))
	}
	if st.ending != nil {
		return
	}
	i := slices.IndexFunc(s.entries, func(e clienttest.Entry) bool { return e.User == "alice" && e.ID == m.Id })
	if i >= 0 {
		st.owed = append(st.owed, owedAck{s.entries[i], true})
	} else {
		st.owed = append(st.owed, owedAck{s.store(clienttest.Entry{User: "alice", ID: m.Id, Text: m.Message}), false})
	}
	if s.chance(60) {
		st.end(s.any(survivable))
	}
	s.change()
}

func (st *erraticStream) end(err error) {
	st.ending = err
	st.server.change()
}

// send sends what there is, sometimes late, until the stream ends.
func (st *erraticStream) send(call chatpb.Chat_ChatStreamServer) error {
	s := st.server
	for {
		s.mu.Lock()
		m, changed, ending, late := st.next(), s.changed, st.ending, s.chance(100)
		s.mu.Unlock()
		switch {
		case ending == io.EOF:
			return nil
		case ending != nil:
			return ending
		case late:
			s.wait(3*time.Millisecond, call.Context().Done())
		}
		if m != nil {
			if err := call.Send(m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-call.Context().Done():
			return call.Context().Err()
		}
	}
}

// next is what is to be sent now; nil where nothing is.
func (st *erraticStream) next() *chatpb.ChatMessage {
	s := st.server
	if st.ending == nil && s.chance(400) {
		st.end(s.any(survivable))
	}
	if st.ending != nil {
		return nil
	}
	if odd := st.odd(); odd != nil {
		return odd
	}
	if len(st.owed) > 0 && st.owed[0].again && st.owed[0].entry.Sequence <= st.position {
		return st.pay()
	}
	i := slices.IndexFunc(s.entries, func(e clienttest.Entry) bool { return e.Sequence > st.position })
	if i >= 0 && (st.live || s.entries[i].Sequence <= st.target) {
		e := s.entries[i]
		st.position = e.Sequence
		s.furthest = max(s.furthest, e.Sequence)
		if len(st.owed) > 0 && !st.owed[0].again && st.owed[0].entry.Sequence == e.Sequence {
			return st.pay()
		}
		return saidAs(e)
	}
	if !st.live {
		st.live = true
		st.position = max(st.position, st.target)
		return &chatpb.ChatMessage{User: chatpb.ServerUser, Kind: chatpb.Kind_LIVE, Sequence: st.position}
	}
	return nil
}

// odd is what nobody has asked for: who comes and goes, a message that has been sent,
// an acknowledgement that has been given, at its sequence of then, or a kind that is
// not known.
func (st *erraticStream) odd() *chatpb.ChatMessage {
	s := st.server
	if !s.chance(15) {
		return nil
	}
	switch s.random.IntN(5) {
	case 0:
		return &chatpb.ChatMessage{User: "carol", Kind: chatpb.Kind(2 + s.random.IntN(2))}
	case 1:
		return &chatpb.ChatMessage{User: "carol", Kind: chatpb.Kind_TYPING}
	case 2:
		return &chatpb.ChatMessage{User: "carol", Kind: 99, Sequence: st.position + 5}
	case 3:
		had, _ := slices.BinarySearchFunc(s.entries, st.position+1, func(e clienttest.Entry, sequence uint64) int { return int(e.Sequence) - int(sequence) })
		if had > 0 {
			return saidAs(s.entries[max(0, had-1-s.random.IntN(4))])
		}
	case 4:
		if n := len(st.paid); n > 0 {
			return acknowledging(st.paid[s.random.IntN(n)])
		}
	}
	return nil
}

func (st *erraticStream) pay() *chatpb.ChatMessage {
	e := st.owed[0].entry
	st.owed = st.owed[1:]
	st.paid = append(st.paid, e)
	return acknowledging(e)
}

func saidAs(e clienttest.Entry) *chatpb.ChatMessage {
	return &chatpb.ChatMessage{User: e.User, Message: e.Text, Timestamp: chatpb.FormatTimestamp(e.Time), Id: e.ID, Sequence: e.Sequence}
}

func acknowledging(e clienttest.Entry) *chatpb.ChatMessage {
	m := saidAs(e)
	m.User, m.Message, m.Kind = chatpb.ServerUser, chatpb.Acknowledged+e.Text, chatpb.Kind_ACKNOWLEDGEMENT
	return m
}
