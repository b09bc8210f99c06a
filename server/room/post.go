package room

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// maxUnacknowledged and maxUnacknowledgedBytes bound what a member has posted
	// and has not been given the acknowledgement of. One post is let in whatever
	// its size.
	maxUnacknowledged      = 64
	maxUnacknowledgedBytes = 256 << 10
	// postOverhead is what a post counts beside its text and id, in bytes.
	postOverhead = 64
	// passing is how often the log is asked again, within a second, for an entry that
	// it has stored, and does not have, before that is taken for true.
	passing = 10
)

// post is a message on its way to the log.
type post struct {
	member *Member
	Posting
	hash   uint64 // of the user and id, if there is an id
	weight int
	since  time.Time // when it was handed to the writer
	// checked is a tail of the room up to which the log has no entry with the
	// post's id, save duplicate.
	checked   uint64
	duplicate *Entry
	// missed says that the log has been asked long enough for an entry that it should
	// have: the writer, for which all rooms wait, does not ask again and again.
	missed bool
	// traceparent is what is stored, span that of the storing where it records.
	traceparent string
	span        trace.Span
}

// Post hands a message over to be stored, and waits while too much of what the
// member has posted is not acknowledged. The acknowledgement is an event. Where
// the room has a message of this user with this id already, it is that one that
// is acknowledged. For one goroutine, another than that of Next.
// Errors: those of Next, ErrText, and the log's where it cannot be asked for the id.
// After the last two the membership goes on, without an event for this post.
func (m *Member) Post(ctx context.Context, p Posting) error {
	if !valid(p.ID) || !valid(p.Text) {
		return ErrText
	}
	one := &post{member: m, Posting: p, weight: len(p.Text) + len(p.ID) + postOverhead}
	if err := m.charge(ctx, one.weight); err != nil {
		return err
	}
	taken := false
	defer func() {
		if !taken { // a tracer's panic goes through here, too
			m.refund(one.weight)
		}
	}()
	one.traceparent = m.room.hub.storing(one)
	if err := m.submit(ctx, one); err != nil {
		one.stored(err)
		return err
	}
	taken = true
	return nil
}

func (m *Member) submit(ctx context.Context, one *post) error {
	r := m.room
	if one.ID != "" {
		one.hash = r.hub.config.hash(m.user, one.ID)
		if err := r.identify(ctx, m.user); err != nil {
			return err
		}
		var behind *BehindError // the writer sees about it
		err := r.check(ctx, one)
		if one.missed = errors.As(err, &behind); err != nil && !one.missed {
			return err
		}
	}
	one.since = time.Now()
	if ctx.Err() != nil { // what select takes where there is a place, too, is chance
		return ctx.Err()
	}
	select {
	case r.hub.queue <- one:
		return nil
	case <-m.done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return m.ended
	case <-ctx.Done():
		return ctx.Err()
	}
}

// charge waits until there is room for a post of that weight and takes it.
func (m *Member) charge(ctx context.Context, weight int) error {
	r := m.room
	for {
		r.mu.Lock()
		if m.ended != nil {
			defer r.mu.Unlock()
			return m.ended
		}
		if m.unacknowledged == 0 ||
			m.unacknowledged < maxUnacknowledged && m.unacknowledgedBytes+weight <= maxUnacknowledgedBytes {
			m.unacknowledged++
			m.unacknowledgedBytes += weight
			r.pending++
			r.mu.Unlock()
			return nil
		}
		if m.credit == nil {
			m.credit = make(chan struct{}, 1)
		}
		credit := m.credit
		r.mu.Unlock()
		select {
		case <-credit:
		case <-m.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Member) refund(weight int) {
	r := m.room
	r.mu.Lock()
	defer r.mu.Unlock()
	m.unacknowledged--
	m.unacknowledgedBytes -= weight
	r.pending--
}

// check finds out whether the room has an entry of the post's user and id, as far
// as it is known now. It does what it can on the poster's goroutine, so that the
// writer need not read.
func (r *room) check(ctx context.Context, p *post) error {
	r.mu.Lock()
	tail := r.tail
	candidates := r.index.find(p.hash, p.checked)
	r.mu.Unlock()
	again := passing
	if p.missed {
		again = 0
	}
	for _, sequence := range candidates {
		entry, err := r.entry(ctx, sequence, again)
		if err != nil {
			return err
		}
		if entry == nil {
			continue
		}
		if entry.Sequence > sequence { // so is what came before
			r.mu.Lock()
			r.index.forget(p.hash, entry.Sequence)
			r.mu.Unlock()
			break
		}
		if entry.User == p.member.user && entry.ID == p.ID {
			p.duplicate = entry
			return nil
		}
	}
	p.checked = tail
	return nil
}

// entry returns the room's entry of that sequence, or the oldest that is kept if it is
// discarded; nil if there is nothing from it on. A *BehindError says that it should be
// there, and is not, however often it is asked for again: then nobody knows whether
// it still comes to light.
func (r *room) entry(ctx context.Context, sequence uint64, again int) (*Entry, error) {
	r.mu.Lock()
	if e, ok := r.ring.message(sequence); ok {
		found := *e
		r.mu.Unlock()
		return &found, nil
	}
	r.mu.Unlock()
	for attempt := 0; ; attempt++ {
		entries, _, err := r.hub.config.Log.Read(ctx, r.key, sequence-1, 1)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			return &entries[0], nil
		}
		newest, err := r.hub.config.Log.Newest(ctx, r.key)
		if err != nil {
			return nil, err
		}
		if newest < sequence {
			first, _, err := r.hub.config.Log.Span(ctx)
			if err != nil || first > sequence {
				return nil, err
			}
			if attempt >= again {
				return nil, &BehindError{Room: r.key, Known: sequence, Newest: newest}
			}
		}
		// Whoever answered the read lags, or whoever leads has not noticed that another
		// has replaced it.
		if err := pause(ctx, backoff(attempt)); err != nil {
			return nil, err
		}
	}
}
