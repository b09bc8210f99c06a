package certs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ParseRevocations reads a revocations file, which has one entry a line:
//
//	jti ID
//	subject NAME
//	subject NAME before 2006-01-02T15:04:05Z
//	certificate SHA256HEX
//
// Empty lines are skipped, and what follows a "#" at the start of a line or
// after a space is a comment. A name may contain spaces. An identifier or name
// that contains " #" or the word "before", or begins with a double quote, is written as
// a Go string: "in double quotes". A fingerprint may have colons and capital
// letters, as openssl prints it.
//
// With "before", only the subject's tokens issued before that time are revoked.
// Of several lines for one subject, the one that revokes most counts. The error
// names the line; nothing of a file with an error is used.
func ParseRevocations(text []byte) (*Revocations, error) {
	r := &Revocations{
		certificates: make(map[[sha256.Size]byte]struct{}),
		tokens:       make(map[string]struct{}),
		subjects:     make(map[string]time.Time),
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if err := r.addLine(string(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return r, nil
}

func (r *Revocations) addLine(line string) error {
	if !utf8.ValidString(line) {
		return errors.New("is not valid UTF-8")
	}
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil
	}
	keyword, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		keyword, rest = line[:i], line[i:]
	}
	value, rest, err := entryValue(rest)
	if err != nil {
		return fmt.Errorf("%s: %w", bounded(keyword), err)
	}
	if keyword == "subject" {
		return r.addSubject(value, rest)
	}
	if rest != "" {
		return fmt.Errorf("%s: %s follows the value: put a comment after a #", bounded(keyword), bounded(rest))
	}
	switch keyword {
	case "jti":
		return r.addToken(value)
	case "certificate":
		return r.addFingerprint(value)
	}
	return fmt.Errorf("%s is not a kind of entry: use jti, subject or certificate", bounded(keyword))
}

// An entry is the text of a value and what stands behind it, without a comment.
// The text of a value that is not quoted ends at the comment or at " before ".
type entry struct {
	text   string
	quoted bool
}

// entryValue takes the value off the front of text and returns what follows it.
func entryValue(text string) (entry, string, error) {
	trimmed := strings.TrimLeft(text, " \t")
	if strings.HasPrefix(trimmed, `"`) {
		prefix, err := strconv.QuotedPrefix(trimmed)
		if err != nil {
			return entry{}, "", errors.New("the double quotes do not close")
		}
		value, err := strconv.Unquote(prefix)
		if err != nil || value == "" || !utf8.ValidString(value) {
			return entry{}, "", fmt.Errorf("%s is not a string", bounded(prefix))
		}
		return entry{text: value, quoted: true}, strings.TrimSpace(withoutComment(trimmed[len(prefix):])), nil
	}
	value := strings.TrimSpace(withoutComment(text))
	if value == "" {
		return entry{}, "", errors.New("the value is missing")
	}
	return entry{text: value}, "", nil
}

// withoutComment cuts text at a "#" that follows a space or tab.
func withoutComment(text string) string {
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && (text[i-1] == ' ' || text[i-1] == '\t') {
			return text[:i-1]
		}
	}
	return text
}

func (r *Revocations) addToken(value entry) error {
	if !value.quoted && strings.ContainsAny(value.text, " \t") {
		return fmt.Errorf("jti: %s has spaces: put it in double quotes, or a comment after a #", bounded(value.text))
	}
	r.tokens[value.text] = struct{}{}
	return nil
}

func (r *Revocations) addFingerprint(value entry) error {
	raw, err := hex.DecodeString(strings.ReplaceAll(value.text, ":", ""))
	if err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("certificate: %s is not a SHA-256 fingerprint of 64 hexadecimal digits", bounded(value.text))
	}
	r.certificates[[sha256.Size]byte(raw)] = struct{}{}
	return nil
}

func (r *Revocations) addSubject(value entry, rest string) error {
	name := value.text
	if !value.quoted {
		name, rest = splitBefore(name)
	}
	var before time.Time
	if rest != "" {
		keyword, text, _ := strings.Cut(rest, " ")
		parsed, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
		if keyword != "before" || err != nil || parsed.IsZero() {
			return fmt.Errorf("subject: %s is not before with a time such as 2006-01-02T15:04:05Z (a name that contains it goes in double quotes)", bounded(rest))
		}
		before = parsed
	}
	name = norm.NFC.String(name)
	if known, listed := r.subjects[name]; listed && (known.IsZero() || !before.IsZero() && known.After(before)) {
		return nil
	}
	r.subjects[name] = before
	return nil
}

// splitBefore parts a name from the "before …" that may follow it.
func splitBefore(text string) (name, rest string) {
	words := strings.Fields(text)
	for i, word := range words {
		if i > 0 && strings.EqualFold(word, "before") {
			return strings.Join(words[:i], " "), strings.Join(words[i:], " ")
		}
	}
	return strings.Join(words, " "), ""
}

// bounded quotes a piece of a file for an error.
func bounded(text string) string { return fmt.Sprintf("%.60q", text) }
