package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var (
	errGlobClass  = errors.New("a [ begins a class, such as [a-z] or [^a-z], that does not end or is malformed")
	errGlobEscape = errors.New(`a \ has nothing behind it to stand for`)
	errGlobUTF8   = errors.New("it is not valid UTF-8")
)

// CheckGlob says what is wrong with a glob, nil if nothing is. In a glob
//
//   - stands for any characters, or none
//     ?         stands for one character
//     [a-z0-9]  for one of these, [^a-z] for one that is not
//     \c        for c itself, in a class too
//
// and every other character for itself. No character is special in a name: unlike
// path.Match, * and ? and classes stand for slashes, too.
func CheckGlob(glob string) error {
	if !utf8.ValidString(glob) {
		return errGlobUTF8
	}
	for glob != "" {
		_, rest, err := nextTerm(glob)
		if err != nil {
			return err
		}
		glob = rest
	}
	return nil
}

// MatchGlob says whether a glob (see CheckGlob) matches all of a name. One that is
// malformed matches nothing.
func MatchGlob(glob, name string) bool {
	whole := glob
	// What stands behind the last * so far, the plain text with which that begins,
	// and where in the name it was last tried.
	behind, plain, tried, starred := "", "", "", false
	for glob != "" || name != "" {
		if rest, star := strings.CutPrefix(glob, "*"); star {
			behind, plain, tried, starred = rest, plainHead(rest), name, true
			glob = rest
			continue
		}
		if rest, left, ok := matchOne(glob, name); ok {
			glob, name = rest, left
			continue
		}
		if !starred || tried == "" {
			return false
		}
		_, size := utf8.DecodeRuneInString(tried)
		skip := strings.Index(tried[size:], plain)
		if skip < 0 {
			return false
		}
		tried = tried[size+skip:]
		glob, name = behind, tried
	}
	return CheckGlob(whole) == nil // few match: what is behind the first difference need not be read
}

// plainHead returns the text with which all begins that a glob matches.
func plainHead(glob string) string {
	if special := strings.IndexAny(glob, `*?[\`); special >= 0 {
		return glob[:special]
	}
	return glob
}

// matchOne matches the first term of a glob, which is no *, with the first character
// of a name, and returns what is left of both.
func matchOne(glob, name string) (rest, left string, ok bool) {
	if glob == "" || name == "" {
		return "", "", false
	}
	t, rest, err := nextTerm(glob)
	r, size := utf8.DecodeRuneInString(name)
	return rest, name[size:], err == nil && t.matches(r)
}

// A term of a glob stands for one character: any, one of a class, or itself.
type term struct {
	any     bool
	class   string // what is between the brackets, without ^; "" for a character
	negated bool
	char    rune
}

// nextTerm reads the first term of a glob that is not empty. For a * it returns the
// zero term.
func nextTerm(glob string) (t term, rest string, err error) {
	switch glob[0] {
	case '*':
		return term{}, glob[1:], nil
	case '?':
		return term{any: true}, glob[1:], nil
	case '[':
		return nextClass(glob[1:])
	case '\\':
		if glob = glob[1:]; glob == "" {
			return term{}, "", errGlobEscape
		}
	}
	r, size := utf8.DecodeRuneInString(glob)
	return term{char: r}, glob[size:], nil
}

// nextClass reads a class, whose [ has been read.
func nextClass(glob string) (t term, rest string, err error) {
	glob, t.negated = strings.CutPrefix(glob, "^")
	rest = glob
	for rest == glob || !strings.HasPrefix(rest, "]") {
		if _, _, rest, err = nextRange(rest); err != nil {
			return term{}, "", err
		}
	}
	t.class = glob[:len(glob)-len(rest)]
	return t, rest[1:], nil
}

// nextRange reads one character of a class, or two with a - between them.
func nextRange(class string) (low, high rune, rest string, err error) {
	if low, rest, err = classChar(class); err != nil {
		return 0, 0, "", err
	}
	high = low
	if after, more := strings.CutPrefix(rest, "-"); more {
		if high, rest, err = classChar(after); err != nil {
			return 0, 0, "", err
		}
		if high < low {
			return 0, 0, "", fmt.Errorf("%w: it has a range that is the wrong way round", errGlobClass)
		}
	}
	return low, high, rest, nil
}

func classChar(class string) (r rune, rest string, err error) {
	class, escaped := strings.CutPrefix(class, `\`)
	if class == "" || !escaped && (class[0] == '-' || class[0] == ']') {
		return 0, "", errGlobClass
	}
	r, size := utf8.DecodeRuneInString(class)
	return r, class[size:], nil
}

func (t term) matches(r rune) bool {
	if t.class == "" {
		return t.any || t.char == r
	}
	for class := t.class; class != ""; {
		low, high, rest, err := nextRange(class)
		if err != nil {
			return false
		}
		if low <= r && r <= high {
			return !t.negated
		}
		class = rest
	}
	return t.negated
}
