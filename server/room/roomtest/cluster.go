package roomtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"securechat/server/room"
)

// Cluster is nodes around one Memory, as a messaging system would connect them:
// what is sent may get lost.
type Cluster struct {
	log *Memory

	mu          sync.Mutex
	nodes       []*Node
	dropEntries func(room.Entry) bool
	dropNotes   func(room.Key, []byte) bool
}

// NewCluster returns a cluster without nodes.
func NewCluster(log *Memory) *Cluster {
	c := &Cluster{log: log}
	log.mu.Lock()
	defer log.mu.Unlock()
	log.watch[c] = true
	return c
}

// DropEntries loses the entries, on their way to those who follow, for which drop
// says so. It may be nil. It must not use the log nor the cluster.
func (c *Cluster) DropEntries(drop func(room.Entry) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropEntries = drop
}

// DropNotes is DropEntries for notes.
func (c *Cluster) DropNotes(drop func(room.Key, []byte) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropNotes = drop
}

// Node adds a node.
func (c *Cluster) Node() *Node {
	n := &Node{
		cluster:     c,
		reconnected: make(chan struct{}, 1),
		follows:     map[*feed[room.Entry]]room.Key{},
		listens:     map[*feed[[]byte]]room.Key{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n
}

// stored sends an entry on.
func (c *Cluster) stored(e room.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropEntries != nil && c.dropEntries(e) {
		return
	}
	for _, n := range c.nodes {
		for f, key := range n.follows {
			if key == e.Room && !n.apart.Load() {
				f.give(e)
			}
		}
	}
}

// Node is one node's view of a cluster: its log and the others.
type Node struct {
	cluster     *Cluster
	reconnected chan struct{}
	apart       atomic.Bool

	// Guarded by the cluster's mu.
	follows map[*feed[room.Entry]]room.Key
	listens map[*feed[[]byte]]room.Key
}

var (
	_ room.Log     = (*Node)(nil)
	_ room.Cluster = (*Node)(nil)
)

var errApart = errors.New("the node has lost its connection")

// Disconnect keeps everything from and to the node until Reconnect: calls fail with
// room.ErrUnavailable, and what is sent meanwhile is lost.
func (n *Node) Disconnect() { n.apart.Store(true) }

// Reconnect ends Disconnect.
func (n *Node) Reconnect() {
	n.apart.Store(false)
	select {
	case n.reconnected <- struct{}{}:
	default:
	}
}

// Reconnected implements room.Cluster.
func (n *Node) Reconnected() <-chan struct{} { return n.reconnected }

// Follow implements room.Cluster.
func (n *Node) Follow(key room.Key, each func(room.Entry)) (stop func(), err error) {
	return subscribe(n, n.follows, key, each)
}

// Listen implements room.Cluster.
func (n *Node) Listen(key room.Key, each func([]byte)) (stop func(), err error) {
	return subscribe(n, n.listens, key, each)
}

// Publish implements room.Cluster.
func (n *Node) Publish(key room.Key, note []byte) error {
	if err := n.err(); err != nil {
		return err
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropNotes != nil && c.dropNotes(key, note) {
		return nil
	}
	for _, other := range c.nodes {
		for f, listens := range other.listens {
			if listens == key && !other.apart.Load() {
				f.give(append([]byte(nil), note...))
			}
		}
	}
	return nil
}

func (n *Node) err() error {
	if n.apart.Load() {
		return fmt.Errorf("%w: %w", room.ErrUnavailable, errApart)
	}
	return nil
}

// Append implements room.Log.
func (n *Node) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if err := n.err(); err != nil {
		return 0, err
	}
	return n.cluster.log.Append(ctx, drafts)
}

// Read implements room.Log.
func (n *Node) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if err := n.err(); err != nil {
		return nil, false, err
	}
	return n.cluster.log.Read(ctx, key, after, limit)
}

// Newest implements room.Log.
func (n *Node) Newest(ctx context.Context, key room.Key) (uint64, error) {
	if err := n.err(); err != nil {
		return 0, err
	}
	return n.cluster.log.Newest(ctx, key)
}

// Span implements room.Log.
func (n *Node) Span(ctx context.Context) (first, last uint64, err error) {
	if err := n.err(); err != nil {
		return 0, 0, err
	}
	return n.cluster.log.Span(ctx)
}

// Rooms implements room.Log.
func (n *Node) Rooms(ctx context.Context, yield func(room.Key, uint64) bool) error {
	if err := n.err(); err != nil {
		return err
	}
	return n.cluster.log.Rooms(ctx, yield)
}

// Close implements room.Log.
func (n *Node) Close() error { return nil }
