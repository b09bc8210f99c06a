package jetstream_test

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between a log and its server. It can keep from either what the other
// says, and cut the connections.
type proxy struct {
	t      testing.TB
	target string
	listen net.Listener
	done   chan struct{} // closed when the test ends
	all    sync.WaitGroup

	mu           sync.Mutex
	conns        []net.Conn
	deafToClient bool // what clients say is lost
	deafToServer bool // what the server says is lost
	lost         int  // bytes
	stalled      bool // what clients say is not read
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: target, listen: l, done: make(chan struct{})}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		close(p.done)
		p.cut()
		p.all.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listen.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.all.Go(func() { p.pass(client, server, &p.deafToClient) })
		p.all.Go(func() { p.pass(server, client, &p.deafToServer) })
	}
}

func (p *proxy) pass(from, to net.Conn, deaf *bool) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.stalled && deaf == &p.deafToClient {
			p.mu.Unlock()
			<-p.done
			return
		}
		lost := *deaf
		if lost {
			p.lost += n
		}
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// lose makes the proxy lose what clients or the server say from now on.
func (p *proxy) lose(clients, server bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deafToClient, p.deafToServer, p.lost = clients, server, 0
}

// stall has the proxy read nothing more of what clients say on its connections.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// haveLost says whether something has been lost since lose was called.
func (p *proxy) haveLost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost > 0
}

// cut ends all connections and lets new ones through whole.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deafToClient, p.deafToServer = false, false
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}
