package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// paging returns a stream whose server hands the test each question for a page.
func paging(t *testing.T, answer time.Duration) (*stream, <-chan *nats.Msg) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	s := newStream(localNames, answer)
	connect := func() *nats.Conn {
		nc, err := nats.Connect("", nats.InProcessServer(srv), nats.Timeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	questions := make(chan *nats.Msg, 4*atOnce)
	answering := connect()
	if _, err := answering.ChanSubscribe("$JS.API.DIRECT.GET."+localNames.stream, questions); err != nil {
		t.Fatal(err)
	}
	if err := answering.Flush(); err != nil {
		t.Fatal(err)
	}
	s.reads, s.asks = connect(), connect()
	t.Cleanup(s.close)
	return s, questions
}

// askAndGo asks for a page, goes away before it has come, and returns the question.
func askAndGo(t *testing.T, s *stream, questions <-chan *nats.Msg) *nats.Msg {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, _, err := s.read(ctx, "ops", 0, 10)
		gone <- err
	}()
	question := <-questions
	cancel()
	if err := <-gone; err == nil {
		t.Error("who has gone got a page")
	}
	return question
}

// ended answers that there are no messages.
func ended(t *testing.T, question *nats.Msg) {
	t.Helper()
	if err := question.RespondMsg(&nats.Msg{Header: nats.Header{headerStatus: {statusNone}}}); err != nil {
		t.Fatal(err)
	}
}

// Who asks for pages and goes away has no more of them read at a time than who waits.
func TestPagesThatNobodyWaitsForHaveTheirTurn(t *testing.T) {
	s, questions := paging(t, time.Minute)
	first := askAndGo(t, s, questions)
	for range atOnce - 1 {
		askAndGo(t, s, questions)
	}
	answered := make(chan error)
	go func() {
		_, _, err := s.read(t.Context(), "ops", 0, 10)
		answered <- err
	}()
	for len(s.turnsWaiting()) == 0 {
		select {
		case <-questions:
			t.Fatal("one more is asked for than may be")
		case <-time.After(time.Millisecond):
		}
	}
	ended(t, first)
	ended(t, <-questions)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func (s *stream) turnsWaiting() []chan struct{} {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	for _, waiting := range s.turns.waiting {
		return waiting
	}
	return nil
}

// A question that nobody waits for any more takes nobody's turn, and is forgotten at
// once: nothing bounds how many there are.
func TestNothingWaitsForQuestionsThatNobodyWaitsFor(t *testing.T) {
	s, questions := paging(t, time.Minute)
	for range atOnce {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _, _ = s.read(ctx, "ops", 0, 1)
		}()
		<-questions
		cancel()
		<-gone
	}
	if waiting := s.asks.NumSubscriptions(); waiting > 0 {
		t.Errorf("%d answers are waited for, by nobody", waiting)
	}
}

// A page that nobody waits for gives its turn back when its answer does not come in
// the time that it has.
func TestAPageThatNobodyWaitsForHasItsTime(t *testing.T) {
	s, questions := paging(t, 100*time.Millisecond)
	for range 2 * atOnce {
		askAndGo(t, s, questions)
	}
}

// The end of the connections is that of what nobody waits for.
func TestCloseEndsPagesThatNobodyWaitsFor(t *testing.T) {
	s, questions := paging(t, time.Hour)
	askAndGo(t, s, questions)
	s.close()
	if free := s.turns.free; free != atOnce {
		t.Errorf("%d of %d turns are free", free, atOnce)
	}
	if _, _, err := s.read(t.Context(), "ops", 0, 10); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("a page of what is closed: %v", err)
	}
}
