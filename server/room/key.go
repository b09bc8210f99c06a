package room

import (
	"encoding/base64"
	"errors"
	"strings"
)

// A Key names a room in the log. It is a subject's last tokens, so it has none of
// the characters that mean something there.
type Key string

// longestName is how long the name of a room may be, in bytes.
const longestName = 63

// pair begins the key of a room for two.
const pair = "@"

// ErrName is returned for what no room can be called.
var ErrName = errors.New("room: a name has 1 to 63 of a to z, 0 to 9, _ and -, and does not begin with _ or -")

// Named returns the key of the room of that name: [a-z0-9][a-z0-9_-]{0,62}.
func Named(name string) (Key, error) {
	if name == "" || len(name) > longestName || name[0] == '_' || name[0] == '-' {
		return "", ErrName
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return "", ErrName
		}
	}
	return Key(name), nil
}

// Pair returns the key of the room of two users, neither of them empty. It is the
// same whoever of them asks; a user alone is a pair with itself.
func Pair(a, b string) Key {
	if b < a {
		a, b = b, a
	}
	return Key(pair + "." + encode(a) + "." + encode(b))
}

// NameFor returns what the user calls the room: its name, or "@" and the other's
// name where it is a pair of the user and that other; and false for a pair of
// which the user is no part, and for what is no room's key.
func (k Key) NameFor(user string) (string, bool) {
	if !strings.HasPrefix(string(k), pair) {
		_, err := Named(string(k))
		return string(k), err == nil
	}
	a, b, isPair := k.users()
	switch {
	case !isPair:
		return "", false
	case user == a:
		return pair + b, true
	case user == b:
		return pair + a, true
	default:
		return "", false
	}
}

// users returns the two users of a pair, and whether it is one, written as Pair
// writes it.
func (k Key) users() (a, b string, ok bool) {
	parts := strings.Split(string(k), ".")
	if len(parts) != 3 {
		return "", "", false
	}
	first, err := base64.RawURLEncoding.DecodeString(parts[1])
	second, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	a, b = string(first), string(second)
	return a, b, err == nil && err2 == nil && a != "" && b != "" && Pair(a, b) == k
}

func encode(user string) string { return base64.RawURLEncoding.EncodeToString([]byte(user)) }
