package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the crew's process of the tests.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == crewCommand {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// Every figure can be taken: so little is measured that it says nothing.
func TestAllTablesArePrinted(t *testing.T) {
	var out strings.Builder
	err := run([]string{
		"-dir", t.TempDir(), "-rounds", "1", "-members", "3", "-deliveries", "30", "-window", "2", "-ways", "NATS",
		"-messages", "128", "-lone", "2", "-replayed", "600", "-idle", "12",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, title := range []string{"Fan-out", "64 senders", "16 of them", "4 of them", "1 of them", "Replay", "Memory"} {
		if !strings.Contains(out.String(), title) {
			t.Errorf("there is no table with %q in its title in\n%s", title, out.String())
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Errorf("a figure is none:\n%s", out.String())
	}
}

// What is denied: a crew that is asked for more than there is says so, and the
// servers' process does not wait for ever.
func TestACrewThatCannotWorkSaysSo(t *testing.T) {
	town := mustTown(t)
	v, err := inMemory(town, settings{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.stop() }()
	town.users[0].Token = "none"
	_, err = hire(t.Context(), job{
		Address: v.address, Roots: town.roots, Users: town.users[:1], Members: 1, Connections: 1, Window: 1,
	})
	if err == nil || !strings.Contains(err.Error(), "Unauthenticated") {
		t.Errorf("a crew with a token that is none ends with %v", err)
	}
}

// A message that is live is encoded and prepared once for all members, which shows in
// what the server allocates: about 4 allocations a delivery against 8 or so where
// each member's is made anew. The margin is for what a run has beside its deliveries.
func TestOneFrameForAllPays(t *testing.T) {
	s := settings{window: 16, deliveries: 10_000}
	const members, connections = 100, 10
	allocations := map[string]float64{}
	for _, w := range ways {
		if w.name != shared && w.name != anew {
			continue
		}
		cost, err := w.delivery(t.Context(), mustTown(t), s, members, connections)
		if err != nil {
			t.Fatal(err)
		}
		allocations[w.name] = cost.allocations
	}
	if allocations[shared] > 0.75*allocations[anew] {
		t.Errorf("a delivery takes %.1f allocations, and %.1f where each is encoded anew", allocations[shared], allocations[anew])
	}
}

// What is idle is small; the limits are about twice what it takes.
func TestWhatIsIdleIsSmall(t *testing.T) {
	for _, c := range []struct {
		crowd crowd
		most  float64
	}{
		{crowd{"a member of a hub", atHub(false)}, 1 << 10},
		{crowd{"a member of a hub, and a room", atHub(true)}, 4 << 10},
	} {
		bytes, goroutines, err := c.crowd.weigh(t.Context(), 2_000)
		if err != nil {
			t.Fatal(err)
		}
		if bytes > c.most || goroutines > 0.01 {
			t.Errorf("%s takes %.0f bytes and %.2f goroutines, want %.0f and none", c.crowd.name, bytes, goroutines, c.most)
		}
	}
}

func mustTown(t *testing.T) *town {
	t.Helper()
	made, err := newTown()
	if err != nil {
		t.Fatal(err)
	}
	return made
}
