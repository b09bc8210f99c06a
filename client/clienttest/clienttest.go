// Package clienttest has a chat server in memory, for tests of programs that are
// in rooms: real mutual TLS on loopback, a log, and the faults that a test asks
// for.
//
//	realm := authtest.NewRealm(t)
//	server := clienttest.New(realm)
//	conn := client.Dial(client.Config{Server: server.Address(), ...})
//	...
//	server.Say("lobby", "bob", "hi")
//	server.Drop() // all connections
//
// It looks at certificates and at no token: whoever has a certificate of the
// realm may do everything. What it keeps ends with the test.
package clienttest

import (
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// A Moment is when a fault may happen to a stream.
type Moment int

// The moments.
const (
	Received Moment = iota // a message has arrived, and is not stored
	Stored                 // it is stored, and not acknowledged
	Sending                // something is about to be sent
)

// A Fault decides at a moment whether the stream ends with an error there and
// then. What has been received and not stored by then is lost with Received.
type Fault func(Moment) error

// An Entry is a message of a room.
type Entry struct {
	Sequence       uint64
	User, ID, Text string
	Time           time.Time
	Traceparent    string
}

// A Server is a chat server with rooms. Its methods may be called concurrently.
type Server struct {
	address string
	hosts   *hosts

	handlers sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
	last    uint64        // the newest sequence
	rooms   map[string]*room
	streams map[*stream]struct{}
	refusal error
	fault   Fault
	late    bool
	held    bool
	early   bool
}

type room struct {
	entries   []Entry
	discarded uint64 // the newest sequence that is no longer kept
	late      []func()
}

// New runs a server of the realm until the test ends.
func New(t testing.TB, realm *authtest.Realm) *Server {
	t.Helper()
	s := &Server{
		changed: make(chan struct{}), last: 1, rooms: map[string]*room{}, streams: map[*stream]struct{}{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.hosts = &hosts{Listener: listener, open: map[net.Conn]struct{}{}}
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())), grpc.StaticStreamWindowSize(64<<10), grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	chatpb.RegisterChatServer(srv, &service{server: s})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(s.hosts) }()
	t.Cleanup(func() {
		srv.Stop()
		s.handlers.Wait()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// Address is where the server listens.
func (s *Server) Address() string { return s.address }

// Say stores a message of the user's and returns its sequence.
func (s *Server) Say(name, user, text string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store(name, Entry{User: user, Text: text})
}

// store needs mu.
func (s *Server) store(name string, e Entry) uint64 {
	s.last++
	e.Sequence, e.Time = s.last, time.Now()
	r := s.room(name)
	r.entries = append(r.entries, e)
	s.change()
	return e.Sequence
}

// Entries returns what the room has.
func (s *Server) Entries(name string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.room(name).entries)
}

// Discard forgets the room's messages up to the sequence.
func (s *Server) Discard(name string, upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.room(name)
	r.discarded = max(r.discarded, upTo)
	r.entries = slices.DeleteFunc(r.entries, func(e Entry) bool { return e.Sequence <= upTo })
}

// Announce tells the room's members of a user: JOINED, LEFT or TYPING.
func (s *Server) Announce(name, user string, kind chatpb.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce(name, user, kind, nil)
}

// End ends all streams with the error.
func (s *Server) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		st.ending = err
	}
	s.change()
}

// Drop closes all connections without a word.
func (s *Server) Drop() { s.hosts.drop() }

// Refuse refuses all streams from now on with the error, and none with nil.
func (s *Server) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

// Fault is asked at every moment of every stream from now on; nil: none is. It is
// called by one goroutine at a time, and may call Drop and no other method.
func (s *Server) Fault(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// StoreLate has a message that a fault meets at Received stored after all, once
// another stream of the room is live, as of a connection that was slow to die.
func (s *Server) StoreLate(late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = late
}

// Hold has streams send nothing, until it is called with false.
func (s *Server) Hold(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	s.change()
}

// AcknowledgeEarly has messages that were stored before acknowledged at once,
// even where the stream has not got to their place.
func (s *Server) AcknowledgeEarly(early bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.early = early
}

// Streams returns how many streams the room has.
func (s *Server) Streams(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for st := range s.streams {
		if st.room == name {
			n++
		}
	}
	return n
}

// InGoodOrder, given to End, ends streams with OK.
var InGoodOrder = io.EOF

// Gone is the refusal of a cursor that is too old.
func Gone(oldest uint64) error {
	return auth.Refuse(auth.CursorGone, nil).With("oldest", strconv.FormatUint(oldest, 10)).GRPCStatus().Err()
}

// room needs mu.
func (s *Server) room(name string) *room {
	r := s.rooms[name]
	if r == nil {
		r = &room{}
		s.rooms[name] = r
	}
	return r
}

// change wakes all who wait. It needs mu.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// announce needs mu.
func (s *Server) announce(name, user string, kind chatpb.Kind, except *stream) {
	for st := range s.streams {
		if st.room == name && st != except {
			st.others = append(st.others, &chatpb.ChatMessage{User: user, Kind: kind, Timestamp: chatpb.FormatTimestamp(time.Now())})
		}
	}
	s.change()
}

// key is one name for a room of two, whoever of them asks.
func key(name, user string) string {
	other, isPair := strings.CutPrefix(name, "@")
	if !isPair {
		return name
	}
	return "@" + path.Join(min(user, other), max(user, other))
}

// shown is what the user calls the room, and false where that is for others.
func shown(room, user string) (string, bool) {
	pair, isPair := strings.CutPrefix(room, "@")
	if !isPair {
		return room, true
	}
	a, b, _ := strings.Cut(pair, "/")
	switch user {
	case a:
		return "@" + chatpb.EscapeUser(b), true
	case b:
		return "@" + chatpb.EscapeUser(a), true
	default:
		return "", false
	}
}

// hosts knows the connections that a listener has accepted.
type hosts struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (h *hosts) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	tracked := &host{Conn: c, hosts: h}
	h.open[tracked] = struct{}{}
	return tracked, nil
}

func (h *hosts) drop() {
	h.mu.Lock()
	open := h.open
	h.open = map[net.Conn]struct{}{}
	h.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
}

type host struct {
	net.Conn
	hosts *hosts
}

func (c *host) Close() error {
	c.hosts.mu.Lock()
	delete(c.hosts.open, c)
	c.hosts.mu.Unlock()
	return c.Conn.Close()
}
