package room

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// maxBatch and maxBatchBytes bound what is stored together, and so do half of a
	// ring's length and a quarter of its bytes, lest one batch overtake members
	// that keep up. One post is stored whatever its size.
	maxBatch      = 512
	maxBatchBytes = 1 << 20
	// together is how many conflicts in a row a batch of several rooms bears
	// before each room goes its own way.
	together = 3
	// starved is how long posts to a contended room are tried before their senders
	// are told to try again.
	starved = 15 * time.Second
	// long is how long an attempt to store takes to fail after which those who have
	// waited for it are not kept waiting for the next.
	long = time.Second
)

// writer is the hub's one goroutine that appends. What is posted while an append
// is under way is appended together afterwards, unless it is so little that one by
// one is faster; a lone post goes at once.
type writer struct {
	hub             *Hub
	most, mostBytes int // in a batch
	// waiting are the posts that the last batch left.
	waiting []*post
	economy economy
	// contended are posts of rooms to which other nodes write so much that they
	// are appended on their own, so that the other rooms do not wait for them. A
	// room's posts are all there, or none.
	contended []*contention
	// failed is when the last attempt began, if it took long to fail as unavailable.
	failed time.Time
}

// contention is the posts of a contended room, and since when none could be stored.
type contention struct {
	room     *room
	posts    []*post
	attempts int
	since    time.Time
}

var (
	errStarved = fmt.Errorf("%w: other nodes write to the room all the time", ErrUnavailable)
	errWaited  = fmt.Errorf("%w: what was to be stored before could not be", ErrUnavailable)
)

func newWriter(h *Hub) *writer {
	return &writer{
		hub:       h,
		most:      max(1, min(maxBatch, h.config.Queue/2)),
		mostBytes: min(maxBatchBytes, h.config.QueueBytes/4),
	}
}

func (w *writer) run() {
	for {
		batch, ok := w.gather()
		if !ok {
			return
		}
		w.store(batch)
		w.retry()
	}
}

// gather waits for a post, unless some are left or others wait for another attempt,
// and takes what else is there, as far as it makes a batch. It returns false when
// the hub closes.
func (w *writer) gather() ([]*post, bool) {
	if w.hub.open.Err() != nil {
		return nil, false
	}
	if len(w.contended) > 0 {
		w.divide()
	}
	if len(w.waiting) == 0 && len(w.contended) == 0 {
		select {
		case p := <-w.hub.queue:
			w.take(p)
		case <-w.hub.open.Done():
			return nil, false
		}
	}
	for len(w.waiting) < w.most && w.takeQueued() {
	}
	w.waiting = w.patient(w.waiting)
	return w.batch(), true
}

// patient returns those of the posts that have not waited through an attempt that took
// long to fail, and fails the others: while the log is down, senders are told so after
// two such attempts, however many wait.
func (w *writer) patient(posts []*post) []*post {
	var waited, left []*post
	for _, p := range posts {
		if p.since.Before(w.failed) {
			waited = append(waited, p)
		} else {
			left = append(left, p)
		}
	}
	if len(waited) > 0 {
		(&batch{hub: w.hub, posts: waited}).fail(errWaited)
	}
	return left
}

// takeQueued takes a post if one is queued.
func (w *writer) takeQueued() bool {
	select {
	case p := <-w.hub.queue:
		w.take(p)
		return true
	default:
		return false
	}
}

// take puts a post where it waits. For a contended room there is no other bound than
// what its members may have unacknowledged: else others would wait in the queue behind
// its posts.
func (w *writer) take(p *post) {
	if c := w.contention(p.member.room); c != nil {
		c.posts = append(c.posts, p)
		return
	}
	w.waiting = append(w.waiting, p)
}

// divide has what waits of contended rooms follow what these have there.
func (w *writer) divide() {
	waiting := w.waiting
	w.waiting = nil
	for _, p := range waiting {
		w.take(p)
	}
}

// batch takes, of the posts that wait, those that are to be stored next.
func (w *writer) batch() []*post {
	n := w.fitting(w.waiting)
	if w.economy.alone(n) {
		n = 1
	}
	batch := slices.Clone(w.waiting[:n])
	w.waiting = slices.Delete(w.waiting, 0, n)
	return batch
}

func (w *writer) contention(r *room) *contention {
	for _, c := range w.contended {
		if c.room == r {
			return c
		}
	}
	return nil
}

// store appends posts of several rooms until they are stored, fail, or are split
// by room.
func (w *writer) store(posts []*post) {
	for attempt := 0; len(posts) > 0; attempt++ {
		if posts = w.attempt(posts); len(posts) == 0 {
			return
		}
		if attempt+1 == together {
			w.split(posts)
			return
		}
		w.jitter(attempt)
	}
}

func (w *writer) split(posts []*post) {
	for _, p := range posts {
		c := w.contention(p.member.room)
		if c == nil {
			c = &contention{room: p.member.room, since: time.Now()}
			w.contended = append(w.contended, c)
		}
		c.posts = append(c.posts, p)
	}
}

// retry makes one attempt for each contended room.
func (w *writer) retry() {
	var still []*contention
	for _, c := range w.contended {
		c.posts = w.patient(c.posts)
		n := w.fitting(c.posts)
		posts, rest := slices.Clone(c.posts[:n]), c.posts[n:]
		c.posts = nil // but for what the attempt leaves there
		left := w.attempt(posts)
		if len(left) > 0 && time.Since(c.since) >= starved {
			(&batch{hub: w.hub, posts: left}).fail(errStarved)
			left = nil
		}
		if c.attempts++; len(left) == 0 {
			c.attempts, c.since = 0, time.Now()
		}
		if c.posts = slices.Concat(left, c.posts, rest); len(c.posts) > 0 {
			still = append(still, c)
		}
	}
	if w.contended = still; len(still) > 0 {
		w.jitter(still[0].attempts)
	}
}

// fitting returns how many of the posts make a batch.
func (w *writer) fitting(posts []*post) int {
	size := 0
	for i, p := range posts {
		if size += p.weight; i > 0 && (i == w.most || size > w.mostBytes) {
			return i
		}
	}
	return len(posts)
}

// jitter waits a little, so that nodes in conflict do not stay in step.
func (w *writer) jitter(attempt int) {
	limit := min(time.Millisecond<<min(attempt, 10), 4*time.Millisecond)
	_ = pause(w.hub.life, rand.N(limit)) // ended: the next append says so
}

// attempt tries once to store the posts, and returns those that are not settled: all
// after a conflict, once what the others have written is known, and all but a
// room's where the log has less of that room than is known.
func (w *writer) attempt(posts []*post) (left []*post) {
	b := &batch{hub: w.hub, posts: posts}
	began := time.Now()
	err := b.plan()
	if err == nil && len(b.drafts) > 0 {
		err = w.append(b)
	}
	conflict := errors.Is(err, ErrConflict)
	asked := time.Now()
	if conflict {
		w.hub.counts.conflicts.Add(1)
		err = b.catchUp(w.hub.life)
	}
	lags := conflict && errors.Is(err, errLags)
	if !lags && (err != nil || len(b.drafts) > 0) { // else the log was not asked
		w.note(began, err)
	}
	switch {
	case conflict && err == nil:
		return posts
	case lags:
		b.end()
		return posts
	case conflict && len(b.rooms) > 1 && time.Since(asked) < long && w.hub.life.Err() == nil:
		b.end()
		w.apart(posts) // it may be that of one room only
		return nil
	}
	var behind *BehindError
	switch {
	case err == nil:
		b.settle()
	case errors.As(err, &behind):
		return b.without(behind)
	case len(posts) > 1 && !errors.Is(err, ErrUnavailable) && w.hub.life.Err() == nil:
		b.end()
		w.apart(posts)
	default:
		b.fail(err)
	}
	return nil
}

func (w *writer) append(b *batch) (err error) {
	began := time.Now()
	b.first, err = w.hub.config.Log.Append(w.hub.life, b.drafts)
	took := time.Since(began)
	if report := w.hub.config.Appended; report != nil {
		report(len(b.drafts), took, err)
	}
	if err == nil {
		w.economy.learn(len(b.drafts), took)
	}
	return err
}

// note notes whether an attempt took long to fail as unavailable.
func (w *writer) note(began time.Time, err error) {
	if w.failed = (time.Time{}); errors.Is(err, ErrUnavailable) && time.Since(began) >= long {
		w.failed = began
	}
}

// apart stores posts in two halves after the log has refused them together for a
// reason that need not be all of theirs. So it goes on until those are found that it
// is of.
func (w *writer) apart(posts []*post) {
	half := len(posts) / 2
	w.store(posts[:half])
	// Posts of rooms that are contended by now follow those that are waiting there.
	w.store(slices.DeleteFunc(posts[half:], func(p *post) bool {
		c := w.contention(p.member.room)
		if c != nil {
			c.posts = append(c.posts, p)
		}
		return c != nil
	}))
}

// unavailable is what members are told when their post could not be stored.
func (h *Hub) unavailable(err error) error {
	switch {
	case h.open.Err() != nil:
		return ErrClosed
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrRefused):
		return err
	default:
		return errors.Join(ErrUnavailable, err)
	}
}
