// Package room keeps the rooms of a chat: a hub of members, each of which sees the
// room's messages in one order, each once, and a durable log behind it.
//
// A message is acknowledged once the log has it for good. Members see it then,
// and not before. A member that has been away reads what it missed from the log
// and goes on live, without a gap and without a repetition.
//
// The package knows nothing of gRPC nor of who may do what: its callers have
// verified the user and decided that the room is open to it.
package room
