package client

import (
	"errors"
	"log/slog"
	"sync"

	"securechat/certs"
)

// lines are a Conn's ways to the server: the one that serves, one for a newer
// certificate that has yet to prove itself, and those on which streams are left.
type lines struct {
	// Set at construction.
	source certs.Source
	make   func(*certs.Material) (*line, error)
	log    *slog.Logger

	mu      sync.Mutex
	current *line
	next    *line // no stream has been admitted there yet; nil: none is needed
	open    map[*line]struct{}
	closed  bool
	closing sync.WaitGroup
}

func newLines(cfg Config, server string) (*lines, error) {
	ls := &lines{source: cfg.Certificates, log: cfg.Log, open: map[*line]struct{}{}}
	ls.make = func(own *certs.Material) (*line, error) { return newLine(cfg, server, own) }
	var err error
	if ls.current, err = ls.make(cfg.Certificates.Material()); err != nil {
		return nil, err
	}
	ls.open[ls.current] = struct{}{}
	return ls, nil
}

// changed returns a channel that is closed when the source's material changes;
// nil where the source does not tell.
func (ls *lines) changed() <-chan struct{} {
	if notifier, ok := ls.source.(certs.Notifier); ok {
		return notifier.Changed()
	}
	return nil
}

// newest returns the line for the source's certificate of now. The caller drops
// it.
func (ls *lines) newest() *line {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	newest := ls.look()
	newest.held++
	return newest
}

// isNewest says whether the line is still the one to move to.
func (ls *lines) isNewest(l *line) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.look() == l
}

// suited returns the lines over which the server may take the token, the newest
// first. Where the token is bound to neither certificate, it returns the newest
// line and false. The caller drops them.
func (ls *lines) suited(token string) (ways []*line, fits bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	newest := ls.look()
	ways = []*line{newest}
	if newest != ls.current {
		ways = append(ways, ls.current)
	}
	fitting := ways[:0:0]
	for _, l := range ways {
		if l.fits(token) {
			fitting = append(fitting, l)
		}
	}
	if fits = len(fitting) > 0; fits {
		ways = fitting
	} else {
		ways = ways[:1]
	}
	for _, l := range ways {
		l.held++
	}
	return ways, fits
}

// look makes a line where the source has another certificate than the newest
// line, and returns what is the newest then. It needs mu.
func (ls *lines) look() *line {
	newest := ls.current
	if ls.next != nil {
		newest = ls.next
	}
	if ls.closed {
		return newest
	}
	own := ls.source.Material()
	certificate := thumbprintOf(own)
	if certificate == newest.certificate {
		return newest
	}
	if ls.next != nil {
		ls.retire(ls.next)
		ls.next = nil
	}
	if certificate == ls.current.certificate {
		return ls.current
	}
	made, err := ls.make(own)
	if err != nil { // what is wrong with a channel is so from the first on
		ls.log.Error("no channel for the new certificate: the old one stays in use", slog.String("cause", err.Error()))
		return ls.current
	}
	ls.open[made] = struct{}{}
	ls.next = made
	return made
}

// proven has the line serve from now on, if it is the one that was to prove
// itself.
func (ls *lines) proven(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l != ls.next {
		return
	}
	ls.retire(ls.current)
	ls.current, ls.next = l, nil
}

func (ls *lines) hold(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.held++
}

func (ls *lines) drop(dropped ...*line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range dropped {
		l.held--
		ls.closeIdle(l)
	}
}

// retire needs mu, and so does closeIdle.
func (ls *lines) retire(l *line) {
	l.retired = true
	ls.closeIdle(l)
}

// closeIdle closes in the background what nobody needs any more: the transport
// may take its time to say goodbye.
func (ls *lines) closeIdle(l *line) {
	if !l.retired || l.held > 0 || ls.closed {
		return
	}
	delete(ls.open, l)
	ls.closing.Go(func() { _ = l.grpc.Close() })
}

// close closes all lines and waits for those that are being closed.
func (ls *lines) close() error {
	ls.mu.Lock()
	first := !ls.closed
	ls.closed = true
	ls.mu.Unlock()
	var failures []error
	if first {
		for l := range ls.open { // nobody changes it any more
			failures = append(failures, l.grpc.Close())
		}
	}
	ls.closing.Wait()
	return errors.Join(failures...)
}
