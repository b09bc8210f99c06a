package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLines(t *testing.T) {
	full := strings.Repeat("x", maxText)
	broken := errors.New("broken pipe")
	tests := []struct {
		name  string
		input io.Reader
		want  []string
		words string // of the error; empty: the end
	}{
		{"line too long", strings.NewReader("a\n" + full + "x\nb\n"), []string{"a"}, "line 2 is longer than 255 KiB"},
		{"line too long by much", strings.NewReader(full + full), nil, "line 1 is longer"},
		{"reading fails", io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken)), []string{"a"}, "read line 2: broken pipe"},
		{"nothing", strings.NewReader(""), nil, ""},
		{"empty lines", strings.NewReader("\n\n"), []string{"", ""}, ""},
		{"no line end at the end", strings.NewReader("a\nb"), []string{"a", "b"}, ""},
		{"line ends of other systems", strings.NewReader("a\r\nb\r\n"), []string{"a", "b"}, ""},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("a\nb\n")), []string{"a", "b"}, ""},
		{"longest", strings.NewReader(full + "\r\n" + full), []string{full, full}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLines(test.input)
			var got []string
			text, err := l.next()
			for ; err == nil; text, err = l.next() {
				got = append(got, text)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %.100q, want %.100q", got, test.want)
			}
			if test.words == "" && err != io.EOF || test.words != "" && !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want %q", err, test.words)
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb\r\n\n")
	f.Add("\r")
	f.Fuzz(func(t *testing.T, input string) {
		l := newLines(strings.NewReader(input))
		count := 0
		for {
			text, err := l.next()
			if err != nil {
				break
			}
			count++
			if strings.Contains(text, "\n") {
				t.Fatalf("a line end in %q", text)
			}
		}
		want := strings.Count(input, "\n")
		if input != "" && !strings.HasSuffix(input, "\n") {
			want++
		}
		if len(input) <= maxText && count != want {
			t.Fatalf("got %d lines of %d", count, want)
		}
	})
}

// What a person types that cannot be sent ends nothing: the person is told.
func TestTypedPassesOver(t *testing.T) {
	var notices strings.Builder
	source := &typed{lines: newLines(strings.NewReader("one\ntw\xf6\nthree\n")), notices: &notices}
	for _, want := range []string{"one", "three"} {
		if text, err := source.next(); err != nil || text != want {
			t.Errorf("got %q, %v, want %q", text, err, want)
		}
	}
	if _, err := source.next(); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	if want := "chat: line 2 is not valid UTF-8 and has not been sent\n"; notices.String() != want {
		t.Errorf("the notices are %q, want %q", notices.String(), want)
	}
}
