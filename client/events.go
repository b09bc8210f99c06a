package client

import (
	"errors"
	"time"
)

// An Event is something that happened to a Conn beside its streams' messages. It
// is one of the types below, a Refreshed or a RefreshFailed; later versions may
// add to them.
type Event interface{ event() }

// Refreshed says that the server has taken a new token for live streams.
type Refreshed struct {
	// Expires is until when they may live now. Their own Expires says so too.
	Expires time.Time
	// Streams is how many they are.
	Streams int
}

// RefreshFailed says that an attempt to refresh the authority of live streams
// came to nothing. The streams live on as they were.
type RefreshFailed struct {
	// Err is ErrNoNewToken, an *Error with the server's refusal, or the token
	// source's error; errors.Is and errors.As find each.
	Err error
	// Retry is when the token source is asked again. It is zero where no attempt
	// is left before the streams expire.
	Retry time.Time
	// Final says that the server will not take this token, however often it is
	// asked: only another token helps.
	Final bool
}

func (Refreshed) event()     {}
func (RefreshFailed) event() {}

// ErrNoNewToken is why a refresh has nothing to refresh with: the token source
// gives a token that expires no later than the streams already do.
var ErrNoNewToken = errors.New("client: the token source has no token that lives longer than the streams: obtain a new one")

var (
	errNotExtended = errors.New("client: the server took the token and the streams expire no later for it: the certificate may expire first")
	errConnection  = errors.New("client: the streams' connection takes no more calls, so that they cannot be refreshed: open others in their place before they expire")
)
