package server

import (
	"context"

	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// SetRoomPolicy puts another room policy in force, for new streams and live ones:
// those whose room their user may not open any more end within a second, with
// EXPELLED. nil forbids nothing.
func (s *Server) SetRoomPolicy(policy *RoomPolicy) {
	s.rooms.Store(policy)
	s.guard.SetPolicy(s.policy) // has live streams held against it
}

// namedRoom is the condition of a stream. One that names no room is an echo.
func (s *Server) namedRoom(ctx context.Context, id auth.Identity) error {
	switch rooms := metadata.ValueFromIncomingContext(ctx, chatpb.MetadataRoom); len(rooms) {
	case 0:
		return nil
	case 1:
		return s.roomAllowed(ctx, id, rooms[0])
	default:
		return auth.Refusef(auth.RoomDenied, "the stream names %d rooms", len(rooms))
	}
}

// roomAllowed says why the caller may not open the room, or not be in it any more:
// it is asked when a stream begins, and for the live ones again when anything has
// changed that it may rest on. A room that is closed and one that is absent look
// alike to the caller.
func (s *Server) roomAllowed(ctx context.Context, id auth.Identity, room string) error {
	if !s.rooms.Load().Allows(id.User, room) {
		return auth.Refusef(auth.RoomDenied, "the room policy does not let %q into %.100q", id.User, room)
	}
	return s.openRoom(ctx, id, room)
}

// noRooms is openRoom of a server that has none.
func noRooms(context.Context, auth.Identity, string) error {
	return auth.Refusef(auth.RoomDenied, "the stream names a room and the server has none")
}
