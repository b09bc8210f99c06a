package jetstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"securechat/server/room"
)

// What a server shows and has not acknowledged is read from another server, which
// begins with what the disk has; nobody is shown it before.
func TestWhatIsNotAcknowledgedIsReadFromTheDisk(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *Local) (uint64, error){
		"Read": func(ctx context.Context, l *Local) (uint64, error) {
			entries, _, err := l.Read(ctx, "ops", 0, 10)
			if err != nil || len(entries) == 0 {
				return 0, err
			}
			return entries[len(entries)-1].Sequence, nil
		},
		"Newest": func(ctx context.Context, l *Local) (uint64, error) { return l.Newest(ctx, "ops") },
		"Span": func(ctx context.Context, l *Local) (uint64, error) {
			_, last, err := l.Span(ctx)
			return last, err
		},
		"Rooms": func(ctx context.Context, l *Local) (uint64, error) {
			var newest uint64
			list := func(_ room.Key, sequence uint64) bool {
				newest = sequence
				return true
			}
			err := l.Rooms(ctx, list)
			if errors.Is(err, room.ErrUnavailable) && newest == 0 {
				err = l.Rooms(ctx, list) // it does not begin anew itself
			}
			return newest, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Embedded(EmbeddedConfig{Dir: t.TempDir() + "/log"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			in := l.current
			a, err := in.prepare(t.Context(), []room.Draft{{Entry: room.Entry{Room: "ops", User: "alice"}}})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := in.send(t.Context(), a, 1) // not as an append does it
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got, err := ask(t.Context(), l); got != stored || err != nil {
					t.Errorf("got %d, %v, want %d", got, err, stored)
				}
				if l.current == in {
					t.Error("the server that has not acknowledged it was believed")
				}
			}
		})
	}
}

func TestWhatIsUnderWayIsWaitedFor(t *testing.T) {
	type answer struct {
		stands bool
		err    error
	}
	for name, test := range map[string]struct {
		end  func(p *proven, cancel func())
		want answer
	}{
		"acknowledged": {func(p *proven, _ func()) { p.end(7) }, answer{stands: true}},
		"one before":   {func(p *proven, _ func()) { p.end(6) }, answer{}},
		"failed":       {func(p *proven, _ func()) { p.end(0) }, answer{}},
		"given up":     {func(_ *proven, cancel func()) { cancel() }, answer{err: context.Canceled}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p proven
				p.begin()
				p.begin()
				p.end(5)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if stands, err := p.stands(ctx, 5); !stands || err != nil {
					t.Errorf("what was acknowledged: %v, %v", stands, err)
				}
				answers := make(chan answer, 1)
				go func() {
					stands, err := p.stands(ctx, 7)
					answers <- answer{stands, err}
				}()
				synctest.Wait()
				if len(answers) > 0 {
					t.Fatal("what is under way was not waited for")
				}
				test.end(&p, cancel)
				if got := <-answers; got != test.want {
					t.Errorf("got %v, want %v", got, test.want)
				}
			})
		})
	}
}

// A batch that a server completes when it starts, and can't write, was not on the disk.
func TestABatchThatCouldNotBeCompletedIsNotFound(t *testing.T) {
	l, err := Embedded(EmbeddedConfig{Dir: t.TempDir() + "/log"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	post := func(newest uint64, count int) uint64 {
		drafts := make([]room.Draft, count)
		for i := range drafts {
			drafts[i] = room.Draft{Entry: room.Entry{Room: "ops", User: "alice"}, Expected: newest}
		}
		first, err := l.Append(t.Context(), drafts)
		if err != nil {
			t.Fatal(err)
		}
		return first + uint64(count) - 1
	}
	want := func(trouble error, sequence uint64) {
		t.Helper()
		if found, err := l.current.found(t.Context(), trouble); found != sequence || err != nil {
			t.Errorf("with the trouble %v, %d is found, %v; want %d", trouble, found, err, sequence)
		}
	}
	full := errors.New("the disk is full")
	want(full, 1)
	one := post(0, 1)
	want(full, one)
	batch := post(one, 3)
	want(full, one)
	want(nil, batch)
}
