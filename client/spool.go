package client

import (
	"io"
	"sync"

	chatpb "securechat/proto/chat"
)

// A server gives its client little time to take the end of a call: one that leaves
// it untaken for some seconds loses the connection, and with it whatever else goes
// over that. So once a leg is half-closed it is read out at once, on a goroutine of
// its own, and what it brings waits here until the program receives it.
const (
	// spoolEnough is how many bytes may wait for a stream that is to move.
	spoolEnough = 1 << 20
	// spoolMost is how many may wait at all: beyond it the server waits as well. A
	// leg brings no more than the answers to what flow control lets be under way on
	// it, which between this client and this project's server is about a third of
	// that.
	spoolMost = 4 << 20
)

// A spool is what has been read ahead of the program: leg after leg, with how it
// ended at the end of each.
type spool struct {
	arrived chan struct{} // for take
	taken   chan struct{} // for wait

	mu    sync.Mutex
	held  []spooled
	bytes int
}

// spooled is what one read of a call has brought: a message, or the call's end.
type spooled struct {
	message *chatpb.ChatMessage
	end     error
}

func (e spooled) weight() int {
	if e.message == nil {
		return eventSize
	}
	return eventSize + len(e.message.User) + len(e.message.Message) + len(e.message.Id) + len(e.message.Traceparent)
}

func newSpool() spool {
	return spool{arrived: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

func (s *spool) put(e spooled) {
	s.mu.Lock()
	s.held = append(s.held, e)
	s.bytes += e.weight()
	s.mu.Unlock()
	signal(s.arrived)
}

// take waits for the oldest: there is one to come, until a leg has ended. For one
// goroutine.
func (s *spool) take() (*chatpb.ChatMessage, error) {
	for {
		if e, ok := s.poll(); ok {
			return e.message, e.end
		}
		<-s.arrived
	}
}

func (s *spool) poll() (oldest spooled, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		return spooled{}, false
	}
	oldest, s.held[0] = s.held[0], spooled{}
	s.held = s.held[1:]
	s.bytes -= oldest.weight()
	signal(s.taken)
	return oldest, true
}

// weight is about how many bytes are held.
func (s *spool) weight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// wait waits until there is room, or done is closed. For one goroutine at a time.
func (s *spool) wait(done <-chan struct{}) {
	for s.weight() >= spoolMost {
		select {
		case <-s.taken:
		case <-done:
			return
		}
	}
}

// readOut reads the leg to its end, unless Receive has, and lets go of it where that
// is in order. It ends with the leg. What it brings comes after all that is in the
// spool: no leg is half-closed before the last one has been read out.
func (s *Stream) readOut(l *leg) {
	if !l.seize() {
		return
	}
	for {
		message := new(chatpb.ChatMessage)
		if err := l.call.RecvMsg(message); err != nil {
			if err == io.EOF { // done with before Receive gets past it
				s.leave(l)
			}
			s.spool.put(spooled{end: err})
			return
		}
		s.spool.put(spooled{message: message})
		s.spool.wait(l.call.Context().Done())
	}
}
