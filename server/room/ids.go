package room

import "context"

// indexing is the reading of a room's ids under way.
type indexing struct {
	until uint64 // what comes after is added as it is published
	done  chan struct{}
	err   error // set before done is closed
}

// Prepare has the ids of the room's messages read in the background, so that the
// member's first post with an id need not wait for it. It does not wait itself. It
// is for members that may post: others need no ids.
func (m *Member) Prepare() {
	r := m.room
	r.mu.Lock()
	due := !r.identified && r.indexing == nil && m.ended == nil
	r.mu.Unlock()
	if due {
		r.hub.awaited.add(r)
	}
}

// identifyAll reads the ids of rooms that are soon to be needed, one room after the
// other lest all be read at once after a start, until the hub closes. Who needs
// those of a room now does not wait for its turn: identify begins at once, unless the
// same user needs those of several other rooms.
func (h *Hub) identifyAll() {
	for h.open.Err() == nil {
		for r := range h.awaited.take(h.open) {
			if !h.inUse(r) {
				continue
			}
			if err := r.identify(h.open, nobody); err != nil && h.open.Err() == nil {
				h.config.Logger.Warn("the ids of a room's messages could not be read", "error", err)
			}
		}
	}
}

// inUse says whether anybody holds the room.
func (h *Hub) inUse(r *room) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return r.holders > 0
}

// nobody is for whom ids are read ahead: no user has this name.
const nobody = ""

// identify waits until the room's index has the ids of all that the log keeps. They
// are read when they are first needed, or Prepare asks for them: where all only
// listen nobody needs them. For one user those of a few rooms are read at a time.
func (r *room) identify(ctx context.Context, user string) error {
	run, due := r.identification(nil)
	if due {
		done, err := r.hub.identifying.take(ctx, user)
		if err != nil {
			return err
		}
		mine := &indexing{done: make(chan struct{})}
		switch run, _ = r.identification(mine); {
		case run != mine: // somebody else's has begun, or is over
			done()
		case !r.hub.spawn(func() { defer done(); r.readIDs(mine) }):
			done()
			r.indexingEnds(mine, ErrClosed)
		}
	}
	if run == nil {
		return nil
	}
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identification returns the reading of the room's ids that is under way, and whether
// one is due: then begin is, unless it is nil.
func (r *room) identification(begin *indexing) (run *indexing, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.identified || r.indexing != nil {
		return r.indexing, false
	}
	if begin != nil {
		begin.until = r.tail
		r.indexing = begin
	}
	return r.indexing, true
}

// spawn starts a task that Close waits for, unless the hub is closed.
func (h *Hub) spawn(task func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.tasks.Go(task)
	return true
}

func (r *room) readIDs(run *indexing) {
	err := r.through(r.hub.open, run.until, func(page []Entry) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range page {
			if page[i].Sequence <= run.until {
				r.know(&page[i])
			}
		}
	})
	if err != nil && r.hub.open.Err() != nil {
		err = ErrClosed
	}
	r.indexingEnds(run, err)
}

// indexingEnds has those who wait go on. After an error the next to post reads
// again.
func (r *room) indexingEnds(run *indexing, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.indexing = nil
	if err == nil {
		r.identified = true
	} else {
		r.index = index{}
	}
	run.err = err
	close(run.done)
}

// through calls each with all that the log has of the room up to a sequence, page
// by page.
func (r *room) through(ctx context.Context, until uint64, each func(page []Entry)) error {
	log := r.hub.config.Log
	attempt := 0
	for after := uint64(0); after < until; {
		page, more, err := log.Read(ctx, r.key, after, pageSize)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			each(page)
			after = page[len(page)-1].Sequence
		}
		if more || after >= until {
			continue
		}
		newest, err := log.Newest(ctx, r.key)
		if err != nil {
			return err
		}
		if newest <= after {
			// What is missing is discarded, or lost.
			if first, _, err := log.Span(ctx); err != nil || first > until || attempt >= passing {
				return err
			}
		}
		// Whoever answered lags.
		if err := pause(ctx, backoff(attempt)); err != nil {
			return err
		}
		attempt++
	}
	return nil
}
