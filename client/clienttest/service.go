package clienttest

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	chatpb "securechat/proto/chat"
)

type service struct {
	chatpb.UnimplementedChatServer
	server *Server
}

// A stream is a member of a room. All but the first group is guarded by the
// server's mu.
type stream struct {
	server     *Server
	call       chatpb.Chat_ChatStreamServer
	user, room string

	position   uint64 // the newest message that it has been sent
	target     uint64 // where replay is over
	live       bool
	own        map[uint64]bool // stored by this stream
	again      []Entry         // stored before, in the order of the posts, not acknowledged
	others     []*chatpb.ChatMessage
	owed       int // acknowledgements
	halfClosed bool
	ending     error // how the stream ends
}

// caller is the user of the certificate, which the handshake has verified.
func caller(ctx context.Context) string {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 || len(info.State.PeerCertificates[0].URIs) == 0 {
		return ""
	}
	return path.Base(info.State.PeerCertificates[0].URIs[0].Path)
}

func first(ctx context.Context, key string) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, key)
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func (c *service) ChatStream(call chatpb.Chat_ChatStreamServer) error {
	s := c.server
	s.mu.Lock()
	refusal := s.refusal
	s.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	user := caller(call.Context())
	header, inRoom := first(call.Context(), chatpb.MetadataRoom)
	if err := call.SendHeader(metadata.Pairs(chatpb.HeaderUser, chatpb.EscapeUser(user))); err != nil {
		return err
	}
	if !inRoom {
		return echo(call)
	}
	name, err := chatpb.UnescapeUser(header)
	if err != nil {
		return status.Error(codes.InvalidArgument, "not a room")
	}
	st := &stream{server: s, call: call, user: user, room: key(name, user), own: map[uint64]bool{}}
	if err := st.join(); err != nil {
		return err
	}
	defer st.leave()
	s.handlers.Go(st.receive) // its Recv ends with the handler
	return st.send()
}

// placed is the room that a request names.
func placed(ctx context.Context, room string) string {
	name, err := chatpb.UnescapeUser(room)
	if err != nil {
		return ""
	}
	return key(name, caller(ctx))
}

func echo(call chatpb.Chat_ChatStreamServer) error {
	for {
		m, err := call.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &chatpb.ChatMessage{
			User: chatpb.ServerUser, Message: chatpb.Acknowledged + m.Message, Id: m.Id, Kind: chatpb.Kind_ACKNOWLEDGEMENT,
			Timestamp: chatpb.FormatTimestamp(time.Now()), Traceparent: m.Traceparent,
		}
		if err := call.Send(answer); err != nil {
			return err
		}
	}
}

func (st *stream) join() error {
	s := st.server
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.room(st.room)
	st.target, st.position = s.last, s.last
	if value, replay := first(st.call.Context(), chatpb.MetadataAfter); replay {
		after, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return status.Error(codes.InvalidArgument, "not a sequence")
		}
		if err := s.reachable(r, after); err != nil {
			return err
		}
		st.position = after
	}
	s.announce(st.room, st.user, chatpb.Kind_JOINED, nil)
	s.streams[st] = struct{}{}
	return nil
}

// reachable refuses a cursor that does not lead to all that came after it, or is
// another log's. It needs mu.
func (s *Server) reachable(r *room, after uint64) error {
	if after > s.last || after > 0 && after < r.discarded {
		return Gone(r.discarded)
	}
	return nil
}

func (st *stream) leave() {
	st.server.mu.Lock()
	defer st.server.mu.Unlock()
	delete(st.server.streams, st)
	st.server.announce(st.room, st.user, chatpb.Kind_LEFT, st)
}

func (st *stream) receive() {
	for {
		m, err := st.call.Recv()
		st.server.mu.Lock()
		switch {
		case err == io.EOF:
			st.halfClosed = true
		case err != nil:
			st.end(err)
		case m.Kind == chatpb.Kind_TYPING:
			st.server.announce(st.room, st.user, chatpb.Kind_TYPING, st)
		default:
			st.post(m)
		}
		st.server.change()
		over := err != nil || st.ending != nil
		st.server.mu.Unlock()
		if over {
			return
		}
	}
}

// end and what follows needs mu.
func (st *stream) end(err error) {
	if st.ending == nil {
		st.ending = err
	}
}

func (st *stream) faulty(m Moment) bool {
	if st.ending != nil {
		return true
	}
	if st.server.fault != nil {
		if err := st.server.fault(m); err != nil {
			st.end(err)
			return true
		}
	}
	return false
}

func (st *stream) post(m *chatpb.ChatMessage) {
	if st.ending != nil {
		return
	}
	if st.faulty(Received) {
		if st.server.late {
			r := st.server.room(st.room)
			r.late = append(r.late, func() { st.keep(m) })
		}
		return
	}
	st.keep(m)
	st.faulty(Stored)
}

func (st *stream) keep(m *chatpb.ChatMessage) {
	st.owed++
	entries := st.server.room(st.room).entries
	if i := slices.IndexFunc(entries, func(e Entry) bool { return m.Id != "" && e.ID == m.Id && e.User == st.user }); i >= 0 {
		st.again = append(st.again, entries[i])
		return
	}
	sequence := st.server.store(st.room, Entry{User: st.user, ID: m.Id, Text: m.Message, Traceparent: m.Traceparent})
	st.own[sequence] = true
}

// send sends what there is until the stream ends.
func (st *stream) send() error {
	for {
		st.server.mu.Lock()
		m := st.next()
		changed, ending := st.server.changed, st.ending
		st.server.mu.Unlock()
		switch {
		case errors.Is(ending, io.EOF):
			return nil
		case ending != nil:
			return ending
		case m != nil:
			if err := st.call.Send(m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-st.call.Context().Done():
			return st.call.Context().Err()
		}
	}
}

// next returns what is to be sent now; nil where nothing is.
func (st *stream) next() *chatpb.ChatMessage {
	if st.ending != nil || st.server.held {
		return nil
	}
	m := st.pick()
	if m != nil && st.faulty(Sending) {
		return nil
	}
	if m == nil && st.halfClosed && st.owed == 0 {
		st.end(io.EOF)
	}
	return m
}

func (st *stream) pick() *chatpb.ChatMessage {
	if len(st.again) > 0 && (st.server.early || st.again[0].Sequence <= st.position) {
		e := st.again[0]
		st.again = st.again[1:]
		return st.acknowledgement(e)
	}
	entries := st.server.room(st.room).entries
	i, _ := slices.BinarySearchFunc(entries, st.position+1, func(e Entry, sequence uint64) int { return cmp.Compare(e.Sequence, sequence) })
	if i < len(entries) && (st.live || entries[i].Sequence <= st.target) {
		e := entries[i]
		st.position = e.Sequence
		if st.own[e.Sequence] {
			return st.acknowledgement(e)
		}
		return message(e)
	}
	if !st.live {
		st.live = true
		st.position = max(st.position, st.target)
		st.overdue()
		return &chatpb.ChatMessage{User: chatpb.ServerUser, Kind: chatpb.Kind_LIVE, Sequence: st.position, Timestamp: chatpb.FormatTimestamp(time.Now())}
	}
	if len(st.others) > 0 {
		m := st.others[0]
		st.others = st.others[1:]
		return m
	}
	return nil
}

// overdue stores what streams that have ended had received.
func (st *stream) overdue() {
	r := st.server.room(st.room)
	for _, store := range r.late {
		store()
	}
	r.late = nil
}

func message(e Entry) *chatpb.ChatMessage {
	return &chatpb.ChatMessage{
		User: e.User, Message: e.Text, Timestamp: chatpb.FormatTimestamp(e.Time), Id: e.ID,
		Sequence: e.Sequence, Traceparent: e.Traceparent,
	}
}

func (st *stream) acknowledgement(e Entry) *chatpb.ChatMessage {
	st.owed--
	m := message(e)
	m.User, m.Message, m.Kind = chatpb.ServerUser, chatpb.Acknowledged+e.Text, chatpb.Kind_ACKNOWLEDGEMENT
	return m
}

func (c *service) History(ctx context.Context, request *chatpb.HistoryRequest) (*chatpb.HistoryResponse, error) {
	entries, err := c.server.past(placed(ctx, request.Room), request.GetAfter())
	if err != nil {
		return nil, err
	}
	limit := int(request.Limit)
	if limit == 0 {
		limit = 50
	}
	answer := &chatpb.HistoryResponse{}
	if request.After != nil {
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Sequence <= request.GetAfter() })
		answer.More = len(entries) > limit
		entries = entries[:min(limit, len(entries))]
	} else {
		if request.Before != nil {
			entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Sequence >= request.GetBefore() })
		}
		answer.More = len(entries) > limit
		entries = entries[max(0, len(entries)-limit):]
	}
	for _, e := range entries {
		answer.Messages = append(answer.Messages, message(e))
	}
	return answer, nil
}

// past returns what the room has, to one who may read it from the cursor on.
func (s *Server) past(name string, after uint64) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return nil, s.refusal
	}
	r := s.room(name)
	return slices.Clone(r.entries), s.reachable(r, after)
}

func (c *service) Rooms(ctx context.Context, request *chatpb.RoomsRequest) (*chatpb.RoomsResponse, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	var rooms []*chatpb.Room
	for room, r := range c.server.rooms {
		name, open := shown(room, caller(ctx))
		if open && name > request.After {
			found := &chatpb.Room{Name: name}
			if n := len(r.entries); n > 0 {
				found.Sequence = r.entries[n-1].Sequence
			}
			rooms = append(rooms, found)
		}
	}
	slices.SortFunc(rooms, func(a, b *chatpb.Room) int { return strings.Compare(a.Name, b.Name) })
	limit := min(int(request.Limit), len(rooms))
	return &chatpb.RoomsResponse{Rooms: rooms[:limit], More: limit < len(rooms)}, c.server.refusal
}

func (c *service) Members(ctx context.Context, request *chatpb.MembersRequest) (*chatpb.MembersResponse, error) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	answer := &chatpb.MembersResponse{}
	for st := range c.server.streams {
		known := slices.ContainsFunc(answer.Members, func(m *chatpb.Member) bool { return m.User == st.user })
		if st.room == placed(ctx, request.Room) && !known {
			answer.Members = append(answer.Members, &chatpb.Member{User: st.user, Since: chatpb.FormatTimestamp(time.Now())})
		}
	}
	slices.SortFunc(answer.Members, func(a, b *chatpb.Member) int { return strings.Compare(a.User, b.User) })
	return answer, c.server.refusal
}
