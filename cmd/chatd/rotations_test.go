package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
	"securechat/cmd/chatd/internal/sandbox"
)

const (
	rotations   = 50
	brokenEvery = 10
)

// Whatever is replaced, and however it is written, streams that it does not
// concern live on, and nothing of theirs is lost, doubled or out of order.
func TestRotationsDisturbNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w := newTown(t)
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	token := alice.token(time.Now().Add(time.Hour))
	var members []*member
	for range 5 {
		conn := alice.dial()
		for i := range 14 {
			every := 20 * time.Millisecond
			if i >= 10 {
				every = 0
			}
			m, err := openMember(ctx, conn, token, every)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, m)
		}
	}
	end := liveTogether(members)
	defer end()

	r := newRotator(t, w)
	var taken []time.Duration
	for i := range rotations {
		style := styles[i%len(styles)]
		good := r.rotate(i)
		if i%brokenEvery == brokenEvery-1 {
			r.refuse(style, good)
		}
		style.install(t, w, good)
		installed, missing := time.Now(), time.Duration(0) // how late somebody asked who did not find it in force
		if err := within(patience, func() error {
			late := time.Since(installed)
			err := r.taken(ctx, i)
			if err != nil {
				missing = late
			}
			return err
		}); err != nil {
			t.Fatalf("rotation %d, by %s: %v", i, style.name, err)
		}
		taken = append(taken, missing)
	}
	end()
	if slowest := slices.Max(taken); slowest > promised() {
		t.Errorf("%v after a rotation it was not in force, want it after %v", slowest, promised())
	}
	t.Logf("%d rotations of each kind were taken up after %v at most, while %d messages were acknowledged",
		rotations, slices.Max(taken).Round(time.Millisecond), wantUndisturbed(t, members))
}

// liveTogether has the members live until end is called, which may be more than once.
func liveTogether(members []*member) (end func()) {
	leave := make(chan struct{})
	var living sync.WaitGroup
	for _, m := range members {
		living.Go(func() { m.live(leave) })
	}
	return sync.OnceFunc(func() {
		close(leave)
		living.Wait()
	})
}

// The keys come and go at a URL, with broken sets between: streams of other keys
// live on.
func TestRotationsAtAURLDisturbNobody(t *testing.T) {
	t.Parallel()
	const times = 50
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w := newTown(t)
	w.withIssuer()
	extra, err := auth.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	alice, guest := w.citizen("alice", w.roots[0], w.signers[0]), w.citizen("guest", w.roots[0], extra)
	conn, expires := alice.dial(), time.Now().Add(time.Hour)
	var members []*member
	for range 10 {
		m, err := openMember(ctx, conn, alice.token(expires), 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	end := liveTogether(members)
	defer end()

	visitor, token := guest.dial(), guest.token(expires)
	fetch := func(done func() error) {
		t.Helper()
		if err := w.d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if err := within(patience, done); err != nil {
			t.Fatal(err)
		}
	}
	for i := range times {
		if i%5 == 4 {
			reports := strings.Count(w.d.errors(), "not all reloaded")
			w.write("jwks.json", []byte("half a fi"))
			fetch(func() error {
				if strings.Count(w.d.errors(), "not all reloaded") == reports {
					return errors.New("nothing is said of a broken set")
				}
				return nil
			})
		}
		signers := w.signers[:]
		if there(i) {
			signers = append(slices.Clone(signers), extra)
		}
		w.writeKeys(signers...)
		fetch(func() error {
			if err := refusal(ctx, t, visitor, token); (err == nil) != there(i) {
				return fmt.Errorf("rotation %d: the server has other keys: %v", i, err)
			}
			return nil
		})
	}
	end()
	t.Logf("%d sets were fetched, while %d messages were acknowledged", times, wantUndisturbed(t, members))
}

// A style is a way in which files are replaced.
type style struct {
	name    string
	install func(t *testing.T, w *town, texts map[string][]byte)
}

var styles = []style{{"rename", rename}, {"writing in place", inPlace}, {"swapping the link", swapLink}}

func rename(t *testing.T, w *town, texts map[string][]byte) {
	t.Helper()
	for name, text := range texts {
		if err := (files.File{Path: w.path(name), Text: text, Mode: files.Secret}).Replace(); err != nil {
			t.Fatal(err)
		}
	}
}

func inPlace(t *testing.T, w *town, texts map[string][]byte) {
	t.Helper()
	for name, text := range texts {
		if err := os.WriteFile(w.path(name), text, files.Secret); err != nil {
			t.Fatal(err)
		}
	}
}

// swapLink makes a folder of the texts, which are all that the town has, and swaps
// the link through which its files are reached.
func swapLink(t *testing.T, w *town, texts map[string][]byte) {
	t.Helper()
	base := filepath.Dir(w.dir)
	fresh, err := os.MkdirTemp(base, "v")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(fresh, name), text, files.Secret); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(base, "next")
	if err := errors.Join(os.Symlink(filepath.Base(fresh), link), os.Rename(link, w.dir)); err != nil {
		t.Fatal(err)
	}
}

// A rotator replaces all that a town's server follows, by what concerns nobody
// who is there.
type rotator struct {
	t         *testing.T
	w         *town
	prober    *citizen
	extra     *citizen         // of the key that comes and goes
	conn      *grpc.ClientConn // the extra's
	spare     *certs.CA        // comes and goes
	list      []string         // the lines of the revocations file
	server    *certs.Issued
	listed    *certs.Issued // the latest that the CRL has
	forbidden *certs.Issued // the latest that the revocations file has
}

func newRotator(t *testing.T, w *town) *rotator {
	t.Helper()
	spare, err := certs.NewCA(certs.CAOptions{Name: "spare"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := auth.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &rotator{t: t, w: w, spare: spare, prober: w.citizen("prober", w.roots[0], w.signers[0]), extra: w.citizen("extra", w.roots[0], key)}
	r.conn = r.extra.dial()
	return r
}

// there says whether what comes and goes is there in that rotation.
func there(rotation int) bool { return rotation%2 == 0 }

// rotate returns the next texts of all files.
func (r *rotator) rotate(rotation int) map[string][]byte {
	r.t.Helper()
	issue := func(issued *certs.Issued, err error) *certs.Issued {
		if err != nil {
			r.t.Fatal(err)
		}
		return issued
	}
	text := func(text []byte, err error) []byte {
		if err != nil {
			r.t.Fatal(err)
		}
		return text
	}
	root := r.w.roots[0]
	r.server = issue(root.IssueServer([]string{sandbox.ServerName}, certs.IssueOptions{}))
	r.listed = issue(root.IssueUser("listed", certs.IssueOptions{}))
	r.forbidden = issue(root.IssueUser("forbidden", certs.IssueOptions{}))
	if err := root.Revoke(r.listed.Certificate(), certs.Superseded); err != nil {
		r.t.Fatal(err)
	}
	sum := certs.Thumbprint(r.forbidden.Certificate())
	r.list = append(r.list, fmt.Sprintf("jti nobody-%d", rotation), "certificate "+hex.EncodeToString(sum[:]))
	roots := slices.Concat(root.CertificatePEM(), r.w.roots[1].CertificatePEM())
	signers := r.w.signers[:]
	if there(rotation) {
		roots = append(roots, r.spare.CertificatePEM()...)
		signers = append(slices.Clone(signers), r.extra.signer)
	}
	return map[string][]byte{
		"server.crt":      r.server.ChainPEM(),
		"server.key":      text(r.server.KeyPEM()),
		"clients.crt":     roots,
		"crl.pem":         text(root.CRL()),
		"revocations.txt": []byte(strings.Join(r.list, "\n") + "\n"),
		"jwks.json":       text(auth.MarshalKeySet(signers...)),
		"policy.txt":      fmt.Appendf(nil, "# %d\nexpel nobody *\n", rotation),
	}
}

// feedsOfATown are what a town's server follows.
var feedsOfATown = []string{"certificate", "roots", "crl", "revocations", "jwks", "policy"}

// refuse installs broken files in place of all, and waits until the server has
// said so of each feed.
func (r *rotator) refuse(s style, good map[string][]byte) {
	r.t.Helper()
	broken := make(map[string][]byte)
	for name := range maps.Keys(good) {
		broken[name] = []byte("half a fi")
	}
	reports := strings.Count(r.w.d.errors(), "not replaced")
	before, err := r.w.loads(r.t.Context(), "broken")
	if err != nil {
		r.t.Fatal(err)
	}
	s.install(r.t, r.w, broken)
	if err := within(patience, func() error {
		after, err := r.w.loads(r.t.Context(), "broken")
		if err != nil {
			return err
		}
		for i, feed := range feedsOfATown {
			if after[i] == before[i] {
				return errors.New("a broken file is not counted: " + feed)
			}
		}
		if strings.Count(r.w.d.errors(), "not replaced") < reports+len(feedsOfATown) {
			return errors.New("nothing is said of broken files")
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

// taken says whether all that was rotated is in force.
func (r *rotator) taken(ctx context.Context, rotation int) error {
	leaf, roots, err := r.handshake(r.prober.issued)
	switch {
	case err != nil:
		return err
	case !leaf.Equal(r.server.Certificate()):
		return errors.New("the server shows another certificate")
	case slices.ContainsFunc(roots, r.isSpare) != there(rotation):
		return errors.New("the server trusts other authorities")
	}
	for _, revoked := range []*certs.Issued{r.listed, r.forbidden} {
		if _, _, err := r.handshake(revoked); err == nil {
			return fmt.Errorf("the server lets in %s, who is revoked", revoked.Certificate().Subject)
		}
	}
	counts, err := r.w.loads(ctx, "ok")
	if err != nil {
		return err
	}
	for i, feed := range feedsOfATown {
		if want := rotation + 2; counts[i] < want { // the first was there before
			return fmt.Errorf("of %s %d were taken up, want %d", feed, counts[i], want)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := openMember(ctx, r.conn, r.extra.token(time.Now().Add(time.Hour)), 0); (err == nil) != there(rotation) {
		return fmt.Errorf("the server has other keys: %v", err)
	}
	return nil
}

// loads is how often each of a town's feeds was put in force, or was broken.
func (w *town) loads(ctx context.Context, result string) ([]int, error) {
	var of []*regexp.Regexp
	for _, feed := range feedsOfATown {
		of = append(of, regexp.MustCompile(`(?m)^securechat_feed_loads_total\{feed="`+feed+`",.*result="`+result+`"\} (\d+)$`))
	}
	return w.counts(ctx, of...)
}

func (r *rotator) isSpare(subject []byte) bool {
	return bytes.Equal(subject, r.spare.Certificate().RawSubject)
}

// handshake connects with a certificate, and returns the server's and the
// authorities whose clients it accepts, or why it lets nobody in with that one.
func (r *rotator) handshake(issued *certs.Issued) (leaf *x509.Certificate, authorities [][]byte, err error) {
	trusted := x509.NewCertPool()
	trusted.AddCert(r.w.roots[0].Certificate())
	pair := issued.TLS()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", r.w.d.listen, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: sandbox.ServerName, RootCAs: trusted, NextProtos: []string{"h2"},
		GetClientCertificate: func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			authorities = asked.AcceptableCAs
			return &pair, nil
		},
	})
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	// In TLS 1.3 a client learns only by reading whether it is let in: from the
	// server's first frame.
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return nil, nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], authorities, nil
}
