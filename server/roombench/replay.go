package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/internal/measure"
	"securechat/server/room"
	"securechat/server/room/jetstream"
)

// page is how many entries are read from the log, or appended to it, at a time.
const page = 512

// replay measures how fast one member is given what was said before it came.
func replay(ctx context.Context, s settings, out io.Writer) (err error) {
	t, err := newTown()
	if err != nil {
		return err
	}
	log, remove, err := openLog(s, time.Minute) // what is read need not have been synced
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := fill(ctx, log, s.replayed); err != nil {
		return err
	}
	v, err := serveRooms(t, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.stop()) }()
	readers := []struct {
		name string
		read func() error
	}{
		{"log, page by page", func() error { return readLog(ctx, log, s.replayed) }},
		{"whole server over mutual TLS, client in the same process", func() error { return readStream(ctx, t, v, s.replayed) }},
	}
	perSecond := make([]measure.Figures, len(readers))
	for range s.rounds {
		for i, r := range readers {
			began := time.Now()
			if err := r.read(); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			perSecond[i] = append(perSecond[i], float64(s.replayed)/time.Since(began).Seconds())
		}
	}
	rows := [][]string{{"", "messages/s", "slowest", "fastest"}}
	for i, r := range readers {
		rows = append(rows, []string{r.name, fmt.Sprintf("%.0f", perSecond[i].Median()),
			fmt.Sprintf("%.0f", perSecond[i].At(0)), fmt.Sprintf("%.0f", perSecond[i].At(1))})
	}
	return table(out, fmt.Sprintf("Replay of a room of %d messages to one reader", s.replayed), rows)
}

// fill appends so many messages to a room.
func fill(ctx context.Context, log room.Log, messages int) error {
	var last uint64
	for left := messages; left > 0; left -= page {
		drafts := make([]room.Draft, min(left, page))
		for i := range drafts {
			drafts[i] = room.Draft{Expected: last, Entry: room.Entry{Room: roomName, User: "user1", Text: text, Time: time.Now()}}
		}
		first, err := log.Append(ctx, drafts)
		if err != nil {
			return err
		}
		last = first + uint64(len(drafts)) - 1
	}
	return nil
}

var errIncomplete = errors.New("the replay is not complete")

func readLog(ctx context.Context, log *jetstream.Local, messages int) error {
	var after uint64
	for more := true; more; {
		var entries []room.Entry
		var err error
		if entries, more, err = log.Read(ctx, roomName, after, page); err != nil {
			return err
		}
		messages -= len(entries)
		after = entries[len(entries)-1].Sequence
	}
	if messages != 0 {
		return errIncomplete
	}
	return nil
}

func readStream(ctx context.Context, t *town, v *venue, messages int) error {
	conn, err := t.users[0].dial(v.address, t.roots)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := openRoom(ctx, conn, roomName, chatpb.MetadataAfter, "0")
	if err != nil {
		return err
	}
	var m chatpb.ChatMessage
	for {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		switch m.Kind {
		case chatpb.Kind_MESSAGE:
			messages--
		case chatpb.Kind_LIVE:
			if messages != 0 {
				return errIncomplete
			}
			return stream.CloseSend()
		}
	}
}
