package client

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// inLife begins something that has to be under way before a short life ends. How long
// that takes nobody knows of a machine that has much else to do: what failed once its
// life was over is begun anew with a longer one.
func inLife[T any](t *testing.T, shortest time.Duration, begin func(ends time.Time) (T, error)) (begun T, ends time.Time) {
	t.Helper()
	for life := shortest; ; life *= 2 {
		ends = time.Now().Add(life).Truncate(time.Second) // as expiries are
		begun, err := begin(ends)
		if err == nil {
			return begun, ends
		}
		if time.Now().Before(ends) || life > patience {
			t.Fatal(err)
		}
	}
}

// nextInLife waits for an event of a type, which has to come before the life ends.
func nextInLife[E Event](all <-chan Event, ends time.Time) (E, error) {
	var none E
	select {
	case e := <-all:
		if got, ok := e.(E); ok {
			return got, nil
		}
		return none, fmt.Errorf("got %T %+v, want %T", e, e, none)
	case <-time.After(time.Until(ends)):
		return none, errors.New("no event")
	}
}

// due has the Conn refresh its streams now, and not when most of their life is over,
// which may go by while the machine does something else.
func due(conn *Conn) {
	k := conn.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	for l := range k.leases {
		l.due = time.Now()
	}
	k.nudge()
}
