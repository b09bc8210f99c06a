package client

import (
	"errors"
	"sync"
	"time"
)

// An Event is something that happened to a Conn beside its streams' messages. It
// is one of the types below: a Refreshed, a RefreshFailed, a Moved or a MoveFailed.
// Later versions may add to them.
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

// Moved says that live streams have gone over to a new connection, which has the
// client's new certificate; one that is in the middle of a Send goes over after it.
// What they had sent before is acknowledged before what they send from then on. A
// stream whose program is far behind in receiving is not among them, and goes over
// when that has caught up: see [Stream.Receive].
type Moved struct {
	// Expires is until when they may live now: the first of them, to the second.
	// It is zero where the server did not say.
	Expires time.Time
	// Streams is how many they are.
	Streams int
}

// MoveFailed says that the client's certificate has changed, and that live
// streams could not go over to it. They live on as they were, with the old one.
type MoveFailed struct {
	// Err is ErrOtherCertificate or ErrOtherUser, an *Error with the server's
	// refusal or why it was not reached, or the token source's error; errors.Is
	// and errors.As find each.
	Err error
	// Retry is when the token source is asked again. It is zero where no attempt
	// is left before the streams expire.
	Retry time.Time
	// Final says that the server will not take this certificate with this token,
	// however often it is asked: only another of either helps.
	Final bool
}

func (Refreshed) event()     {}
func (RefreshFailed) event() {}
func (Moved) event()         {}
func (MoveFailed) event()    {}

// oneByOne returns what tells of one event after another, whichever goroutines
// they come from.
func oneByOne(events func(Event)) func(Event) {
	if events == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events(e)
	}
}

// ErrNoNewToken is why a refresh has nothing to refresh with: the token source
// gives a token that expires no later than the streams already do.
var ErrNoNewToken = errors.New("client: the token source has no token that lives longer than the streams: obtain a new one")

// Why streams do not move to a new certificate.
var (
	// ErrOtherCertificate: the token is bound to another certificate, most likely
	// the old one.
	ErrOtherCertificate = errors.New("client: the token source's token belongs to another certificate than the new one: obtain one for it")
	// ErrOtherUser: a stream does not change its author.
	ErrOtherUser = errors.New("client: the new certificate and token are another user's: open other streams for that user")
)

var (
	errNotExtended = errors.New("client: the server took the token and the streams expire no later for it: the certificate may expire first")
	errConnection  = errors.New("client: the streams' connection takes no more calls, so that they cannot be refreshed: open others in their place before they expire")
)
