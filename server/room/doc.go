// Package room keeps the rooms of a chat: a hub of members, each of which sees the
// room's messages in one order, each once, and a durable log behind it.
//
// A message is acknowledged once the log has it for good. The members on its author's
// node see it then, and not before; those on others may a moment earlier. A member that has been away reads what it missed from the log
// and goes on live, without a gap and without a repetition.
//
// The package knows nothing of gRPC nor of who may do what: its callers have
// verified the user and decided that the room is open to it.
//
// # Members
//
// Join makes a session of a user a member of a room. One goroutine of the caller's
// takes its events with Next, another hands over what it says with Post; the
// member has none of its own. A post becomes an event of every member: the
// acknowledgement for the session that posted it, a message for all others, those
// of the same user too.
//
// A post with an id is stored once for as long as the log keeps it: the same user's
// next post with this id in this room is acknowledged as the first, whatever its
// text and however much later it comes, on whichever node.
//
// A room keeps its recent events once, and members read them at their own pace. A
// member that falls further behind than the room keeps is cut; one that is still
// replaying goes on from the log. So slow members cost the same memory as quick
// ones, and nobody else's time. A caller that is stuck in handing a replay on is
// never cut: how long that may take is for the caller to bound. It holds about
// 128 KiB of messages and their encoding.
//
// # Nodes
//
// Hubs on several nodes that share a log are one: an append succeeds only if its
// node knew everything that was in the room, so that no two of them can give an id
// twice, nor disagree on the order. What other nodes store comes by Cluster, and
// from the log where it was lost on the way, at the latest after five seconds.
//
// # Presence
//
// JOINED is told when a user's first session comes, on whichever node, and LEFT one
// and a half to two seconds after the last has gone, so that one who changes nodes
// or networks does not come and go. A node that was killed counts for 12 seconds
// more. Who joins on a node that has just begun to use the room is told JOINED of
// those who are on other nodes already; the event's time is since when they are.
package room
