//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A network is a TCP proxy that does to connections what networks do.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newNetwork(t *testing.T, to string) *network {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t, proxy: toxiproxy.NewProxy(server, "network", "127.0.0.1:0", to)}
	must(t, n.proxy.Start())
	t.Cleanup(func() {
		n.heal()
		n.proxy.Stop()
	})
	return n
}

func (n *network) address() string { return n.proxy.Listen }

// spoil does something to all connections that are there and that come, in both
// directions unless one is named.
func (n *network) spoil(f fault) {
	n.t.Helper()
	directions := []string{"upstream", "downstream"}
	if f.direction != "" {
		directions = []string{f.direction}
	}
	for _, direction := range directions {
		toxic, err := json.Marshal(map[string]any{"type": f.kind, "stream": direction, "attributes": f.attributes})
		must(n.t, err)
		_, err = n.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
		must(n.t, err)
	}
}

func (n *network) heal() { n.proxy.Toxics.ResetToxics(context.Background()) }

// A fault is what is wrong with a network. With some of them messages still get
// through, sooner or later.
type fault struct {
	name, kind, direction string
	attributes            map[string]int
	passable              bool
}

var faults = []fault{
	{name: "latency", kind: "latency", attributes: map[string]int{"latency": 100, "jitter": 80}, passable: true},
	{name: "little bandwidth", kind: "bandwidth", attributes: map[string]int{"rate": 100}, passable: true}, // KB/s
	{name: "small pieces", kind: "slicer", attributes: map[string]int{"average_size": 50, "size_variation": 40, "delay": 50}, passable: true},
	{name: "connections that end after a while", kind: "limit_data", direction: "downstream", attributes: map[string]int{"bytes": 100_000}, passable: true},
	{name: "resets", kind: "reset_peer", attributes: map[string]int{"timeout": 50}},
	{name: "half-open", kind: "timeout", attributes: map[string]int{"timeout": 0}},
	{name: "half-open to the server", kind: "timeout", direction: "upstream", attributes: map[string]int{"timeout": 0}},
	{name: "half-open from the server", kind: "timeout", direction: "downstream", attributes: map[string]int{"timeout": 0}},
	{name: "slow to close", kind: "slow_close", attributes: map[string]int{"delay": 500}, passable: true},
}

// endure spoils the network with each fault in turn. Behind it are those whose
// acknowledgements are counted; before it, others who go on. While nothing can
// pass, these say so many messages.
func (c *chaos) endure(t *testing.T, talk *conversation, n *network, behind, before *atomic.Int64, meanwhile int64, also func(fault)) {
	for _, i := range c.random.Perm(len(faults)) {
		f := faults[i]
		had := behind.Load()
		n.spoil(f)
		also(f)
		if f.passable {
			talk.until(f.name+": messages that pass", behind, had+40)
		} else {
			talk.until(f.name+": messages elsewhere", before, before.Load()+meanwhile)
		}
		n.heal()
		talk.until("after "+f.name, behind, behind.Load()+40)
		talk.until("elsewhere after "+f.name, before, before.Load()+10)
	}
}

// clientNetwork spoils the network between clients and the server.
func (c *chaos) clientNetwork(t *testing.T) {
	rounds := c.times(1, 10)
	w := newTown(t)
	n := c.node(w, nil, "--data", w.path("rooms"))
	between := newNetwork(t, n.listen)
	talk := converse(t, stretch(rounds*len(faults)))
	talk.burst = 1 // so that what passes is enough for what is said
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	behind := talk.speak(alice.dial(between.address()), "alice", "ops")
	before := talk.speak(bob.dial(n.listen), "bob", "ops")
	talk.listen(alice.dial(between.address()), "alice", "ops")
	talk.listen(bob.dial(n.listen), "bob", "ops")
	talk.wander(carol.raw(between.address()), "carol", "ops", 50, c.source())
	for range rounds {
		c.endure(t, talk, between, behind, before, 100, func(f fault) {
			if f.kind == "slow_close" { // and something to close
				n.kill()
				n.start()
			}
		})
	}
	// Nobody tells either side: each finds out for itself that the other is gone.
	lost := talk.breaks.Load()
	between.spoil(fault{kind: "timeout", attributes: map[string]int{"timeout": 0}})
	if chaosFull {
		talk.until("a lost connection is noticed", &talk.lost, talk.lost.Load()+1)
	}
	between.heal()
	talk.until("connections after the last", &talk.breaks, lost+1)
	talk.end(carol.dial(n.listen))
}

// logNetwork spoils the network between one of two servers and the NATS server
// that keeps their rooms.
func (c *chaos) logNetwork(t *testing.T) {
	rounds := c.times(1, 10)
	w := newTown(t)
	keeper := c.startNATS(t, 1)
	between := newNetwork(t, keeper.addresses[0])
	first := c.node(w, nil, "--nats", "nats://"+between.address())
	second := c.node(w, nil, "--nats", keeper.urls())
	talk := converse(t, stretch(rounds*len(faults)))
	talk.burst = 1 // so that what passes is enough for what is said
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	behind := talk.speak(alice.dial(first.listen), "alice", "ops")
	before := talk.speak(bob.dial(second.listen), "bob", "elsewhere")
	// A server that wants to store in a room has to have heard what others stored
	// there: with a slow network it needs a pause of theirs.
	talk.speakEvery(time.Second, bob.dial(second.listen), "bob", "ops")
	for _, room := range []string{"ops", "elsewhere"} {
		talk.listen(alice.dial(first.listen), "alice", room)
		talk.listen(bob.dial(second.listen), "bob", room)
		talk.wander(carol.raw(first.listen), "carol", room, 0, nil)
	}
	for range rounds {
		c.endure(t, talk, between, behind, before, int64(c.times(100, 1500)), func(fault) {})
	}
	talk.end(carol.dial(second.listen))
}
