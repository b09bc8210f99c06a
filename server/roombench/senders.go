package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// publishers publish to JetStream as a program does that knows no batches: each on a
// connection of its own, asynchronously.
func publishers(overTLS bool) func(context.Context, *town, settings, int) ([]sender, func() error, error) {
	return func(ctx context.Context, t *town, s settings, n int) ([]sender, func() error, error) {
		dir, err := os.MkdirTemp(s.dir, "plain-")
		if err != nil {
			return nil, nil, err
		}
		options := natsOptions(t)
		options.DontListen = !overTLS
		options.JetStream, options.JetStreamMaxStore, options.StoreDir, options.SyncAlways = true, 1<<40, dir, true
		v, err := startNATS(options)
		if err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(dir))
		}
		all := make([]sender, n)
		conns := make([]*nats.Conn, n)
		end := func() error {
			for _, conn := range conns {
				if conn != nil {
					conn.Close()
				}
			}
			return errors.Join(v.stop(), os.RemoveAll(dir))
		}
		for i := range all {
			to := nats.InProcessServer(v.nats)
			if overTLS {
				config, err := t.users[i%users].tls(t.roots)
				if err != nil {
					return nil, nil, errors.Join(err, end())
				}
				to = nats.Secure(config)
			}
			if conns[i], err = nats.Connect(v.address, to, nats.NoReconnect()); err == nil {
				all[i], err = publisher(ctx, conns[i], i)
			}
			if err != nil {
				return nil, nil, errors.Join(err, end())
			}
		}
		return all, end, nil
	}
}

// publisher publishes as much as a log stores of a message. The first makes the
// stream.
func publisher(ctx context.Context, conn *nats.Conn, number int) (sender, error) {
	api, err := jetstream.New(conn)
	if err != nil {
		return sender{}, err
	}
	if number == 0 {
		config := jetstream.StreamConfig{Name: "PLAIN", Subjects: []string{"plain.>"}, Storage: jetstream.FileStorage}
		if _, err := api.CreateStream(ctx, config); err != nil {
			return sender{}, err
		}
	}
	entry := room.Entry{User: "user0", ID: rand.Text(), Text: text, Time: time.Now()}
	record, err := room.AppendRecord(nil, &entry, 0)
	if err != nil {
		return sender{}, err
	}
	subject := fmt.Sprintf("plain.%d", number)
	return sender{say: func() (func() error, error) {
		future, err := api.PublishAsync(subject, record)
		if err != nil {
			return nil, err
		}
		return func() error {
			select {
			case <-future.Ok():
				return nil
			case err := <-future.Err():
				return err
			}
		}, nil
	}}, nil
}

// hubSenders are members of a hub on an embedded log, a room each.
func hubSenders(ctx context.Context, _ *town, s settings, n int) ([]sender, func() error, error) {
	log, remove, err := openLog(s, 0)
	if err != nil {
		return nil, nil, err
	}
	hub := room.New(room.Config{Log: log})
	end := func() error { return errors.Join(hub.Close(context.Background()), remove()) }
	all := make([]sender, n)
	for i := range all {
		member, err := hub.Join(ctx, room.Key(fmt.Sprintf("room-%d", i)), fmt.Sprintf("user%d", i), room.Position{})
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		all[i].say = speaking(ctx, member)
	}
	return all, end, nil
}

// speaking posts as the member, who must have a room for itself.
func speaking(ctx context.Context, member *room.Member) func() (func() error, error) {
	events := make([]room.Event, inFlight)
	acknowledged := 0
	stored := func() error {
		for acknowledged == 0 {
			taken, err := member.Next(ctx, events)
			if err != nil {
				return err
			}
			for _, e := range events[:taken] {
				if e.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
					acknowledged++
				}
			}
		}
		acknowledged--
		return nil
	}
	return func() (func() error, error) {
		return stored, member.Post(ctx, room.Posting{ID: rand.Text(), Text: text})
	}
}

// streamSenders are clients of the whole server, with a stream and a room each.
func streamSenders(ctx context.Context, t *town, s settings, n int) ([]sender, func() error, error) {
	v, err := durable(t, s)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	conns := make([]*grpc.ClientConn, min(users, n))
	end := func() error {
		cancel()
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
		return v.stop()
	}
	for i := range conns {
		if conns[i], err = t.users[i].dial(v.address, t.roots); err != nil {
			return nil, nil, errors.Join(err, end())
		}
	}
	all := make([]sender, n)
	for i := range all {
		stream, err := enter(ctx, conns[i%len(conns)], fmt.Sprintf("room-%d", i))
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		stored := func() error {
			_, err := stream.Recv() // alone in its room: an acknowledgement
			return err
		}
		all[i].say = func() (func() error, error) {
			return stored, stream.Send(&chatpb.ChatMessage{Id: rand.Text(), Message: text})
		}
	}
	return all, end, nil
}
