package roomtest

import (
	"sync"

	"securechat/server/room"
)

// feedLength bounds what waits for one subscriber. What is too much is lost, as
// with a messaging system.
const feedLength = 1024

// A feed is a subscriber's goroutine and what waits for it.
type feed[T any] struct {
	waiting chan T
	done    chan struct{}
	owner   sync.WaitGroup
}

// give hands a value over, or loses it.
func (f *feed[T]) give(value T) {
	select {
	case f.waiting <- value:
	default:
	}
}

func (f *feed[T]) run(each func(T)) {
	for {
		select {
		case <-f.done:
			return
		case value := <-f.waiting:
			each(value)
		}
	}
}

// subscribe makes a feed for what concerns the room. Stop must not be called by
// each.
func subscribe[T any](n *Node, feeds map[*feed[T]]room.Key, key room.Key, each func(T)) (stop func(), err error) {
	if err := n.err(); err != nil {
		return nil, err
	}
	f := &feed[T]{waiting: make(chan T, feedLength), done: make(chan struct{})}
	f.owner.Go(func() { f.run(each) })
	mu := &n.cluster.mu
	mu.Lock()
	defer mu.Unlock()
	feeds[f] = key
	return sync.OnceFunc(func() {
		mu.Lock()
		delete(feeds, f)
		mu.Unlock()
		close(f.done)
		f.owner.Wait()
	}), nil
}
