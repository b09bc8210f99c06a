//go:build e2e

package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A relay is a TCP balancer: each connection goes to the next of the backends that
// takes it. It can reset all connections.
type relay struct {
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	backends []string
	turn     int
	conns    map[*net.TCPConn]struct{}
}

func newRelay(t *testing.T, backends ...string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: listener, backends: backends, conns: map[*net.TCPConn]struct{}{}}
	r.running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.carry(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.reset()
		r.running.Wait()
	})
	return r
}

func (r *relay) address() string { return r.listener.Addr().String() }

// reset cuts all connections in their middle.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

func (r *relay) carry(from *net.TCPConn) {
	to := r.backend()
	if to == nil {
		_ = from.Close()
		return
	}
	r.mu.Lock()
	r.conns[from], r.conns[to] = struct{}{}, struct{}{}
	r.mu.Unlock()
	var other sync.WaitGroup
	other.Go(func() { pass(to, from) })
	pass(from, to)
	other.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, from)
	delete(r.conns, to)
}

// pass carries one direction; its end is that of both.
func pass(to, from *net.TCPConn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}

// backend connects to the next one that is there; nil: none is.
func (r *relay) backend() *net.TCPConn {
	for range r.backends {
		r.mu.Lock()
		address := r.backends[r.turn%len(r.backends)]
		r.turn++
		r.mu.Unlock()
		if c, err := net.Dial("tcp", address); err == nil {
			return c.(*net.TCPConn)
		}
	}
	return nil
}
