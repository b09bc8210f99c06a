package jetstream

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"securechat/server/room"
)

const (
	// waitingMessages and waitingBytes bound what waits for one subscriber, who
	// misses what is too much.
	waitingMessages = 1024
	waitingBytes    = 4 << 20
	// inEffectWithin is how long subscribing waits for the server to know of it.
	inEffectWithin = 2 * time.Second
)

// Follow implements room.Cluster by what the stream sends on. That may run ahead
// of the acknowledgement to the node that appends. Stop must not be called by each.
func (l *Shared) Follow(key room.Key, each func(room.Entry)) (stop func(), err error) {
	subject := l.stream.names.log(key)
	return l.subscribe(l.stream.names.live(key), func(m *nats.Msg) {
		// One that can't be read is a gap, which the log fills or explains.
		if e, err := l.stream.entry(m, subject, key); err == nil {
			each(e)
		}
	})
}

// Publish implements room.Cluster.
func (l *Shared) Publish(key room.Key, note []byte) error {
	if err := l.stream.asks.Publish(l.stream.names.note(key), note); err != nil {
		return unavailable("publish a note", err)
	}
	return nil
}

// Listen implements room.Cluster. Stop must not be called by each.
func (l *Shared) Listen(key room.Key, each func(note []byte)) (stop func(), err error) {
	return l.subscribe(l.stream.names.note(key), func(m *nats.Msg) { each(m.Data) })
}

// Reconnected implements room.Cluster. It also gives a value when a subscriber has
// been too slow and has missed something.
func (l *Shared) Reconnected() <-chan struct{} { return l.reconnected }

func (l *Shared) missed() {
	select {
	case l.reconnected <- struct{}{}:
	default: // one value stands for several
	}
}

// subscribe returns once the server that this node is connected to knows of the
// subscription, or, where there is no connection now, as soon as that is clear.
func (l *Shared) subscribe(subject string, each nats.MsgHandler) (stop func(), err error) {
	nc := l.stream.asks
	sub, err := nc.Subscribe(subject, each)
	if err != nil {
		return nil, unavailable("subscribe", err)
	}
	ended := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(ended) })
	if err := sub.SetPendingLimits(waitingMessages, waitingBytes); err != nil {
		return nil, unavailable("subscribe", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), inEffectWithin)
	defer cancel()
	if nc.IsConnected() {
		_ = nc.FlushWithContext(ctx) // subscribed again when the connection is
	}
	return sync.OnceFunc(func() {
		_ = sub.Unsubscribe() // fails only if it has ended
		<-ended
	}), nil
}
