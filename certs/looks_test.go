package certs

import (
	"crypto"
	"testing"
)

// A countingSigner counts how often a set is made of it.
type countingSigner struct {
	crypto.Signer
	asked *int
}

func (s countingSigner) Public() crypto.PublicKey {
	*s.asked++
	return s.Signer.Public()
}

// Looks at what has not changed parse nothing and make nothing, whether it is in
// force or broken.
func TestLooksAtWhatHasNotChangedCostNothing(t *testing.T) {
	d := newDesk(t)
	d.Close() // from here on, the test looks by itself
	parsed, made := 0, 0
	for _, feed := range d.feeds {
		parse := feed.parse
		feed.parse = func(texts [][]byte) (func(*values), error) {
			parsed++
			return parse(texts)
		}
	}
	pair := *d.values.pair
	pair.PrivateKey = countingSigner{pair.PrivateKey.(crypto.Signer), &made}
	d.values.pair = &pair

	again := must(newTestCA(t, CAOptions{}).CRL())(t) // in the root's name
	for name, spoil := range map[string]func(){
		"nothing changed": func() {},
		"broken roots":    func() { d.cut(d.paths.Roots) },
		"an unfit list":   func() { d.write(d.paths.CRL, again) },
	} {
		spoil()
		d.load(false)
		d.load(false)
		parsed, made = 0, 0
		for range 5 {
			d.load(false)
		}
		if parsed != 0 || made != 0 {
			t.Errorf("%s: 5 looks parse %d times and make %d sets", name, parsed, made)
		}
	}
	if err := d.Reload(); err == nil || parsed == 0 {
		t.Errorf("asked for by hand, it says %v after parsing %d times", err, parsed)
	}
}
