package room

import (
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	chatpb "securechat/proto/chat"
)

const (
	defaultQueue      = 1024
	defaultQueueBytes = 1 << 20
	defaultHeldBytes  = 128 << 20
	defaultLag        = 5 * time.Second
	// waiting is how many posts of all members wait for the writer; further ones
	// wait in Post.
	waiting = 4096
)

// Config is what a Hub is made of.
type Config struct {
	// Log keeps the messages. The hub does not close it.
	Log Log
	// Cluster is how nodes that share the log find each other. Nil: this hub is the
	// log's only writer.
	Cluster Cluster
	// Queue and QueueBytes bound how far a live member may be behind its room, in
	// events and in bytes to be sent, without having to catch up from the log; 0
	// means 1,024 and 1 MiB. A room holds that much, up to three times the bytes, once,
	// whatever the number of its members.
	Queue, QueueBytes int
	// HeldBytes bounds what all rooms hold together, in the same bytes: while they
	// hold more, a room in which something happens keeps a sixteenth of QueueBytes, or
	// one event; while they hold more than half, one in which nothing has happened for
	// about a second keeps nothing. Who is further behind catches up from the log. 0
	// means 128 MiB.
	HeldBytes int64
	// Lag is how long a live member may be further behind than that. Until then it
	// reads what it has missed from the log; who comes, goes and types meanwhile it
	// may not be told. 0 means 5 s.
	Lag time.Duration
	// Tracer makes a "store" and a "deliver" span of each message that is posted with
	// a Trace; nil makes none.
	Tracer trace.Tracer
	// Logger is told what an operator should know; nil: nobody is.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Appended is told of each append: of how many messages, how long it took and
	// what became of it. It is called on the hub's only writing goroutine, which
	// waits for it. Nil: nobody is told.
	Appended func(entries int, took time.Duration, err error)

	// hash finds the entries with an id again; nil is a keyed one, so that nobody
	// can make ids that collide.
	hash func(user, id string) uint64
	// unusedIDs bounds the ids of rooms that stay loaded unused; 0 is maxUnusedIDs.
	unusedIDs int
}

var (
	// ErrSlow ends a member that is too far behind its room. It loses nothing by
	// joining again after the last sequence that it has.
	ErrSlow = errors.New("room: the member is too far behind")
	// ErrClosed is returned once the hub is closed or the member has left.
	ErrClosed = errors.New("room: closed")
	// ErrText refuses a post or a user that is not valid UTF-8, which no log could
	// keep.
	ErrText = errors.New("room: not valid UTF-8")
)

// GoneError refuses to replay from a sequence after which the log has discarded
// messages, or which the log has never given: such a cursor is of another log.
type GoneError struct {
	// Oldest is the earliest sequence from which the room can be replayed whole.
	Oldest uint64
}

func (e *GoneError) Error() string {
	return "room: messages after that sequence are no longer kept"
}

// An Event is something that a member is told.
type Event struct {
	// Kind says what it is and which of the fields below have a meaning.
	Kind chatpb.Kind
	// Entry is the message of a MESSAGE, and the member's own of an
	// ACKNOWLEDGEMENT. Acknowledgements come in the order of the member's posts,
	// each at its message's place in the room's order; that of a message which had
	// been stored before comes as soon as that order allows.
	Entry Entry
	// Wire is the encoded ChatMessage of a MESSAGE. It is shared: do not change it.
	Wire []byte
	// Shared is the same for all members who are sent the MESSAGE live. Nil where it
	// is replayed, to one member.
	Shared *Shared
	// User and Time are who and when of JOINED, LEFT and TYPING.
	User string
	Time time.Time
	// Sequence is, of LIVE, where a reader that has had all up to here comes back to.
	Sequence uint64
}

// A Posting is what a member says.
type Posting struct {
	ID, Text string
	// Trace is the context of the span that posts it; without one it is not traced.
	Trace trace.SpanContext
}

// Position is where a member begins.
type Position struct {
	// Replay asks for the messages after After first; 0 is the beginning of what
	// is kept. Without it the member begins live.
	Replay bool
	After  uint64
}

// Presence is a user in a room.
type Presence struct {
	User  string
	Since time.Time
}

// A Hub keeps the rooms of one node: their members, and what these need to know
// of the log. Its methods may be called concurrently.
//
// It has few goroutines of its own: the writer, the only one that appends to the
// log; the keeper, which does what time demands; one that forgets ids and one that
// has them read; one that looks what became of appends in doubt; one that reads what
// the log has more; in a cluster one that tells the other nodes who is here; and one
// for each room while that is being loaded or its ids are being read.
// Members cost none: their callers' wait.
type Hub struct {
	config Config
	queue  chan *post

	open  context.Context // ends when Close begins
	shut  context.CancelFunc
	life  context.Context // ends when Close does not want to wait any longer
	end   context.CancelFunc
	tasks sync.WaitGroup

	counts counts
	held   allowance // what the rooms' rings hold
	// What the hub's goroutines have to do: rooms that the log may have more of,
	// of whose users the other nodes are to be told, with ids to forget, whose ids
	// are to be read, and those of which an append is in doubt.
	behind, changed, pruned, awaited, doubted dirty

	// Of users whose replays are read, and for whom the ids of rooms are and rooms are
	// loaded.
	replaying, identifying, loading quota

	node   string        // what the other nodes know this one by
	number atomic.Uint64 // of the last list of users told

	mu     sync.Mutex // before a room's
	closed bool
	rooms  map[Key]*room
}

// counts are what Stats reports that nothing else knows.
type counts struct {
	members               atomic.Int64
	posts, appends        atomic.Uint64
	deliveries, slow      atomic.Uint64
	duplicates, conflicts atomic.Uint64
}

// New returns a hub on a log. It works until Close.
func New(config Config) *Hub {
	if config.Queue <= 0 {
		config.Queue = defaultQueue
	}
	if config.QueueBytes <= 0 {
		config.QueueBytes = defaultQueueBytes
	}
	if config.HeldBytes <= 0 {
		config.HeldBytes = defaultHeldBytes
	}
	if config.Lag <= 0 {
		config.Lag = defaultLag
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.unusedIDs <= 0 {
		config.unusedIDs = maxUnusedIDs
	}
	if config.hash == nil {
		seed := maphash.MakeSeed()
		config.hash = func(user, id string) uint64 { return hashed(seed, user, id) }
	}
	h := &Hub{
		config: config,
		queue:  make(chan *post, waiting),
		rooms:  map[Key]*room{},
		node:   rand.Text(),
	}
	h.held.limit = config.HeldBytes
	h.loading.each = everyLoads
	h.open, h.shut = context.WithCancel(context.Background())
	h.life, h.end = context.WithCancel(context.Background())
	for _, d := range []*dirty{&h.behind, &h.pruned, &h.awaited, &h.doubted} {
		d.signal = make(chan struct{}, 1)
	}
	if config.Cluster != nil {
		h.changed.signal = make(chan struct{}, 1)
		h.tasks.Go(h.announceAll)
	}
	h.tasks.Go(h.catchUp)
	h.tasks.Go(newWriter(h).run)
	h.tasks.Go(h.keep)
	h.tasks.Go(h.prune)
	h.tasks.Go(h.identifyAll)
	h.tasks.Go(h.resolve)
	return h
}

// Join makes the user a member of the room from a position on: its events are the
// replay, LIVE, and what happens from then on, without a gap and without a
// repetition. Who comes, goes and types is told from LIVE on. The caller must
// call Leave. Errors: *GoneError, ErrUnavailable, ErrClosed, ErrText, the context's.
func (h *Hub) Join(ctx context.Context, key Key, user string, from Position) (*Member, error) {
	if !valid(user) {
		return nil, ErrText
	}
	r, err := h.acquire(ctx, key, user)
	if err != nil {
		return nil, err
	}
	m, err := r.join(ctx, user, from)
	if err != nil {
		h.release(r)
		return nil, err
	}
	return m, nil
}

// Close ends every member and waits for what is under way. Posts that are still
// queued are not stored. When the context ends first it gives up what is under
// way, which may then have been stored or not, and returns the context's error.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.shut()
	rooms := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		rooms = append(rooms, r)
	}
	h.mu.Unlock()
	for _, r := range rooms {
		r.close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.tasks.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		h.end()
		<-done
	}
	h.end()
	untold := h.changed.left()
	for _, r := range rooms {
		r.unfollow()
		r.farewell(untold[r])
	}
	return err
}

// Stats is what a hub is doing.
type Stats struct {
	// Rooms are those that are loaded, Members the sessions in them, Queued the
	// posts that wait for the writer.
	Rooms, Members, Queued int
	// Posts and Appends count messages stored and commits that stored them,
	// Deliveries the messages handed to members, their own and replayed ones
	// included, Slow the members cut, Duplicates the posts that had been stored
	// before, Conflicts the appends that another node was ahead of.
	Posts, Appends, Deliveries, Slow, Duplicates, Conflicts uint64
}

// Stats returns the figures as of now.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	rooms := len(h.rooms)
	h.mu.Unlock()
	return Stats{
		Rooms:      rooms,
		Members:    int(h.counts.members.Load()),
		Queued:     len(h.queue),
		Posts:      h.counts.posts.Load(),
		Appends:    h.counts.appends.Load(),
		Deliveries: h.counts.deliveries.Load(),
		Slow:       h.counts.slow.Load(),
		Duplicates: h.counts.duplicates.Load(),
		Conflicts:  h.counts.conflicts.Load(),
	}
}
