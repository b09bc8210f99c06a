package server

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// The scopes of rooms. The echo asks for none.
const (
	scopeRead  = "chat:read"  // to join a room, and to ask about it
	scopeWrite = "chat:write" // to say something in it
)

// pairSign begins the name of a room for two; the other's name follows.
const pairSign = "@"

// A place is a room as a call names it.
type place struct {
	key room.Key
	// name is what the token's globs and the policy are held against: the room's
	// name, or "@" and the other user's.
	name string
}

// placeNamed reads a room's name as chat-room and requests have it. A pair is one
// of user and another.
func placeNamed(value, user string) (place, error) {
	escaped, pair := strings.CutPrefix(value, pairSign)
	if !pair {
		key, err := room.Named(value)
		if err != nil {
			return place{}, auth.Refuse(auth.RoomInvalid, err)
		}
		return place{key: key, name: value}, nil
	}
	other, err := chatpb.UnescapeUser(escaped)
	if err == nil {
		err = auth.CheckName(other)
	}
	if err != nil {
		return place{}, auth.Refuse(auth.RoomInvalid, err)
	}
	return place{key: room.Pair(user, other), name: pairSign + other}, nil
}

// shownAs is a room's name as chat-room and answers have it.
func shownAs(name string) string {
	if other, pair := strings.CutPrefix(name, pairSign); pair {
		return pairSign + chatpb.EscapeUser(other)
	}
	return name
}

// An opening is what the metadata of a stream asks for.
type opening struct {
	place
	from room.Position
}

// openingOf reads the metadata of a stream. inRoom is false for the echo.
func openingOf(ctx context.Context, user string) (o opening, inRoom bool, err error) {
	rooms := metadata.ValueFromIncomingContext(ctx, chatpb.MetadataRoom)
	afters := metadata.ValueFromIncomingContext(ctx, chatpb.MetadataAfter)
	switch {
	case len(rooms) == 0 && len(afters) == 0:
		return opening{}, false, nil
	case len(rooms) == 0 || len(afters) > 1:
		return opening{}, false, auth.Refusef(auth.CursorInvalid, "%d values of %s beside %d of %s",
			len(afters), chatpb.MetadataAfter, len(rooms), chatpb.MetadataRoom)
	case len(rooms) > 1:
		return opening{}, false, auth.Refusef(auth.RoomInvalid, "%d values of %s", len(rooms), chatpb.MetadataRoom)
	}
	if o.place, err = placeNamed(rooms[0], user); err != nil {
		return opening{}, false, err
	}
	if len(afters) == 1 {
		o.from.Replay = true
		if o.from.After, err = strconv.ParseUint(afters[0], 10, 64); err != nil {
			return opening{}, false, auth.Refuse(auth.CursorInvalid, err)
		}
	}
	return o, true, nil
}

// SetRoomPolicy puts another room policy in force, for new streams and live ones:
// those whose room their user may not open any more end within a second, with
// EXPELLED. nil forbids nothing.
func (s *Server) SetRoomPolicy(policy *RoomPolicy) {
	s.roomPolicy.Store(policy)
	s.guard.SetPolicy(s.policy) // has live streams held against it
}

// mayChat is the rule of chatStream. The echo is open to every verified caller. It
// is asked again while a stream lives: who may not be there any more is expelled.
func (s *Server) mayChat(ctx context.Context, id auth.Identity) error {
	o, inRoom, err := openingOf(ctx, id.User)
	if err != nil || !inRoom {
		return err
	}
	if !id.HasScope(scopeRead) {
		return auth.Refusef(auth.ScopeMissing, "the token has no scope %s", scopeRead)
	}
	return s.roomAllowed(id, o.name)
}

// roomAllowed says why the caller may not open the room of that name, nil where it
// may. The token and the policy both have to allow it. The caller is told the same
// whichever does not, and whether or not anyone has ever used the room.
func (s *Server) roomAllowed(id auth.Identity, name string) error {
	switch {
	case s.rooms == nil:
		return auth.Refusef(auth.RoomDenied, "this server keeps no rooms")
	case !id.MayOpen(name):
		return auth.Refusef(auth.RoomDenied, "the token's rooms have none like %.100q", name)
	case !s.roomPolicy.Load().Allows(id.User, name):
		return auth.Refusef(auth.RoomDenied, "the room policy does not let %q into %.100q", id.User, name)
	}
	return nil
}

type placeKey struct{}

// requested is the step that holds the room that the request of a unary call
// names against what its caller may open, before the handler runs and before it
// answers. The handler has it by placeFrom.
func (s *Server) requested() auth.Interceptor {
	return auth.Interceptor{
		Unary: func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			request, names := req.(interface{ GetRoom() string })
			if !names {
				return handler(ctx, req)
			}
			id, _ := auth.FromContext(ctx)
			p, err := placeNamed(request.GetRoom(), id.User)
			if err != nil {
				return nil, err
			}
			if err := s.roomAllowed(id, p.name); err != nil {
				return nil, err
			}
			answer, err := handler(context.WithValue(ctx, placeKey{}, p), req)
			if refusal := s.roomAllowed(id, p.name); refusal != nil {
				return nil, refusal // it has been closed meanwhile: a call may have to wait
			}
			return answer, err
		},
	}
}

// placeFrom returns the room that the call may ask about.
func placeFrom(ctx context.Context) (place, error) {
	p, ok := ctx.Value(placeKey{}).(place)
	if !ok {
		return place{}, auth.Refusef(auth.Internal, "a handler that needs a room stands before the step that authorises it")
	}
	return p, nil
}
