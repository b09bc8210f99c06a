package client

import "time"

// A RoomEvent is something that happens in a room, or to this side's place in it.
// It is a Message, Live, Joined, Left, Typing, Reconnecting or Reconnected. Later
// versions may add to them.
type RoomEvent interface {
	roomEvent()
	// weight is about what the event takes in memory, in bytes.
	weight() int
}

// Live says that all that was said before has been received. What follows is said
// now. It comes once after Join, and again each time that the room has been
// reopened and what was missed is there.
type Live struct {
	// Sequence is where a reader that has had all up to here can come back to.
	Sequence uint64
}

// Joined says that a user has entered the room.
type Joined struct {
	User string
	Time time.Time
}

// Left says that a user's last session has left the room.
type Left struct {
	User string
	Time time.Time
}

// Typing says that a user is typing.
type Typing struct {
	User string
	Time time.Time
}

// Reconnecting says that there is no stream to the room just now and that another
// will be opened. Nothing that is said meanwhile is missed; who comes and goes is.
type Reconnecting struct {
	// Err is why: an *Error, or the token source's error. The same words may come
	// again with each attempt.
	Err error
	// Wait is how long until the next attempt.
	Wait time.Duration
}

// Reconnected says that the room is open again. Who is in it may have changed:
// Conn.Members tells.
type Reconnected struct{}

func (Message) roomEvent()      {}
func (Live) roomEvent()         {}
func (Joined) roomEvent()       {}
func (Left) roomEvent()         {}
func (Typing) roomEvent()       {}
func (Reconnecting) roomEvent() {}
func (Reconnected) roomEvent()  {}

// eventSize is what an event takes beside its texts.
const eventSize = 160

func (m Message) weight() int    { return eventSize + len(m.User) + len(m.Text) + len(m.ID) }
func (Live) weight() int         { return eventSize }
func (j Joined) weight() int     { return eventSize + len(j.User) }
func (l Left) weight() int       { return eventSize + len(l.User) }
func (t Typing) weight() int     { return eventSize + len(t.User) }
func (Reconnecting) weight() int { return eventSize }
func (Reconnected) weight() int  { return eventSize }
