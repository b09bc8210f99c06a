package jetstream_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"securechat/server/room"
)

// publisher publishes to JetStream as a program would that knows no batches, with
// one sync a message.
type publisher struct {
	api    js.JetStream
	record []byte
}

func newPublisher(b *testing.B) *publisher {
	s, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, JetStreamMaxStore: 1 << 40,
		StoreDir: b.TempDir(), SyncAlways: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(readyWithin) {
		b.Fatal("the server does not start")
	}
	nc, err := natsgo.Connect("", natsgo.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	api, err := js.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	_, err = api.CreateStream(b.Context(), js.StreamConfig{Name: "PLAIN", Subjects: []string{"plain.>"}, Storage: js.FileStorage})
	if err != nil {
		b.Fatal(err)
	}
	draft := benchDraft("ops", 0)
	record, err := room.AppendRecord(nil, &draft.Entry, 0)
	if err != nil {
		b.Fatal(err)
	}
	return &publisher{api: api, record: record}
}

func (p *publisher) publish(ctx context.Context, n int) error {
	_, err := p.api.Publish(ctx, fmt.Sprintf("plain.room-%d", n), p.record)
	return err
}
