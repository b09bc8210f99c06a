//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"securechat/client"
	"securechat/cmd/internal/telemetry/telemetrytest"
)

const (
	clusterNodes = 3
	// presenceLimit is by when a killed node's users are gone.
	presenceLimit = 15 * time.Second
)

// nodes starts servers that share a NATS cluster of as many. Each has variables of
// its own in its environment.
func (c *chaos) nodes(t *testing.T, w *town, env func(i int) []string) (*natsServers, []*node) {
	t.Helper()
	keepers := c.startNATS(t, clusterNodes)
	var nodes []*node
	for i := range clusterNodes {
		nodes = append(nodes, c.node(w, env(i), "--nats", keepers.urls(), "--nats-replicas", fmt.Sprint(clusterNodes)))
	}
	return keepers, nodes
}

func bare(int) []string { return nil }

// cluster kills servers, and those that keep their rooms, under people in rooms
// that span them.
func (c *chaos) cluster(t *testing.T) {
	kills := c.times(2, 25)
	w := newTown(t)
	keepers, nodes := c.nodes(t, w, bare)
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.listen)
	}
	balanced := newRelay(t, addresses...)
	talk := converse(t, stretch(4*kills))
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	for i, room := range []string{"ops", "lobby"} {
		talk.speak(alice.dial(balanced.address()), "alice-in-"+room, room)
		talk.speak(bob.dial(nodes[i].listen), "bob-in-"+room, room)
		talk.listen(alice.dial(balanced.address()), "alice-in-"+room, room)
		talk.listen(bob.dial(nodes[i+1].listen), "bob-in-"+room, room)
		talk.wander(carol.raw(balanced.address()), "carol-in-"+room, room, 0, nil)
	}
	var election []time.Duration
	for i := range kills {
		talk.more(50 + c.random.IntN(200))
		n := nodes[c.random.IntN(clusterNodes)]
		n.kill()
		talk.more(50)
		n.start()

		talk.more(50 + c.random.IntN(200))
		victim := keepers.healed()
		if i%2 == 1 {
			victim = c.random.IntN(clusterNodes)
		}
		keepers.kill(victim)
		killed := time.Now()
		talk.more(50)
		election = append(election, time.Since(killed))
		keepers.start(victim)
		keepers.healed()
	}
	talk.more(100)
	talk.end(carol.dial(balanced.address()))
	slices.Sort(election)
	t.Logf("%d kills of a server and of a NATS server; 50 messages after the latter took %v, at most %v", kills, election[kills/2], election[kills-1])
}

// killedNodesUsers has those who are at a node learn of the users of another one
// that is killed.
func (c *chaos) killedNodesUsers(t *testing.T) {
	w := newTown(t)
	_, nodes := c.nodes(t, w, bare)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	alice, bob := w.user("alice").dial(nodes[0].listen), w.user("bob").dial(nodes[1].listen)
	watching, err := bob.Join(ctx, "ops")
	must(t, err)
	defer watching.Close()
	doomed, err := alice.Join(ctx, "ops")
	must(t, err)
	defer doomed.Close()
	carol := w.user("carol").dial(nodes[2].listen)
	present := func(want ...string) error {
		for _, from := range []*client.Conn{bob, carol} {
			members, err := from.Members(ctx, "ops")
			if err != nil {
				return err
			}
			var names []string
			for _, m := range members {
				names = append(names, m.User)
			}
			slices.Sort(names)
			if !slices.Equal(names, want) {
				return fmt.Errorf("in the room are %q, want %q", names, want)
			}
		}
		return nil
	}
	eventually(t, "both are there for all", func() error { return present("alice", "bob") })
	nodes[0].kill()
	killed := time.Now()
	for event, err := range watching.Events(ctx) {
		must(t, err)
		if left, ok := event.(client.Left); ok && left.User == "alice" {
			break
		}
	}
	told := time.Since(killed)
	eventually(t, "alice is gone for all", func() error { return present("bob") })
	if gone := time.Since(killed); told > presenceLimit || gone > presenceLimit {
		t.Errorf("alice left %v after her node was killed, and was listed no more after %v; want %v", told, gone, presenceLimit)
	}
	t.Logf("told after %v", told)
}

// oneTrace sends a message from a program at one node to a program at another: one
// trace over four processes.
func (c *chaos) oneTrace(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	traced := func(instance string) []string {
		return []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + sink.URL(), "OTEL_BSP_SCHEDULE_DELAY=50", // milliseconds
			"OTEL_RESOURCE_ATTRIBUTES=service.instance.id=" + instance,
		}
	}
	w := newTown(t)
	_, nodes := c.nodes(t, w, func(i int) []string { return traced(fmt.Sprint("node", i)) })
	alice, bob := w.user("alice"), w.user("bob")
	hearing := run(t, append(bob.environment(nodes[1].listen), traced("bob")...), c.chat, "tail", "--json", "ops")
	asking := bob.dial(nodes[1].listen)
	eventually(t, "bob is in the room, so that what is said is delivered to him and not replayed", func() error {
		members, err := asking.Members(t.Context(), "ops")
		if err == nil && len(members) != 1 {
			err = fmt.Errorf("in the room are %v", members)
		}
		return err
	})
	saying := run(t, append(alice.environment(nodes[0].listen), traced("alice")...), c.chat, "send", "ops", "Hello, bob!")
	if code := saying.wait(); code != 0 {
		t.Fatalf("chat send: exit code %d", code)
	}
	hearing.line(hearing.stdout, `{"room":"ops"`)
	steps := []step{
		{"alice", "send", ""}, {"node0", "process", "send"}, {"node0", "store", "process"},
		{"node1", "deliver", "store"}, {"bob", "receive", "deliver"},
	}
	eventually(t, "the message's trace", func() error { return inOneTrace(sink.Spans(), steps) })
}

// A step of a message's way is a span of a process, below another of the trace.
type step struct{ instance, name, below string }

// inOneTrace wants the steps in the trace in which the first is.
func inOneTrace(spans []telemetrytest.Span, steps []step) error {
	found := map[string]telemetrytest.Span{}
	for _, step := range steps {
		for _, s := range telemetrytest.Named(spans, step.name) {
			if s.Resource["service.instance.id"] == step.instance && (step.below == "" || s.ParentID == found[step.below].SpanID) {
				found[step.name] = s
			}
		}
		s, ok := found[step.name]
		if !ok || s.TraceID != found[steps[0].name].TraceID {
			return fmt.Errorf("there is no span %s of %s below %s", step.name, step.instance, step.below)
		}
	}
	return nil
}
