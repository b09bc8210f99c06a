//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"securechat/server/room/roomtest"
)

// dev has two people at terminals talk through a chatd dev that is killed in the
// middle of it, and started again.
func (c *chaos) dev(t *testing.T) {
	kills := c.times(3, 30)
	server, env := dev(t, c.chatd)
	listen := field(t, server.line(server.stderr, "ready"), "listen")
	history := roomtest.NewHistory()
	var people []*person
	for _, name := range []string{"alice", "bob"} {
		p := &person{name: name, history: history, reader: history.Reader(name, 0)}
		p.process = run(t, env, c.chat, "--context", name, "--json", "--after", "1", "lobby")
		people = append(people, p)
	}
	for _, p := range people {
		p.speak(1)
	}
	for _, p := range people {
		p.until(len(people)) // a program goes on by itself once it has been let in
	}
	for range kills {
		for range 5 {
			for _, p := range people {
				p.speak(1 + c.random.IntN(3))
			}
		}
		// Somewhere between the first line sent and the last one shown.
		people[0].until(c.random.IntN(people[0].said + 1))
		server.kill()
		for _, p := range people {
			p.speak(2) // while nobody is there
		}
		server = run(t, env, c.chatd, "dev", "--listen", listen, "--admin-listen", "off")
		server.line(server.stderr, "ready")
	}
	all := people[0].said + people[1].said
	for _, p := range people {
		p.until(all)
	}
	for _, p := range people {
		must(t, p.stdin.Close())
		if code := p.wait(); code != 0 {
			t.Errorf("%s: exit code %d", p.name, code)
		}
		p.read()
		if p.had != all {
			t.Errorf("%s was shown %d lines of %d", p.name, p.had, all)
		}
	}
	if err := history.Check(); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, %d lines", kills, all)
}

// A person types lines into a program and sees others'.
type person struct {
	*process
	name    string
	history *roomtest.History
	reader  *roomtest.Reader
	said    int // lines typed
	had     int // lines shown
}

func (p *person) speak(lines int) {
	p.t.Helper()
	for range lines {
		text := fmt.Sprintf("line %d of %s", p.said, p.name)
		p.history.Posting(p.name, p.name, text, text) // what stands for the id is the text
		p.say(text + "\n")
		p.said++
	}
}

// until waits until so many lines have been shown.
func (p *person) until(lines int) {
	p.t.Helper()
	eventually(p.t, p.name+" sees what is said", func() error {
		if p.read(); p.had < lines {
			return fmt.Errorf("%d of %d lines are there", p.had, lines)
		}
		return nil
	})
}

// read takes note of what has been shown since it was last called. One's own line
// is shown once it is acknowledged.
func (p *person) read() {
	p.t.Helper()
	text := p.stdout.String()
	whole := strings.Split(text[:strings.LastIndex(text, "\n")+1], "\n")
	for _, line := range whole[p.had : len(whole)-1] {
		var m struct {
			User, Message string
			Sequence      uint64
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			p.t.Fatal(errors.Join(err, errors.New(line)))
		}
		p.reader.Saw(roomtest.Message{Sequence: m.Sequence, User: m.User, ID: m.Message, Text: m.Message})
		if m.User == p.name {
			p.history.Acknowledged(m.User, m.Message, m.Sequence)
		}
		p.had++
	}
}
