package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// A relay is what stands between clients and the nodes of a service: it sends each
// connection to the node of the moment.
type relay struct {
	listener net.Listener
	runs     sync.WaitGroup

	mu    sync.Mutex
	node  string
	conns map[net.Conn]struct{}
}

func newRelay(t *testing.T, node string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: listener, node: node, conns: map[net.Conn]struct{}{}}
	r.runs.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			r.runs.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.drop()
		r.runs.Wait()
	})
	return r
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) to(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node = node
}

// drop cuts all connections in their middle.
func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) carry(from net.Conn) {
	r.mu.Lock()
	node := r.node
	r.mu.Unlock()
	to, err := net.Dial("tcp", node)
	if err != nil {
		_ = from.Close()
		return
	}
	r.track(from, to)
	r.runs.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	})
	_, _ = io.Copy(from, to)
	_ = from.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, from)
	delete(r.conns, to)
}

func (r *relay) track(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.conns[c] = struct{}{}
	}
}

// startNode runs a server of the cluster until stop, which may drain it.
func startNode(t *testing.T, realm *authtest.Realm, cluster *roomtest.Cluster) (address string, stop func(within time.Duration)) {
	t.Helper()
	node := cluster.Node()
	srv, err := server.New(server.Config{
		Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler),
		Rooms: server.Rooms{Log: node, Cluster: node},
	})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	var once sync.Once
	stop = func(within time.Duration) {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			srv.Shutdown(ctx)
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(func() { stop(0) })
	return listener.Addr().String(), stop
}

// Two real nodes on one log, behind a balancer that changes its mind: connections
// break, streams go to the other node, nodes drain and are replaced. What is said
// is there once, in one order for everybody.
func TestRoomAcrossNodes(t *testing.T) {
	realm := authtest.NewRealm(t)
	cluster := roomtest.NewCluster(roomtest.NewMemory())
	serving, stop := startNode(t, realm, cluster)
	between := newRelay(t, serving)
	alice := join(t, dial(t, realm.User("alice", chatter), between.address()), "ops")
	bob := join(t, dial(t, realm.User("bob", chatter), between.address()), "ops", FromStart())

	history := roomtest.NewHistory()
	ctx := patient(t)
	send := func(room *Room, sender string, n int) error {
		text := fmt.Sprint(sender, " ", n)
		history.Posting(sender, room.User(), text, text)
		receipt, err := room.Send(ctx, text, WithID(text))
		if err == nil {
			history.Acknowledged(room.User(), text, receipt.Sequence)
		}
		return err
	}
	read := func(room *Room) func() {
		reader := history.Reader(room.User(), 0)
		return func() {
			for m, err := range room.Messages(ctx) {
				if err != nil {
					t.Errorf("%s: %v", room.User(), err)
					return
				}
				reader.Saw(roomtest.Message{Sequence: m.Sequence, User: m.User, ID: m.ID, Text: m.Text})
				if strings.HasPrefix(m.Text, "end") {
					return
				}
			}
		}
	}
	var readers, senders sync.WaitGroup
	readers.Go(read(alice))
	readers.Go(read(bob))
	over := make(chan struct{})
	for i, room := range []*Room{alice, alice, bob, bob} {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				if err := send(room, fmt.Sprint("sender ", i), n); err != nil {
					t.Errorf("sender %d: %v", i, err)
					return
				}
			}
		})
	}

	for n := range 20 {
		grace := time.Duration(0)
		switch n % 10 {
		case 4: // a drain, after which clients stay away for a second
			grace = 5 * time.Second
			fallthrough
		case 1, 8:
			next, stopNext := startNode(t, realm, cluster)
			between.to(next)
			stop(grace)
			stop = stopNext
		default:
			between.drop()
		}
		must(t, send(alice, "main", n))
	}
	close(over)
	senders.Wait()
	must(t, send(bob, "end", 0))
	readers.Wait()
	if err := history.Check(); err != nil {
		t.Error(err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// Who does not read is cut by the server, and misses nothing.
func TestRoomCutForBeingSlow(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := roomtest.NewMemory()
	told := make(chan struct{}, 1)
	address := startServer(t, realm, withRooms(log), func(c *server.Config) {
		c.Rooms.Queue, c.Rooms.Lag = 32, time.Millisecond
		c.Log = slog.New(slog.NewJSONHandler(writer(func(line []byte) {
			if bytes.Contains(line, []byte(auth.SlowConsumer)) {
				select {
				case told <- struct{}{}:
				default: // it has been told
				}
			}
		}), nil))
	})
	alice := join(t, dial(t, realm.User("alice", chatter), address), "ops")
	bob := join(t, dial(t, realm.User("bob", chatter), address), "ops")
	text := strings.Repeat("x", 32<<10)
	const count = 128 // 4 MiB: more than the backlog, the transport and the queue hold
	for range count {
		_, err := bob.Send(patient(t), text)
		must(t, err)
	}
	select {
	case <-told:
	case <-patient(t).Done():
		t.Fatal("it is not cut")
	}
	var last uint64
	for n, cut := 0, false; n < count || !cut; {
		event, err := alice.Next(patient(t))
		must(t, err)
		switch e := event.(type) {
		case Message:
			if e.Sequence <= last || e.Text != text {
				t.Fatalf("got %d after %d", e.Sequence, last)
			}
			last = e.Sequence
			n++
		case Reconnected: // a Reconnecting may have found no room in the backlog
			cut = true
		}
	}
}
