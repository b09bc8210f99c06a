package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"securechat/server/internal/measure"
)

// A way is one that a message can take to many.
type way struct {
	name string
	open func(*town, settings) (*venue, error)
}

const (
	shared = "rooms, log in memory"
	anew   = "bare hub, encoded anew"
)

// ways are compared with the first and with the last.
var ways = []way{
	{"NATS, core subscribers", natsOverTLS},
	{"rooms, durable log", durable},
	{shared, inMemory},
	{"bare hub, one shared frame", sendingBy(sharedFrame)},
	{"bare hub, PreparedMsg", sendingBy(preparedOnce)},
	{anew, sendingBy(encodedAnew)},
}

// fanOut measures the processor time that servers spend on one delivery, the
// receipt and the storing of the message included. Their clients are in another
// process.
func fanOut(ctx context.Context, s settings, out io.Writer) error {
	t, err := newTown()
	if err != nil {
		return err
	}
	ways := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return !strings.Contains(w.name, s.only) })
	if len(ways) == 0 {
		return fmt.Errorf("no way has %q in its name", s.only)
	}
	rows := [][]string{{"members", "connections", "way", "CPU ns", "against first", "spread", "against last", "spread"}}
	for _, members := range s.members {
		for _, connections := range []int{users, members} {
			if connections == users && members == users && len(rows) > 1 {
				continue
			}
			took := make([]measure.Figures, len(ways))
			for range s.rounds {
				for i, w := range ways {
					cost, err := w.delivery(ctx, t, s, members, connections)
					if err != nil {
						return fmt.Errorf("%s, %d members: %w", w.name, members, err)
					}
					took[i] = append(took[i], cost.cpu)
				}
			}
			for i, w := range ways {
				row := []string{fmt.Sprint(members), fmt.Sprint(connections), w.name, fmt.Sprintf("%.0f", took[i].Median())}
				rows = append(rows, append(append(row, show(took[i].Over(took[0]))...), show(took[i].Over(took[len(ways)-1]))...))
			}
		}
	}
	return table(out, fmt.Sprintf("Fan-out: processor time of the server a delivery, over mutual TLS; window %d; clients in a process of their own", s.window), rows)
}

// cost is what this process has spent on one delivery: processor time in
// nanoseconds, and allocations.
type cost struct{ cpu, allocations float64 }

func (w way) delivery(ctx context.Context, t *town, s settings, members, connections int) (one cost, err error) {
	v, err := w.open(t, s)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, v.stop()) }()
	c, err := hire(ctx, job{
		NATS: v.nats != nil, Address: v.address, Roots: t.roots, Users: t.users,
		Members: members, Connections: connections, Window: s.window,
	})
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, c.dismiss()) }()
	if err := c.say(4 * s.window); err != nil { // warm
		return cost{}, err
	}
	messages := max(s.deliveries/members, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := measure.CPU()
	if err := c.say(messages); err != nil {
		return cost{}, err
	}
	cpu = measure.CPU() - cpu
	runtime.ReadMemStats(&after)
	deliveries := float64(messages * members)
	return cost{cpu: float64(cpu) / deliveries, allocations: float64(after.Mallocs-before.Mallocs) / deliveries}, nil
}
