package jetstream

import (
	"testing"

	js "github.com/nats-io/nats.go/jetstream"
)

// A stream that copies others is not tried on a server, where it would go on
// looking for them after the server's end.
func TestCopiesAreNotAcceptable(t *testing.T) {
	want := streamConfig(localNames, Retention{}, 1, false)
	if err := acceptable(want, want); err != nil {
		t.Fatal(err)
	}
	sourced, mirror := want, want
	sourced.Sources = []*js.StreamSource{{Name: "ELSEWHERE"}}
	mirror.Mirror = &js.StreamSource{Name: "ELSEWHERE"}
	for _, have := range []js.StreamConfig{sourced, mirror} {
		if acceptable(have, want) == nil {
			t.Errorf("accepted sources %v, mirror %v", have.Sources, have.Mirror)
		}
	}
}
