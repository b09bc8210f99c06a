package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxNameBytes = 64

// CheckName returns an error, which says why, unless name can be a user's: 1 to
// 64 bytes of valid UTF-8 in normal form (NFKC, which is NFC as well), of
// characters that show, with single spaces within at most, and not to be taken
// for "Server", in whose name the service itself speaks.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxNameBytes:
		return fmt.Errorf("the name has %d bytes, more than %d", len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case !norm.NFKC.IsNormalString(name):
		return errors.New("the name is not in normal form (NFKC): write its characters in their plain, composed forms")
	}
	if err := checkNameCharacters(name); err != nil {
		return err
	}
	if looksLikeServer(name) {
		return errors.New("the name can be taken for the service's own")
	}
	return nil
}

func checkNameCharacters(name string) error {
	before := ' '
	for _, r := range name {
		switch {
		case !shows(r):
			return fmt.Errorf("the name has the character %U, which is not printable", r)
		case r == ' ' && before == ' ':
			return errors.New("the name begins with a space or has two together")
		case before == ' ' && unicode.IsMark(r):
			return fmt.Errorf("the name has the combining mark %U with nothing to combine with", r)
		}
		before = r
	}
	if before == ' ' {
		return errors.New("the name ends with a space")
	}
	return nil
}

// shows says whether r is a space or leaves a mark of its own on the screen.
// Control, format, private and unassigned characters do not, nor spaces other
// than U+0020, nor what Unicode ignores by default, nor the few that are blank
// though of a printable category.
func shows(r rune) bool {
	const (
		brailleBlank      = '\u2800'
		objectReplacement = '\uFFFC'
		khitanFiller      = '\U00016FE4'
		nullNotehead      = '\U0001D159'
	)
	switch r {
	case brailleBlank, objectReplacement, utf8.RuneError, khitanFiller, nullNotehead:
		return false
	}
	return unicode.IsPrint(r) && !ignorable(r)
}

func ignorable(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// looksLikeServer says whether a reader could take name for "Server": whether
// nothing but the six letters, or characters that look like them, is left once
// case, accents, spaces, punctuation and invisible characters are taken away.
// The idea is the skeleton of UTS #39, for one word.
func looksLikeServer(name string) bool {
	var skeleton strings.Builder
	for _, r := range norm.NFKD.String(strings.ReplaceAll(name, `\/`, "v")) {
		r = plainLetter(unicode.ToLower(plainLetter(r)))
		if (unicode.IsLetter(r) || unicode.IsNumber(r)) && !ignorable(r) {
			skeleton.WriteRune(r)
		}
	}
	return skeleton.String() == "server"
}
