package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// A crowd is idle members of one kind.
type crowd struct {
	name string
	// gather brings so many members there.
	gather func(ctx context.Context, members int) (leave func() error, err error)
}

// memory measures what this process holds for rooms and members in which nothing
// happens, in the heap and on stacks: what is left with them over what is left
// without them.
func memory(ctx context.Context, s settings, out io.Writer) (err error) {
	t, err := newTown()
	if err != nil {
		return err
	}
	v, err := inMemory(t, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.stop()) }()
	streams := func(connections int, apart bool) func(context.Context, int) (func() error, error) {
		return func(ctx context.Context, members int) (func() error, error) {
			c, err := hire(ctx, job{
				Address: v.address, Roots: t.roots, Users: t.users, Members: members,
				Connections: min(connections, members), Window: 1, Apart: apart,
			})
			if err != nil {
				return nil, err
			}
			return c.dismiss, nil
		}
	}
	crowds := []crowd{
		{"hub: a member, all in one room", atHub(false)},
		{"hub: a member and a room for it", atHub(true)},
		{fmt.Sprintf("server: a stream, all in one room, %d connections", users), streams(users, false)},
		{fmt.Sprintf("server: a stream and a room for it, %d connections", users), streams(users, true)},
		{"server: a stream and a connection for it, all in one room", streams(s.idle, false)},
	}
	rows := [][]string{{"", "bytes", "goroutines"}}
	for _, one := range crowds {
		bytes, goroutines, err := one.weigh(ctx, s.idle)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		rows = append(rows, []string{one.name, fmt.Sprintf("%.0f", bytes), fmt.Sprintf("%.1f", goroutines)})
	}
	return table(out, fmt.Sprintf("Memory of what is idle, of %d each; clients in a process of their own", s.idle), rows)
}

// weigh is what each of so many members takes.
func (c crowd) weigh(ctx context.Context, members int) (bytes, goroutines float64, err error) {
	leave, err := c.gather(ctx, min(members, users)) // what the first need is not theirs
	if err != nil {
		return 0, 0, err
	}
	if err := leave(); err != nil {
		return 0, 0, err
	}
	before, running := held(), runtime.NumGoroutine()
	leave, err = c.gather(ctx, members)
	if err != nil {
		return 0, 0, err
	}
	each := float64(members)
	bytes, goroutines = (held()-before)/each, float64(runtime.NumGoroutine()-running)/each
	return bytes, goroutines, leave()
}

func held() float64 {
	runtime.GC()
	runtime.GC() // the first only empties pools to where the second finds them
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc + stats.StackInuse)
}

// atHub gathers members at a hub of their own.
func atHub(apart bool) func(context.Context, int) (func() error, error) {
	return func(ctx context.Context, members int) (func() error, error) {
		hub := room.New(room.Config{Log: roomtest.NewMemory()})
		all := make([]*room.Member, members)
		for i := range all {
			key := room.Key(roomName)
			if apart {
				key = room.Key(fmt.Sprintf("%s-%d", roomName, i))
			}
			var err error
			if all[i], err = hub.Join(ctx, key, fmt.Sprintf("user%d", i%users), room.Position{}); err != nil {
				return nil, errors.Join(err, hub.Close(ctx))
			}
		}
		return func() error {
			for _, m := range all {
				m.Leave()
			}
			return hub.Close(ctx)
		}, nil
	}
}
