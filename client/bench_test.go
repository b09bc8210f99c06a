package client

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"

	"securechat/auth/authtest"
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
