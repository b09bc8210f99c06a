//go:build unix

package room_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// One sender, whose messages go to members that do nothing with them: the hub's
// own cost of a delivery, in time and in processor time.
func BenchmarkFanOut(b *testing.B) {
	for _, members := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			hub := newHub(b, room.Config{Log: roomtest.NewMemory(), Queue: 1 << 13, QueueBytes: 64 << 20})
			ctx, cancel := context.WithCancel(context.Background())
			var readers sync.WaitGroup
			for i := range members {
				m, err := hub.Join(ctx, "ops", fmt.Sprint("member", i), live)
				if err != nil {
					b.Fatal(err)
				}
				readers.Go(func() {
					defer m.Leave()
					events := make([]room.Event, 8)
					for {
						if _, err := m.Next(ctx, events); err != nil {
							if ctx.Err() == nil {
								b.Error(err)
							}
							return
						}
					}
				})
			}
			sender := joinLive(b, hub, "ops", "sender")
			b.ReportAllocs()
			cpu := processorTime()
			b.ResetTimer()
			for range b.N {
				sender.post("", "hello, this is a message of ordinary length for a chat")
				sender.wantAck()
			}
			b.StopTimer()
			deliveries := float64(b.N * members)
			b.ReportMetric(float64(processorTime()-cpu)/deliveries, "cpu-ns/delivery")
			b.ReportMetric(float64(b.Elapsed())/deliveries, "ns/delivery")
			cancel()
			readers.Wait()
		})
	}
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Many senders, each in a room of its own with all the messages under way that
// a member may have: on memory, which is the hub's own cost, and on the embedded
// log, which syncs before each acknowledgement.
func BenchmarkPosts(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkPosts(b, roomtest.NewMemory()) })
	b.Run("embedded", func(b *testing.B) {
		log := openEmbedded(b, filepath.Join(b.TempDir(), "log"))
		b.Cleanup(func() {
			if err := log.Close(); err != nil {
				b.Error(err)
			}
		})
		benchmarkPosts(b, log)
	})
}

func benchmarkPosts(b *testing.B, log room.Log) {
	const senders = 64
	hub := newHub(b, room.Config{Log: log})
	b.ResetTimer()
	var tasks sync.WaitGroup
	for i := range senders {
		m, err := hub.Join(b.Context(), room.Key(fmt.Sprint("room", i)), "alice", live)
		if err != nil {
			b.Fatal(err)
		}
		defer m.Leave()
		tasks.Go(func() {
			tasks.Go(func() {
				for range b.N/senders + 1 {
					if err := m.Post(context.Background(), room.Posting{Text: "hello"}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			events := make([]room.Event, 16)
			for acknowledged := 0; acknowledged < b.N/senders+1; {
				n, err := m.Next(context.Background(), events)
				if err != nil {
					b.Error(err)
					return
				}
				for _, e := range events[:n] {
					if e.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
						acknowledged++
					}
				}
			}
		})
	}
	tasks.Wait()
	stats := hub.Stats()
	b.ReportMetric(float64(stats.Posts)/float64(max(stats.Appends, 1)), "messages/append")
}

// What a room costs in which nothing happens, and a member who waits in one.
func BenchmarkIdle(b *testing.B) {
	b.Run("room", func(b *testing.B) {
		hub := newHub(b, room.Config{Log: roomtest.NewMemory()})
		before := settledHeap()
		for i := range b.N {
			m, err := hub.Join(b.Context(), room.Key(fmt.Sprint("room", i)), "alice", live)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Leave()
		}
		b.ReportMetric((settledHeap()-before)/float64(b.N), "B/room+member")
	})
	b.Run("member", func(b *testing.B) {
		hub := newHub(b, room.Config{Log: roomtest.NewMemory()})
		before := settledHeap()
		members := make([]*room.Member, b.N)
		for i := range members {
			m, err := hub.Join(b.Context(), "ops", "alice", live)
			if err != nil {
				b.Fatal(err)
			}
			members[i] = m
		}
		b.ReportMetric((settledHeap()-before)/float64(b.N), "B/member")
		goroutines := runtime.NumGoroutine()
		b.ReportMetric(float64(goroutines)/float64(b.N), "goroutines/member")
		for _, m := range members {
			m.Leave()
		}
	})
}

func settledHeap() float64 {
	runtime.GC()
	runtime.GC()
	return float64(heap())
}
