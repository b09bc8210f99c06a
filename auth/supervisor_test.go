package auth

import (
	"crypto/x509"
	"testing"
)

// The sessions of a connection are found by it, and of one whose sessions have left
// nothing is kept.
func TestSessionsByConnection(t *testing.T) {
	s := newSupervisor(nil)
	one, other := [][]*x509.Certificate{nil}, [][]*x509.Certificate{nil}
	sessions := []*session{{chains: one}, {chains: one}, {chains: other}, {}}
	for _, session := range sessions {
		s.enlist(session)
	}
	want := func(what string, ofOne, ofOther, connections int) {
		t.Helper()
		if a, b := len(s.on(one)), len(s.on(other)); a != ofOne || b != ofOther || len(s.shared) != connections {
			t.Errorf("%s: %d and %d sessions on %d connections, want %d and %d on %d", what, a, b, len(s.shared), ofOne, ofOther, connections)
		}
		if n := len(s.on(nil)); n != 0 {
			t.Errorf("%s: %d sessions on no connection", what, n)
		}
	}
	want("all are there", 2, 1, 3) // one of them is where sessions without a connection are
	s.leave(sessions[0])
	want("one has left", 1, 1, 3)
	s.leave(sessions[2])
	s.leave(sessions[2])
	want("one connection has none", 1, 0, 2)
	s.leave(sessions[1])
	s.leave(sessions[3])
	want("all have left", 0, 0, 0)
	if len(s.live) != 0 {
		t.Errorf("%d sessions live on", len(s.live))
	}
}
