package server

import (
	"context"
	"math"
	"slices"
	"strings"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

const (
	historyPage = 50
	roomsPage   = 100
	longestPage = 1000
)

// page is how many of something a request asks for.
func page(asked uint32, otherwise int) int {
	if asked == 0 {
		return otherwise
	}
	return int(min(asked, longestPage))
}

// History returns a page of a room's messages. The step before it has authorised
// the room.
func (c chat) History(ctx context.Context, request *chatpb.HistoryRequest) (*chatpb.HistoryResponse, error) {
	p, err := placeFrom(ctx)
	if err != nil {
		return nil, err
	}
	if request.After != nil && request.Before != nil {
		return nil, auth.Refusef(auth.CursorInvalid, "both after and before are given")
	}
	rooms := c.server.rooms
	turn, err := rooms.reading.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.answered(ctx)
	entries, more, err := rooms.history(ctx, p.key, request)
	if err != nil {
		return nil, roomRefusal(err)
	}
	response := &chatpb.HistoryResponse{Messages: make([]*chatpb.ChatMessage, len(entries)), More: more}
	for i := range entries {
		response.Messages[i] = said(&entries[i])
	}
	return response, nil
}

func (r *rooms) history(ctx context.Context, key room.Key, request *chatpb.HistoryRequest) ([]room.Entry, bool, error) {
	limit := page(request.Limit, historyPage)
	if request.After != nil {
		return r.hub.HistoryAfter(ctx, key, *request.After, limit)
	}
	before := uint64(math.MaxUint64)
	if request.Before != nil {
		before = *request.Before
	}
	return r.hub.HistoryBefore(ctx, key, before, limit)
}

func said(e *room.Entry) *chatpb.ChatMessage {
	return &chatpb.ChatMessage{
		User: e.User, Message: e.Text, Timestamp: chatpb.FormatTimestamp(e.Time), Id: e.ID,
		Sequence: e.Sequence, Kind: chatpb.Kind_MESSAGE, Traceparent: e.Traceparent,
	}
}

// Members returns who is in a room. The step before it has authorised the room.
func (c chat) Members(ctx context.Context, _ *chatpb.MembersRequest) (*chatpb.MembersResponse, error) {
	p, err := placeFrom(ctx)
	if err != nil {
		return nil, err
	}
	rooms := c.server.rooms
	turn, err := rooms.asking.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.answered(ctx)
	present, err := rooms.hub.Members(ctx, p.key)
	if err != nil {
		return nil, roomRefusal(err)
	}
	response := &chatpb.MembersResponse{Members: make([]*chatpb.Member, len(present))}
	for i, who := range present {
		response.Members[i] = &chatpb.Member{User: who.User, Since: chatpb.FormatTimestamp(who.Since)}
	}
	return response, nil
}

// Rooms lists the rooms that the caller may open.
func (c chat) Rooms(ctx context.Context, request *chatpb.RoomsRequest) (*chatpb.RoomsResponse, error) {
	rooms := c.server.rooms
	if rooms == nil {
		return &chatpb.RoomsResponse{}, nil
	}
	id, ok := auth.FromContext(ctx)
	if !ok {
		return nil, auth.Refusef(auth.Internal, "rooms are to be listed for nobody")
	}
	turn, err := rooms.reading.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.answered(ctx)
	list := shortlist{limit: page(request.Limit, roomsPage)}
	err = rooms.hub.Rooms(ctx, func(key room.Key, newest uint64) bool {
		if name, mine := key.NameFor(id.User); mine && c.server.roomAllowed(id, name) == nil {
			if shown := shownAs(name); shown > request.After {
				list.add(shown, newest)
			}
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, roomRefusal(err)
	}
	return &chatpb.RoomsResponse{Rooms: list.rooms, More: list.more}, nil
}

// A shortlist keeps the first rooms by name of those that it is given in no order.
type shortlist struct {
	limit int
	rooms []*chatpb.Room
	more  bool // there were others
}

func (l *shortlist) add(name string, newest uint64) {
	at, _ := slices.BinarySearchFunc(l.rooms, name, func(r *chatpb.Room, name string) int { return strings.Compare(r.Name, name) })
	if at == l.limit {
		l.more = true
		return
	}
	if len(l.rooms) == l.limit {
		l.more = true
		l.rooms = l.rooms[:l.limit-1]
	}
	l.rooms = slices.Insert(l.rooms, at, &chatpb.Room{Name: name, Sequence: newest})
}
