package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"securechat/auth"
)

// as is a context of a user's.
func as(t *testing.T, user string) (context.Context, context.CancelFunc) {
	return context.WithCancel(auth.NewContext(t.Context(), auth.Identity{Issuer: "https://id.test", User: user}))
}

func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, all = 2, 5
		turnstile := newTurnstile(each, all)
		got := map[string]chan turn{}
		left := make(chan error, 100)
		come := func(user string, times int) context.CancelFunc {
			ctx, cancel := as(t, user)
			if got[user] == nil {
				got[user] = make(chan turn, 100)
			}
			for range times {
				go func() {
					place, err := turnstile.enter(ctx)
					if err != nil {
						left <- err
						return
					}
					got[user] <- place
				}()
			}
			synctest.Wait()
			return cancel
		}
		want := func(what string, counts map[string]int) {
			t.Helper()
			synctest.Wait()
			for user, n := range counts {
				if len(got[user]) != n {
					t.Errorf("%s: %s has %d places, want %d", what, user, len(got[user]), n)
				}
			}
		}

		defer come("alice", 4)()
		want("alone", map[string]int{"alice": each})
		defer come("bob", 2)()
		goes := come("carol", 2)
		want("all are taken", map[string]int{"alice": 2, "bob": 2, "carol": 1})
		goes()
		synctest.Wait()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up waiting is told %v", err)
		}
		// Who gives up has given back what it had.
		(<-got["carol"]).done()
		(<-got["bob"]).done()
		defer come("carol", 2)()
		want("who gave up comes back", map[string]int{"alice": 2, "bob": 1, "carol": 2})
		(<-got["alice"]).answered(t.Context())
		want("one is done", map[string]int{"alice": 2, "bob": 1, "carol": 2})

		for served := 0; served < 6; served++ { // alice's last waits still
			for _, user := range []string{"alice", "bob", "carol"} {
				if len(got[user]) > 0 {
					(<-got[user]).done()
					break
				}
			}
			synctest.Wait()
		}
		if len(turnstile.callers) != 0 || len(turnstile.all) != 0 {
			t.Errorf("%d callers are remembered and %d places taken once all have gone", len(turnstile.callers), len(turnstile.all))
		}
	})
}
