package client

import (
	"context"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"

	"securechat/auth/authtest"
	"securechat/server/room/roomtest"
)

// BenchmarkEcho is what one message costs both sides together, with 64 on their
// way at a time.
func BenchmarkEcho(b *testing.B) {
	realm := authtest.NewRealm(b)
	address := startServer(b, realm)
	user := realm.User("alice")
	for _, bench := range []struct {
		name   string
		change func(*Config)
	}{
		{"untraced", func(*Config) {}},
		{"unsampled", func(c *Config) { c.Tracing = trace.NewTracerProvider(trace.WithSampler(trace.NeverSample())) }},
		{"sampled", func(c *Config) { c.Tracing = trace.NewTracerProvider() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			stream := open(b, dial(b, user, address, bench.change))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.ReportAllocs()
			b.ResetTimer()
			sent := make(chan error, 1)
			slots := make(chan struct{}, 64)
			go func() {
				for range b.N {
					slots <- struct{}{}
					if err := stream.Send(ctx, "Hello, server!"); err != nil {
						sent <- err
						return
					}
				}
				sent <- stream.CloseSend()
			}()
			for _, err := range stream.Messages(ctx) {
				if err != nil {
					b.Fatal(err)
				}
				<-slots
			}
			must(b, <-sent)
		})
	}
}

// BenchmarkRoom is what one message of a room costs both sides together, from Send
// to its receipt, on a log in memory, with 64 on their way at a time and somebody
// else who reads them.
func BenchmarkRoom(b *testing.B) {
	realm := authtest.NewRealm(b)
	address := startServer(b, realm, withRooms(roomtest.NewMemory()))
	alice := join(b, dial(b, realm.User("alice", chatter), address), "ops")
	bob := join(b, dial(b, realm.User("bob", chatter), address), "ops")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var readers, senders sync.WaitGroup
	for _, room := range []*Room{alice, bob} {
		readers.Go(func() {
			for range b.N {
				if _, err := room.Receive(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range window {
		senders.Go(func() {
			for range (b.N + i) / window {
				if _, err := alice.Send(ctx, "Hello, everybody!"); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	readers.Wait()
}
