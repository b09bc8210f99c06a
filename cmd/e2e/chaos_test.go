//go:build e2e

package e2e

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// chaosFull and chaosSeed are flags of the test binary.
var (
	chaosFull bool
	chaosSeed uint64
)

func registerChaosFlags() {
	flag.BoolVar(&chaosFull, "chaos.full", false, "break things as often as it takes to find what is rare")
	flag.Uint64Var(&chaosSeed, "chaos.seed", 0, "repeat the random choices of an earlier run; 0: new ones")
}

// A chaos is one run of tests that break things: the programs, built once, and
// where its random choices come from.
type chaos struct {
	chatd, chat, nats string
	random            *rand.Rand // of the test's own goroutine
}

// times is how often something is broken: a few times, or with -chaos.full many.
func (c *chaos) times(few, many int) int {
	if chaosFull {
		return many
	}
	return few
}

// source makes random choices for another goroutine.
func (c *chaos) source() *rand.Rand { return rand.New(rand.NewPCG(c.random.Uint64(), 0)) }

// TestChaos breaks what rooms stand on while people talk in them, and checks what
// each of them was told.
func TestChaos(t *testing.T) {
	seed := chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-chaos.seed %d", seed)
	root := filepath.Join("..", "..")
	c := &chaos{
		chatd:  build(t, root, "./cmd/chatd"),
		chat:   build(t, root, "./cmd/chat"),
		nats:   build(t, root, "github.com/nats-io/nats-server/v2"),
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	for _, part := range []struct {
		name string
		test func(*chaos, *testing.T)
	}{
		{"Kill", (*chaos).kill},
		{"Reconnect", (*chaos).reconnect},
		{"Dev", (*chaos).dev},
		{"FullDisk", (*chaos).fullDisk},
		{"Power", (*chaos).power},
		{"FailingDisk", (*chaos).failingDisks},
		{"ClientNetwork", (*chaos).clientNetwork},
		{"LogNetwork", (*chaos).logNetwork},
		{"SlowMember", (*chaos).slowMember},
		{"SlowMembers", (*chaos).slowMembers},
		{"Cluster", (*chaos).cluster},
		{"KilledNodesUsers", (*chaos).killedNodesUsers},
		{"OneTrace", (*chaos).oneTrace},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(c, t) })
	}
}
