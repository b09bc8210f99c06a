package main

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
)

// promised is how long after an event a stream may still live.
const promised = time.Second

// An ending is one row of the matrix.
type ending struct {
	name   string
	code   codes.Code
	reason auth.Reason
	town   func(life time.Duration) *town
	ca     int // which authority and which signing key the citizen is of
	key    int
	// issue makes the citizen's certificate, where it is out of the ordinary.
	issue func(w *town, name string, ends time.Time) (*certs.Issued, error)
	// byToken: the token ends when the life is over, and not in an hour.
	byToken bool
	// happens does what ends the streams, and says when that was for a session.
	happens func(ctx context.Context, t *testing.T, c *crowd, ends time.Time) (at func(auth.Session) time.Time)
}

func always(at time.Time) func(auth.Session) time.Time {
	return func(auth.Session) time.Time { return at }
}

// happening is for events that are done once f has returned.
func happening(f func(t *testing.T, c *citizen)) func(context.Context, *testing.T, *crowd, time.Time) func(auth.Session) time.Time {
	return func(_ context.Context, t *testing.T, c *crowd, _ time.Time) func(auth.Session) time.Time {
		f(t, c.citizen)
		return always(time.Now())
	}
}

// byItself is for what ends without anybody's doing.
func byItself(_ context.Context, _ *testing.T, _ *crowd, ends time.Time) func(auth.Session) time.Time {
	return always(ends)
}

// endings are the rows. Those whose streams end by themselves come last: how
// long they must live to be opened before is known by then.
func endings(t *testing.T, w *town, published *publisher) []ending {
	main := func(time.Duration) *town { return w }
	return []ending{
		{name: "jti", reason: auth.TokenRevoked, town: main,
			happens: happening(func(_ *testing.T, c *citizen) { c.town.revoke("token", "token-of-jti") })},
		{name: "subject", reason: auth.TokenRevoked, town: main,
			happens: happening(func(_ *testing.T, c *citizen) { c.town.revoke("user", "subject") })},
		{name: "fingerprint", reason: auth.CertificateRevoked, town: main,
			happens: happening(func(_ *testing.T, c *citizen) {
				sum := certs.Thumbprint(c.issued.Certificate())
				c.town.revoke("certificate", hex.EncodeToString(sum[:]))
			})},
		{name: "crl", reason: auth.CertificateRevoked, town: main,
			happens: happening(func(t *testing.T, c *citizen) {
				if err := c.town.roots[0].Revoke(c.issued.Certificate(), certs.KeyCompromise); err != nil {
					t.Fatal(err)
				}
				c.town.writeCRL()
			})},
		{name: "root", reason: auth.CertificateUntrusted, town: main, ca: 1,
			happens: happening(func(_ *testing.T, c *citizen) { c.town.writeRoots(c.town.roots[0]) })},
		{name: "key-file", reason: auth.TokenKeyRetired, town: main, key: 1,
			happens: happening(func(_ *testing.T, c *citizen) { c.town.writeKeys(c.town.signers[0]) })},
		{name: "key-url", reason: auth.TokenKeyRetired, town: published.town, key: 1, happens: published.retire},
		{name: "operator", code: codes.PermissionDenied, reason: auth.Expelled, town: main, happens: endAll},
		{name: "token", reason: auth.TokenExpired, town: main, byToken: true, happens: byItself},
		{name: "certificate", reason: auth.CertificateExpired, town: main, happens: byItself,
			issue: func(w *town, name string, ends time.Time) (*certs.Issued, error) {
				return w.roots[0].IssueUser(name, certs.IssueOptions{NotAfter: ends})
			}},
		{name: "chain", reason: auth.CertificateExpired, town: main, happens: byItself, issue: issueOfShortAuthority},
		{name: "session", reason: auth.SessionExpired,
			town: func(life time.Duration) *town { return newTown(t, "--max-session", life.String()) },
			happens: func(context.Context, *testing.T, *crowd, time.Time) func(auth.Session) time.Time {
				return func(s auth.Session) time.Time { return s.Expires }
			}},
	}
}

// issueOfShortAuthority issues a certificate that outlives its authority's.
func issueOfShortAuthority(w *town, name string, ends time.Time) (*certs.Issued, error) {
	authority, err := w.roots[0].IssueCA(certs.CAOptions{Name: "short", NotAfter: ends})
	if err != nil {
		return nil, err
	}
	issued, err := authority.IssueUser(name, certs.IssueOptions{})
	if err != nil {
		return nil, err
	}
	template := *issued.Certificate()
	template.SerialNumber, template.NotAfter = nil, ends.Add(time.Hour)
	return authority.Issue(&template, nil)
}

// endAll ends the streams one by one, as an operator does.
func endAll(ctx context.Context, t *testing.T, c *crowd, _ time.Time) func(auth.Session) time.Time {
	at := make(map[string]time.Time)
	end := func(s auth.Session) {
		if err := c.citizen.town.end(ctx, s.ID); err != nil {
			t.Error(err)
		}
		at[s.ID] = time.Now()
	}
	for _, m := range c.readers() {
		end(m.session)
	}
	for _, d := range c.deaf {
		for _, s := range d.sessions {
			end(s)
		}
	}
	return func(s auth.Session) time.Time { return at[s.ID] }
}

// The real program, real files and real seconds: whatever ends a stream, and
// whether its client sends, only listens or does not read, of 200 streams each
// the 99th percentile has its end within a second. Nothing is accepted or
// delivered after it, the connection of a client that does not take the end is
// closed 5 s later, and others are undisturbed.
func TestEveryEndingOfTheProgram(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w := newTown(t)
	published := newPublisher(t)
	bob := w.citizen("bob", w.roots[0], w.signers[0])
	bystander, err := openMember(ctx, bob.dial(), bob.token(time.Now().Add(time.Hour)), talkEvery)
	if err != nil {
		t.Fatal(err)
	}
	leave := make(chan struct{})
	var living sync.WaitGroup
	living.Go(func() { bystander.live(leave) })

	slowest := time.Second
	var left []func(*testing.T)
	for _, row := range endings(t, w, published) {
		t.Run(row.name, func(t *testing.T) {
			took, deafLeft := row.run(ctx, t, 2*slowest+2*time.Second)
			slowest = max(slowest, took)
			left = append(left, deafLeft)
		})
	}
	t.Run("connections", func(t *testing.T) {
		for _, f := range left {
			f(t)
		}
	})
	close(leave)
	living.Wait()
	wantUndisturbed(t, []*member{bystander})
}

// run returns how long it took to open the streams, and what is to be asked of
// the connections of the deaf clients later.
func (row ending) run(ctx context.Context, t *testing.T, life time.Duration) (took time.Duration, deafLeft func(*testing.T)) {
	began := time.Now()
	ends := began.Add(life).Truncate(time.Second)
	w := row.town(life)
	c := w.citizen(row.name, w.roots[row.ca], w.signers[row.key])
	if row.issue != nil {
		issued, err := row.issue(w, row.name, ends)
		if err != nil {
			t.Fatal(err)
		}
		c.issued = issued
	}
	expires := began.Add(time.Hour)
	if row.byToken {
		expires = ends
	}
	others, err := w.counts(ctx, streamsLive)
	if err != nil {
		t.Fatal(err)
	}
	crowd := c.crowd(ctx, expires)
	took = time.Since(began)

	gone := make(chan departures, 1)
	go func() { gone <- crowd.departures(ctx, others[0]) }()
	at := row.happens(ctx, t, crowd, ends)
	crowd.living.Wait()
	departed := <-gone
	if departed.err != nil {
		t.Fatal(departed.err)
	}
	if row.code == codes.OK {
		row.code = codes.Unauthenticated
	}
	for _, m := range crowd.readers() {
		row.check(t, m, at(m.session))
	}
	talked, listened := lateness(crowd.talkers, at), lateness(crowd.listeners, at)
	var ignored []time.Duration
	last := time.Time{}
	for _, d := range crowd.deaf {
		for _, s := range d.sessions {
			event := at(s)
			ignored = append(ignored, departed.at[s.ID].Sub(event))
			if event.After(last) {
				last = event
			}
		}
	}
	t.Logf("%s: opened in %v; 99th percentiles: sends %v, only listens %v, does not read %v; all handlers have returned after %v",
		row.name, took.Round(time.Millisecond), wantPrompt(t, talked), wantPrompt(t, listened), wantPrompt(t, ignored), departed.all.Sub(last).Round(time.Millisecond))
	if late := departed.all.Sub(last); late > promised {
		t.Errorf("a handler returned only after %v", late)
	}
	return took, func(t *testing.T) { row.wantClosed(t, crowd, at) }
}

// check wants one stream to have ended as it should, and nothing to have been
// accepted later than that.
func (row ending) check(t *testing.T, m *member, event time.Time) {
	t.Helper()
	if got, _ := auth.ReasonOf(m.err); status.Code(m.err) != row.code || got != row.reason {
		t.Errorf("a stream ended with %v, want %s, %s", m.err, row.code, row.reason)
	}
	acked := int(m.acked.Load())
	if m.wrong != nil || acked > len(m.sent) {
		t.Errorf("%v; %d messages were sent and %d acknowledged", m.wrong, len(m.sent), acked)
	} else if acked > 0 {
		if late := m.sent[acked-1].Sub(event); late > promised {
			t.Errorf("a message that was sent %v after the event was acknowledged", late)
		}
	}
	if m.late {
		t.Error("a message could be sent after the end")
	}
	if m.ended.Before(event) && row.happensByItself() {
		t.Errorf("a stream ended %v before its time", event.Sub(m.ended))
	}
}

func (row ending) happensByItself() bool {
	return row.reason == auth.TokenExpired || row.reason == auth.CertificateExpired || row.reason == auth.SessionExpired
}

// wantClosed wants the connections of the deaf clients to be closed 5 s after the
// first of their streams was cut, give or take what the server takes to look.
func (row ending) wantClosed(t *testing.T, c *crowd, at func(auth.Session) time.Time) {
	t.Helper()
	for _, d := range c.deaf {
		first := slices.MinFunc(d.sessions, func(a, b auth.Session) int { return at(a).Compare(at(b)) })
		after, err := d.leftAfter(at(first))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		} else if after < 5*time.Second || after > 5*time.Second+2*promised {
			t.Errorf("%s: the connection of a client that does not read was closed after %v, want some 5 s", row.name, after)
		}
	}
}

func lateness(members []*member, at func(auth.Session) time.Time) (late []time.Duration) {
	for _, m := range members {
		late = append(late, m.ended.Sub(at(m.session)))
	}
	return late
}

// wantPrompt returns the 99th percentile.
func wantPrompt(t *testing.T, late []time.Duration) time.Duration {
	t.Helper()
	if len(late) != crowdSize {
		t.Fatalf("%d streams were measured, want %d", len(late), crowdSize)
	}
	slices.Sort(late)
	p99 := late[len(late)*99/100-1]
	if p99 > promised {
		t.Errorf("the 99th percentile is %v, want %v at most", p99, promised)
	}
	return p99.Round(time.Millisecond)
}

// departures are when the sessions of a user were first seen gone, and when no
// handler was left.
type departures struct {
	at  map[string]time.Time
	all time.Time
	err error
}

// departures watches the sessions of a crowd go. The others of the town have so
// many streams.
func (c *crowd) departures(ctx context.Context, others int) departures {
	w := c.citizen.town
	d := departures{at: make(map[string]time.Time)}
	live := make(map[string]bool)
	for _, m := range c.readers() {
		live[m.session.ID] = true
	}
	for _, deaf := range c.deaf {
		for _, s := range deaf.sessions {
			live[s.ID] = true
		}
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for len(live) > 0 {
		select {
		case <-ctx.Done():
			return departures{err: fmt.Errorf("%d streams of %s live on", len(live), c.citizen.name)}
		case <-ticker.C:
		}
		sessions, err := w.list(ctx, c.citizen.name)
		if err != nil {
			return departures{err: err}
		}
		seen := time.Now()
		now := make(map[string]bool, len(sessions))
		for _, s := range sessions {
			now[s.ID] = true
		}
		for id := range live {
			if !now[id] {
				d.at[id] = seen
			}
		}
		live = now
	}
	for {
		counts, err := w.counts(ctx, streamsLive)
		if err != nil {
			return departures{err: err}
		}
		if counts[0] == others {
			d.all = time.Now()
			return d
		}
		select {
		case <-ctx.Done():
			return departures{err: fmt.Errorf("%d handlers of %s run on", counts[0]-others, c.citizen.name)}
		case <-ticker.C:
		}
	}
}

// A publisher is a token issuer that publishes its key set over https.
type publisher struct {
	w        *town
	endpoint *httptest.Server

	mu     sync.Mutex
	keys   []byte
	served time.Time // when the set was first served; zero: not yet
}

// newPublisher starts the endpoint and a town that takes its keys from there.
func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{}
	p.endpoint = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = w.Write(p.keys) // the server reports what it lacks
		if p.served.IsZero() {
			p.served = time.Now()
		}
	}))
	t.Cleanup(p.endpoint.Close)
	roots := filepath.Join(t.TempDir(), "jwks-ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.endpoint.Certificate().Raw})
	if err := (files.File{Path: roots, Text: text, Mode: files.Public}).Replace(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock() // the first fetch waits for the keys, which the town makes
	defer p.mu.Unlock()
	p.w = newTown(t, "--jwks", p.endpoint.URL, "--jwks-ca", roots)
	p.publish(t, p.w.signers[:]...)
	return p
}

func (p *publisher) town(time.Duration) *town { return p.w }

// publish is called with p.mu held.
func (p *publisher) publish(t *testing.T, signers ...*auth.Signer) {
	t.Helper()
	keys, err := auth.MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	p.keys, p.served = keys, time.Time{}
}

// retire takes the second key out of the set, and has a token of a key that is
// in none ask for the next fetch, which comes 10 s after the one before at the
// soonest. The event is that fetch.
func (p *publisher) retire(ctx context.Context, t *testing.T, _ *crowd, _ time.Time) func(auth.Session) time.Time {
	stranger, err := auth.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.publish(t, p.w.signers[0])
	p.mu.Unlock()
	asker := p.w.citizen("asker", p.w.roots[0], stranger)
	conn, token := asker.dial(), asker.token(time.Now().Add(time.Hour))
	var served time.Time
	if err := within(patience, func() error {
		_, refused := openMember(ctx, conn, token, 0)
		p.mu.Lock()
		defer p.mu.Unlock()
		if served = p.served; served.IsZero() {
			return fmt.Errorf("the keys have not been fetched: %w", refused)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return always(served)
}
