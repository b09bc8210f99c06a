package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestRelative(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		offset time.Duration
		want   string
	}{
		{-90 * time.Minute, "1 h 30 min ago"},
		{-time.Second, "1 s ago"},
		{0, "in 0 s"},
		{59 * time.Second, "in 59 s"},
		{61 * time.Second, "in 1 min 1 s"},
		{47 * time.Hour, "in 47 h 0 min"},
		{72 * time.Hour, "in 3 days"},
	}
	for _, test := range tests {
		if got := relative(now.Add(test.offset), now); got != test.want {
			t.Errorf("relative(%v) is %q, want %q", test.offset, got, test.want)
		}
	}
}

func TestExpiryInWords(t *testing.T) {
	now := time.Unix(1000, 0)
	tests := []struct{ claims, want string }{
		{`{}`, "never, or not well-formed"},
		{`{"exp":"2000"}`, "never, or not well-formed"},
		{`{"exp":-1}`, "never, or not well-formed"},
		{`{"exp":1e300}`, "never, or not well-formed"},
		{`{"exp":1000}`, "EXPIRED"},
		{`{"exp":1060}`, "in 1 min 0 s"},
	}
	for _, test := range tests {
		shown := &token{Claims: json.RawMessage(test.claims)}
		if got := shown.expiry(now); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.claims, got, test.want)
		}
	}
}

func FuzzTokenParts(f *testing.F) {
	f.Add("e30.e30.AA")
	f.Add("e30.e30")
	f.Add("eyJleHAiOjFlOTk5fQ.eyJleHAiOiIxIn0.")
	f.Add("e30.eyJjbmYiOnsieDV0I1MyNTYiOiJcdTAwMWJbMm0ifX0.")
	f.Fuzz(func(t *testing.T, compact string) {
		shown, err := readTokenParts(compact)
		if err != nil {
			return
		}
		var text strings.Builder
		if err := shown.print(&text, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(text.String(), "\x1b\x07\x00\r") {
			t.Errorf("control characters get through: %q", text.String())
		}
	})
}
