package auth

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestKeyURLsRefused(t *testing.T) {
	for name, location := range map[string]string{
		"http":                "http://issuer.test/jwks.json",
		"http on loopback":    "http://127.0.0.1/jwks.json",
		"file":                "file:///etc/jwks.json",
		"no host":             "https:///jwks.json",
		"user and password":   "https://user:hush@issuer.test/jwks.json",
		"not a URL":           "https://issuer.test:hush/",
		"a control character": "https://issuer.test/hush\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			feed, err := Keys(location)
			if err == nil {
				feed.Close()
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	for name, opts := range map[string][]KeyOption{
		"a client that does not verify": {KeyClient(&http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // to be refused
		}})},
		"a client of TLS 1.0": {KeyClient(&http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS10}, //nolint:gosec // to be refused
		}})},
		"roots for a given client": {KeyClient(&http.Client{}), KeyRoots(x509.NewCertPool())},
	} {
		t.Run(name, func(t *testing.T) {
			feed, err := KeyURL(testKeyURL, opts...)
			if err == nil {
				feed.Close()
				t.Fatal("accepted")
			}
		})
	}
}

func TestFreshness(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, test := range []struct {
		cacheControl, age string
		expires, date     string
		want              time.Duration
	}{
		{"", "", "", "", defaultKeyFreshness},
		{"public", "", "", "", defaultKeyFreshness},
		{"s-maxage=600", "", "", "", defaultKeyFreshness},
		{"max-age=600", "", "", "", 10 * time.Minute},
		{"Public, MAX-AGE=600, immutable", "", "", "", 10 * time.Minute},
		{`max-age="600"`, "", "", "", 10 * time.Minute},
		{"max-age=600", "400", "", "", 200 * time.Second},
		{"max-age=600", "900", "", "", minKeyFreshness},
		{"max-age=600", "soon", "", "", 10 * time.Minute},
		{"max-age=59", "", "", "", minKeyFreshness},
		{"max-age=0", "", "", "", minKeyFreshness},
		{"max-age=-1", "", "", "", minKeyFreshness},
		{"max-age", "", "", "", minKeyFreshness},
		{"max-age=1e3", "", "", "", minKeyFreshness},
		{"max-age=3601", "", "", "", maxKeyFreshness},
		{"max-age=99999999999999999999", "", "", "", maxKeyFreshness},
		{"max-age=9223372036854775807", "", "", "", maxKeyFreshness},
		{"no-cache, max-age=600", "", "", "", minKeyFreshness},
		{"max-age=600, no-store", "", "", "", minKeyFreshness},

		{"", "", in(10 * time.Minute), "", 10 * time.Minute},
		{"", "", in(time.Second), "", minKeyFreshness},
		{"", "", in(-time.Hour), "", minKeyFreshness},
		{"", "", in(100 * time.Hour), "", maxKeyFreshness},
		{"", "", "0", "", minKeyFreshness},
		{"", "", "9999-99-99", "", minKeyFreshness},
		// By a clock of its own the server means ten minutes all the same.
		{"", "", in(time.Hour), in(50 * time.Minute), 10 * time.Minute},
		{"", "", in(10 * time.Minute), "today", 10 * time.Minute},
		// Cache-Control goes before it.
		{"max-age=600", "", in(time.Hour), "", 10 * time.Minute},
		{"no-store", "", in(time.Hour), "", minKeyFreshness},
	} {
		header := http.Header{}
		header.Set("Cache-Control", test.cacheControl)
		header.Set("Age", test.age)
		if test.expires != "" {
			header.Set("Expires", test.expires)
		}
		header.Set("Date", test.date)
		if got := freshness(header, now); got != test.want {
			t.Errorf("%+v: %v, want %v", test, got, test.want)
		}
	}
}
