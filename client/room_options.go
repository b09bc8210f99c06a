package client

// A JoinOption says where a Room begins. Without one it begins live.
type JoinOption interface{ join(*Room) }

// A HistoryOption says what Conn.History reads.
type HistoryOption interface{ history(*reading) }

// A From is a position in a room: a JoinOption, and a HistoryOption that reads
// forwards.
type From struct{ after uint64 }

// After begins with the first message after the sequence, as Message.Sequence and
// Live.Sequence have them.
func After(sequence uint64) From { return From{after: sequence} }

// FromStart begins with the oldest message that is kept.
func FromStart() From { return From{} }

func (f From) join(r *Room)          { r.placed, r.seen, r.kept = true, f.after, f.after }
func (f From) history(read *reading) { read.after, read.before = &f.after, nil }

type before uint64

// Before reads backwards, from the newest message before the sequence.
func Before(sequence uint64) HistoryOption { return before(sequence) }

func (b before) history(read *reading) {
	sequence := uint64(b)
	read.after, read.before = nil, &sequence
}

type limit int

// Limit reads at most so many messages; zero and less is no limit.
func Limit(messages int) HistoryOption { return limit(messages) }

func (l limit) history(read *reading) { read.limit = max(int(l), 0) }
