package client

import (
	"log/slog"
	"testing"

	"securechat/auth/authtest"
)

// Whatever comes, there are the line that serves, the newest, and those that are
// held.
func TestLinesBounded(t *testing.T) {
	realm := authtest.NewRealm(t)
	source := &swap{}
	first := realm.User("alice").Certificates
	source.Store(first)
	ls, err := newLines(Config{Certificates: source, Log: slog.New(slog.DiscardHandler)}, "127.0.0.1:1")
	must(t, err)
	defer ls.close()
	want := func(open int) {
		t.Helper()
		if len(ls.open) != open {
			t.Fatalf("%d lines are open, want %d", len(ls.open), open)
		}
	}
	serving := ls.newest()
	for range 10 {
		source.Store(realm.User("alice").Certificates)
		ls.drop(ls.newest())
		want(2)
	}
	held := ls.newest()
	source.Store(first)
	if back := ls.newest(); back != serving {
		t.Error("the first certificate has a second line")
	} else {
		ls.drop(back)
	}
	want(2)
	ls.proven(held) // too late: another certificate is the newest
	if ls.current != serving {
		t.Error("a line that was given up serves")
	}
	ls.drop(held)
	want(1)

	source.Store(realm.User("alice").Certificates)
	next := ls.newest()
	ls.proven(next)
	ls.drop(next)
	want(2)
	ls.drop(serving)
	want(1)
	must(t, ls.close())
	source.Store(first)
	if ls.newest() != next {
		t.Error("a line was made after the end")
	}
}
