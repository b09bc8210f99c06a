package client

import (
	"context"
	"slices"
	"time"
)

// A stream moves to another line in these steps, and neither side of the program
// notices. The mover has a successor admitted there, a leg of its own. Whoever
// next has the turn between two Sends takes it over: the sending side goes on with
// the successor, and the leg before is half-closed. That one is read out in the
// background until the server has acknowledged all of it and ends it, whether or
// not the program receives meanwhile. The receiving side has all that it brought,
// and then goes on with the successor.

// lags is the mover's question. A stream that has said all stays where it is, and so
// does one that is not done with its last move: the server has not acknowledged all
// of it, or the program is far behind in receiving it.
func (s *Stream) lags(behind *line) (until time.Time, yes bool) {
	if s.sentAll.Load() {
		return time.Time{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.legs) == 0 {
		return time.Time{}, false
	}
	sender := s.sender.Load()
	if waiting := s.successor.Load(); waiting != nil { // for a Send that takes its time
		return sender.lease.until(), waiting.line != behind
	}
	free := len(s.legs) == 1 && !s.readingOut.Load() && s.spool.weight() < spoolEnough
	return sender.lease.until(), free && sender.line != behind
}

// move has a successor admitted, in place of one that no Send has let in yet.
func (s *Stream) move(ctx context.Context, to *line, token string) (until time.Time, moved bool, err error) {
	successor, err := s.conn.reach(ctx, s.ctx, to, s.md, token)
	if err != nil {
		if s.over() {
			err = nil
		}
		return time.Time{}, false, err
	}
	if successor.user != s.user {
		s.conn.leave(successor)
		return time.Time{}, false, ErrOtherUser
	}
	if !s.adopt(successor) {
		return time.Time{}, false, nil
	}
	if stale := s.successor.Swap(successor); stale != nil {
		s.leave(stale)
	}
	s.yield()
	return successor.lease.until(), true, nil
}

// yield lets the successor take over, unless a Send is under way or a leg is being read
// out: these yield when they are done. So everybody yields who has had the turn, and
// nobody waits behind a Send that is blocked.
func (s *Stream) yield() {
	for s.successor.Load() != nil && !s.readingOut.Load() && s.turn.TryLock() {
		s.takeOver()
		s.turn.Unlock()
	}
}

// takeOver needs the turn. One leg is read out at a time, so that what it brings is not
// mixed with what the next one does.
func (s *Stream) takeOver() {
	if s.readingOut.Load() {
		return
	}
	successor := s.successor.Swap(nil)
	if successor == nil {
		return
	}
	if s.sentAll.Load() {
		s.leave(successor)
		return
	}
	before := s.sender.Load()
	before.next.Store(successor)
	s.sender.Store(successor)
	s.conn.keeper.remove(before.lease) // it lasts no longer than its acknowledgements take
	_ = before.call.CloseSend()        // grpc-go returns nil always
	s.readingOut.Store(true)
	s.conn.crew.begin(func() {
		s.readOut(before)
		s.readingOut.Store(false)
		s.yield()
		s.conn.mover.nudge() // for a newer certificate
	})
}

// advance goes on with the next leg, and says whether there is one. It is for the
// goroutine that receives.
func (s *Stream) advance() bool {
	next := s.receiver.next.Load()
	if next == nil {
		return false
	}
	s.leave(s.receiver)
	s.receiver = next
	s.conn.mover.nudge() // for a newer certificate
	return true
}

// adopt counts the leg to the stream, and lets go of it at once where the stream
// is over.
func (s *Stream) adopt(l *leg) bool {
	s.mu.Lock()
	over := s.released
	if !over {
		s.legs = append(s.legs, l)
	}
	s.mu.Unlock()
	if over {
		s.conn.leave(l)
	}
	return !over
}

// leave lets go of one leg, unless that has been done.
func (s *Stream) leave(l *leg) {
	s.mu.Lock()
	i := slices.Index(s.legs, l)
	if i >= 0 {
		s.legs = slices.Delete(s.legs, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		s.conn.leave(l)
	}
}

// leaveAll lets go of all legs, those that are still to come included.
func (s *Stream) leaveAll() {
	s.mu.Lock()
	legs := s.legs
	s.legs, s.released = nil, true
	s.mu.Unlock()
	for _, l := range legs {
		s.conn.leave(l)
	}
}

// over says whether either side has ended the stream, as far as this one knows.
func (s *Stream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released || s.ctx.Err() != nil
}
