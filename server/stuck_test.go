package server_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"golang.org/x/net/http2"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// A client that never takes the end of its streams is disconnected, although
// their handlers have returned and their status is on its way.
func TestAClientThatDoesNotTakeTheEndOfItsStreams(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	reader := sdkmetric.NewManualReader()
	address := start(t, realm, server.Config{
		Log: log.logger(), Limits: server.Limits{Stall: 300 * time.Millisecond},
		Metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	bystander := open(t, realm.User("bob"), address)
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, true, message([]byte{2<<3 | 2, 2, 'h', 'i'})); err != nil {
		t.Fatal(err)
	}
	c.closed()
	waitFor(t, "line that says so", func() bool {
		return len(log.lines(t, "connection closed: the client does not take the end of its streams")) == 1
	})
	if n := collect(t, reader)["securechat.connections.closed"]; n != 1 {
		t.Errorf("%v connections are counted as closed, want one", n)
	}
	wantAlive(t, bystander)
}

// A stream that is open and idle is not stuck, however long.
func TestAnIdleStreamIsNotStuck(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 100 * time.Millisecond}})
	idle := open(t, realm.User("alice"), address)
	wantAlive(t, idle)
	stuck := abuse(t, address, realm.User("bob"), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err := stuck.WriteData(stuck.open(check, ""), true, message(nil)); err != nil {
		t.Fatal(err)
	}
	stuck.closed() // by now the idle one has been idle for longer than that
	wantAlive(t, idle)
}

// A client that reads slowly gets all that it is owed, long after its stream is
// over for the server: in pauses that are far from being too long.
func TestASlowReaderGetsItAll(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 2 * time.Second}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	body := append([]byte{2<<3 | 2, 0xa0, 0x1f}, bytes.Repeat([]byte{'x'}, 4000)...)
	if err := c.WriteData(stream, true, message(body)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.sip(stream, 80, 60*time.Millisecond, 1<<20); err != io.EOF || got < 4000 {
		t.Errorf("after %d bytes: %v, want all of it and the end", got, err)
	}
}

// What is taken on other streams does not hide that the end of one is not.
func TestAStuckStreamAmongBusyOnes(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 300 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	var busy [3]uint32
	for i := range busy {
		busy[i] = c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	}
	stuck := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	hi := message(field(2, "hi"))
	if err := c.WriteData(stuck, true, hi); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.closed()
	}()
	_ = c.WriteWindowUpdate(0, 1<<30) // an error is that the server has closed the connection
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for {
		select {
		case <-gone:
			return
		case <-limit:
			t.Fatal("the server keeps the connection")
		case <-tick.C:
			for _, stream := range busy {
				_ = c.WriteWindowUpdate(stream, 1000)
				_ = c.WriteData(stream, false, hi)
			}
		}
	}
}

// A stream that the server ends is not kept by a client that takes what is before
// its end a little at a time.
func TestAStreamThatIsCutIsNotReadSlowly(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 300 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, false, message(field(2, strings.Repeat("x", 4000)))); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteData(stream, false, message([]byte{0xff})); err != nil { // ends it with MESSAGE_INVALID
		t.Fatal(err)
	}
	if got, err := c.sip(stream, 50, 50*time.Millisecond, 4001); err == nil || err == io.EOF {
		t.Fatalf("the client has taken %d bytes in its own time: %v, want the connection closed", got, err)
	}
}

// Opening and resetting other streams is no progress.
func TestAStuckClientThatResetsOtherStreams(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 200 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, true, message([]byte{2<<3 | 2, 2, 'h', 'i'})); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.closed()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
			other := c.open(check, "")
			if c.WriteRSTStream(other, http2.ErrCodeCancel) != nil {
				<-gone
				return
			}
		}
	}
}
