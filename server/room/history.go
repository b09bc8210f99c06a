package room

import (
	"context"
	"slices"
)

// maxHistory and maxHistoryBytes bound a page of history, in entries and in bytes
// to be sent. One entry is a page whatever its size.
const (
	maxHistory      = 1000
	maxHistoryBytes = 1 << 20
)

// HistoryAfter returns at most limit of the room's entries after a sequence,
// oldest first, and whether there are more. 0 is the beginning of what is kept;
// after another sequence it returns a *GoneError where Join would. Fewer may come
// than there are, but none only if there are none. Errors: *GoneError,
// ErrUnavailable, ErrClosed, the context's.
func (h *Hub) HistoryAfter(ctx context.Context, key Key, after uint64, limit int) (entries []Entry, more bool, err error) {
	if h.open.Err() != nil {
		return nil, false, ErrClosed
	}
	limit = min(max(limit, 1), maxHistory)
	for attempt := 0; ; attempt++ {
		entries, more, err = h.config.Log.Read(ctx, key, after, limit)
		switch {
		case err != nil:
			return nil, false, err
		case len(entries) > 0 && after > 0 && entries[0].Previous > after:
			return nil, false, &GoneError{Oldest: entries[0].Previous}
		case len(entries) > 0:
			return entries, more, nil
		}
		if none, err := h.noneAfter(ctx, key, after); none || err != nil {
			return nil, false, err
		}
		// Whoever answered the read lags.
		if err := pause(ctx, backoff(attempt)); err != nil {
			return nil, false, err
		}
	}
}

// noneAfter says whether a room has nothing after a sequence, and returns a *GoneError
// if the sequence is one of which that says nothing: of another log, or older than all
// that is kept.
func (h *Hub) noneAfter(ctx context.Context, key Key, after uint64) (bool, error) {
	first, last, err := h.config.Log.Span(ctx)
	if err != nil {
		return false, err
	}
	newest, err := h.config.Log.Newest(ctx, key)
	switch {
	case err != nil:
		return false, err
	case after > last:
		return false, &GoneError{Oldest: max(newest, first-1)}
	case newest == 0 && after > 0 && after < first-1:
		return false, &GoneError{Oldest: first - 1}
	default:
		return newest <= after, nil
	}
}

// HistoryBefore returns at most limit of the room's entries before a sequence, the
// newest of them, oldest first, and whether there are older ones; 0 is the end.
// Fewer come where these are more than about a MiB, but at least one if there are
// any. Errors: as HistoryAfter, without *GoneError.
//
// The log reads forwards only, so windows of sequences before that one are read,
// each twice as wide as the last, or narrower where one had more than a read
// returns, until they have enough. A room's entries may lie far apart, but there
// are few such windows however long the log is.
func (h *Hub) HistoryBefore(ctx context.Context, key Key, before uint64, limit int) (entries []Entry, more bool, err error) {
	if h.open.Err() != nil {
		return nil, false, ErrClosed
	}
	limit = min(max(limit, 1), maxHistory)
	first, last, err := h.config.Log.Span(ctx)
	if err != nil {
		return nil, false, err
	}
	if before == 0 || before > last+1 {
		before = last + 1
	}
	width := 2 * uint64(limit)
	// One more than fits tells whether there are older ones.
	for before > first && fitting(entries, limit) == len(entries) {
		width = min(width, before-first)
		window, all, err := h.window(ctx, key, before-width, before)
		if err != nil {
			return nil, false, err
		}
		if !all {
			width = narrower(width, before, window)
			continue
		}
		entries = append(window, entries...)
		before, width = before-width, 2*width
	}
	if n := fitting(entries, limit); n < len(entries) {
		return slices.Clone(entries[len(entries)-n:]), true, nil
	}
	return entries, false, nil
}

// fitting returns how many of the newest entries make a page.
func fitting(entries []Entry, limit int) int {
	size := 0
	for n := range min(limit, len(entries)) {
		size += entries[len(entries)-1-n].size()
		if n > 0 && size > maxHistoryBytes {
			return n
		}
	}
	return min(limit, len(entries))
}

// narrower returns the width to try after a window that ends before end had more
// than was read of it: about what that read has got through.
func narrower(width, end uint64, read []Entry) uint64 {
	half := (width + 1) / 2
	if len(read) == 0 {
		return half
	}
	return min(half, read[len(read)-1].Sequence+width+1-end)
}

// window returns the room's entries with begin <= sequence < end, and whether
// these are all: there may be more than one read returns.
func (h *Hub) window(ctx context.Context, key Key, begin, end uint64) ([]Entry, bool, error) {
	page, more, err := h.config.Log.Read(ctx, key, begin-1, int(min(maxHistory+1, end-begin)))
	if err != nil {
		return nil, false, err
	}
	for i, e := range page {
		if e.Sequence >= end {
			return page[:i], true, nil
		}
	}
	reached := len(page) > 0 && page[len(page)-1].Sequence == end-1
	return page, reached || !more, nil
}

// Rooms yields the rooms that have entries, with the newest's sequence, and those
// that have members on this node and no entries, with 0, in no order, each once.
// Errors: ErrUnavailable, ErrClosed, the context's.
func (h *Hub) Rooms(ctx context.Context, yield func(key Key, newest uint64) bool) error {
	if h.open.Err() != nil {
		return ErrClosed
	}
	empty := h.inhabited()
	stopped := false
	err := h.config.Log.Rooms(ctx, func(key Key, newest uint64) bool {
		delete(empty, key)
		stopped = !yield(key, newest)
		return !stopped
	})
	if err != nil || stopped {
		return err
	}
	for key := range empty {
		if !yield(key, 0) {
			break
		}
	}
	return nil
}

// inhabited returns the rooms that have members here.
func (h *Hub) inhabited() map[Key]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := map[Key]bool{}
	for key, r := range h.rooms {
		r.mu.Lock()
		if len(r.members) > 0 {
			keys[key] = true
		}
		r.mu.Unlock()
	}
	return keys
}
