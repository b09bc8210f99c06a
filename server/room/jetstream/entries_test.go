package jetstream_test

import (
	"context"
	"testing"

	"securechat/server/room"
)

func said(key room.Key, expected uint64, text string) room.Draft {
	d := benchDraft(key, expected)
	d.Text = text
	return d
}

func readAll(t testing.TB, log room.Log, key room.Key) []room.Entry {
	t.Helper()
	var all []room.Entry
	var after uint64
	for {
		entries, more, err := log.Read(context.Background(), key, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entries...)
		if !more {
			return all
		}
		after = entries[len(entries)-1].Sequence
	}
}
