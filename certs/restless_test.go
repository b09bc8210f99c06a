package certs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Frequent writes, of which no two looks see the same.
var restlessWays = map[string]func(m *mount, name string, lines []string){
	"appended": func(m *mount, name string, lines []string) {
		file, err := os.OpenFile(m.path(name), os.O_WRONLY|os.O_APPEND, 0)
		m.do(err)
		_, err = file.WriteString(lines[len(lines)-1] + "\n")
		m.do(err)
		m.do(file.Close())
	},
	"rewritten": func(m *mount, name string, lines []string) {
		waysToReplace["in place"](m, replacement{name: []byte(strings.Join(lines, "\n") + "\n")})
	},
	"renamed": func(m *mount, name string, lines []string) {
		waysToReplace["renamed"](m, replacement{name: []byte(strings.Join(lines, "\n") + "\n")})
	},
}

// scribble adds lines faster than anybody looks until done, and returns how long
// that took from the first.
func scribble(m *mount, name string, write func(*mount, string, []string), done func() bool) time.Duration {
	lines := []string{"jti first"}
	began := time.Now()
	for i := 0; !done() && time.Since(began) < 10*time.Second; i++ {
		if i > 0 {
			lines = append(lines, fmt.Sprintf("jti other-%d", i))
		}
		write(m, name, lines)
		<-time.After(37 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

// What takes something back does not wait until nobody writes to the file.
func TestWhatIsRevokedIsRevokedWhateverIsWrittenAfterwards(t *testing.T) {
	for way, write := range restlessWays {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, source, log := newFixture(t).follow(t, "in place")
				defer source.Close()
				<-time.After(5 * time.Second) // what the first reading has begun is over
				took := scribble(m, "revocations", write, func() bool { return source.Material().Revocations().Token("first") })
				if took > time.Second {
					t.Errorf("revoked after %v, want a second at most:\n%s", took, log)
				}
				wantState(t, source, feedRevocations, stateOf(t, source, feedRevocations).Good, 0)
			})
		})
		t.Run("followed/"+way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, f, taken, _, err := followed(t, "in place", "jti none")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				<-time.After(5 * time.Second)
				took := scribble(m, "file", write, func() bool {
					return slices.ContainsFunc(*taken, func(text string) bool { return strings.Contains(text, "first") })
				})
				if took > time.Second || f.State().Broken > 0 {
					t.Errorf("taken after %v, want a second at most, %+v", took, f.State())
				}
			})
		})
	}
}

// While a file is being written, half of one is not taken, and one that never is
// anything better is told of once.
func TestWhatNeverSettlesIsToldOf(t *testing.T) {
	half := func(m *mount, name string, lines []string) {
		waysToReplace["in place"](m, replacement{name: []byte(strings.Join(lines, "\n"))}) // the last has no end
	}
	synctest.Test(t, func(t *testing.T) {
		m, source, log := newFixture(t).follow(t, "in place")
		defer source.Close()
		<-time.After(5 * time.Second)
		before, began := source.Material(), time.Now()
		scribble(m, "revocations", half, func() bool { return time.Since(began) > time.Second })
		if source.Material() != before || log.String() != "" {
			t.Errorf("half a line is in force, or is called broken too soon:\n%s", log)
		}
		scribble(m, "revocations", half, func() bool { return time.Since(began) > 9*time.Second })
		if source.Material() != before || strings.Count(log.String(), errRestless.Error()) != 1 {
			t.Errorf("half a line is in force, or was not logged once:\n%s", log)
		}
		wantState(t, source, feedRevocations, 1, 1)
		<-time.After(time.Second) // it has settled, and means what it says
		wantState(t, source, feedRevocations, 2, 1)
	})
	synctest.Test(t, func(t *testing.T) {
		m, f, taken, log, err := followed(t, "in place", "jti none\n")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		<-time.After(5 * time.Second)
		began := time.Now()
		scribble(m, "file", half, func() bool { return time.Since(began) > 9*time.Second })
		if len(*taken) != 1 || strings.Count(log.String(), errRestless.Error()) != 1 || f.State().Broken != 1 {
			t.Errorf("taken are %q, %+v, log\n%s", *taken, f.State(), log)
		}
	})
}

// A file that keeps changing while it is read is read as it is in the end.
func TestSeeWhatDoesNotKeepStill(t *testing.T) {
	path := t.TempDir() + "/file"
	reads := 0
	s := see([]string{path}, func() ([][]byte, error) {
		reads++
		text := []byte(strings.Repeat("x", reads))
		return [][]byte{text}, os.WriteFile(path, text, 0o600)
	})
	if s.steady || reads != maxReads || len(s.texts) != 1 || len(s.texts[0]) != maxReads || s.err != nil {
		t.Errorf("after %d reads: %q, %v, steady %v", reads, s.texts, s.err, s.steady)
	}
	var r record
	for range maxUnrest - 1 {
		if r.settle(s, false).counts {
			t.Error("it counts at once")
		}
	}
	if !r.settle(s, false).counts {
		t.Error("it never counts")
	}
}
