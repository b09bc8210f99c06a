package server

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"securechat/auth"
)

const (
	// maxGlobs bounds the globs of a policy: every live stream is held against
	// them when the policy changes. Rooms named as they are cost nothing.
	maxGlobs     = 1000
	maxGlobBytes = 128
)

// ParseRoomPolicy reads a room policy, which has one entry a line:
//
//	room GLOB NAME...   # rooms that match are open to these users alone
//	room GLOB *         # and these to everybody
//	expel NAME GLOB     # this user may not open rooms that match, whatever else does
//
// A room that several lines match is open to the users of each, and one that none
// matches to everybody. Globs are those of auth.CheckGlob, of the characters that
// rooms' names have; those that begin with @ are of pairs, as the caller names
// them, and "*" matches these too. There may be 1,000 globs with a wildcard.
//
// Empty lines are skipped, and what follows a "#" at the start of a word is a
// comment. Words that contain spaces or a "#", or begin with a double quote, are
// written as Go strings: "in double quotes". So is a user whose name is "*". The
// error names the line; nothing of a file with an error is used.
func ParseRoomPolicy(text []byte) (*RoomPolicy, error) {
	p := policyParser{policy: &RoomPolicy{rooms: make(map[string]members), expelled: make(map[string]roomSet)}}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if err := p.addLine(string(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return p.policy, nil
}

type policyParser struct {
	policy *RoomPolicy
	globs  int // with a wildcard
}

func (p *policyParser) addLine(line string) error {
	if !utf8.ValidString(line) {
		return errors.New("is not valid UTF-8")
	}
	words, err := splitWords(line)
	if err != nil || len(words) == 0 {
		return err
	}
	switch keyword := words[0]; {
	case keyword.is("room"):
		return p.addRoom(words[1:])
	case keyword.is("expel"):
		return p.addExpulsion(words[1:])
	default:
		return fmt.Errorf("%.60q is not a kind of entry: use room or expel", keyword.text)
	}
}

func (p *policyParser) addRoom(words []word) error {
	if len(words) < 2 {
		return errors.New("room: write the room's name or a glob, then the users to whom it is open, or * for everybody")
	}
	glob, plain, err := p.glob(words[0])
	if err != nil {
		return fmt.Errorf("room: %w", err)
	}
	open := p.policy.rooms[glob]
	if open.users == nil {
		open.users = make(map[string]struct{})
	}
	open.everyone = open.everyone || len(words) == 2 && words[1].is("*")
	for _, w := range words[1:] {
		if w.is("*") {
			if len(words) > 2 {
				return errors.New("room: * is for everybody and stands alone")
			}
			continue
		}
		name, err := userName(w)
		if err != nil {
			return fmt.Errorf("room: %w", err)
		}
		open.users[name] = struct{}{}
	}
	if plain {
		p.policy.rooms[glob] = open
	} else {
		p.policy.globs = append(p.policy.globs, openRooms{newGlob(glob), open})
	}
	return nil
}

func (p *policyParser) addExpulsion(words []word) error {
	if len(words) != 2 {
		return errors.New("expel: write one user, then the room's name or a glob")
	}
	if words[0].is("*") {
		return errors.New("expel: it is one user who is expelled: open the room to others by a room line")
	}
	name, err := userName(words[0])
	if err != nil {
		return fmt.Errorf("expel: %w", err)
	}
	glob, plain, err := p.glob(words[1])
	if err != nil {
		return fmt.Errorf("expel: %w", err)
	}
	rooms := p.policy.expelled[name]
	if rooms.names == nil {
		rooms.names = make(map[string]struct{})
	}
	if plain {
		rooms.names[glob] = struct{}{}
	} else {
		rooms.globs = append(rooms.globs, newGlob(glob))
	}
	p.policy.expelled[name] = rooms
	return nil
}

// userName reads a user's name. One that no user can have is a slip that must not
// go unnoticed.
func userName(w word) (string, error) {
	name := norm.NFC.String(w.text)
	if err := auth.CheckName(name); err != nil {
		return "", fmt.Errorf("%.60q is no user: %w", w.text, err)
	}
	return name, nil
}

// glob reads the name of a room or a glob, and says whether it is plain, so that
// it matches itself alone.
func (p *policyParser) glob(w word) (glob string, plain bool, err error) {
	if glob = norm.NFC.String(w.text); len(glob) > maxGlobBytes {
		return "", false, fmt.Errorf("%.60q has %d bytes, more than %d", glob, len(glob), maxGlobBytes)
	}
	if err := auth.CheckGlob(glob); err != nil {
		return "", false, fmt.Errorf("%.60q is not a glob: %w", glob, err)
	}
	if plain = !strings.ContainsAny(glob, `*?[\`); plain {
		glob, err = roomName(w)
		return glob, true, err
	}
	if !strings.HasPrefix(glob, "@") && strings.ContainsFunc(glob, outsideRooms) {
		return "", false, fmt.Errorf("%.60q %s", glob, matchesNoRoom)
	}
	if p.globs++; p.globs > maxGlobs {
		return "", false, fmt.Errorf("it is one glob more than the %d that there may be: name rooms as they are", maxGlobs)
	}
	return glob, false, nil
}

const matchesNoRoom = "matches no room: rooms' names are of a-z, 0-9, _ and -, and pairs' are a user's after an @"

var plainRoom = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// roomName reads the name of one room. One that no room can have is a slip, as a
// name that is no user's is.
func roomName(w word) (string, error) {
	if name, pair := strings.CutPrefix(w.text, "@"); pair {
		name, err := userName(word{text: name})
		return "@" + name, err
	}
	if !plainRoom.MatchString(w.text) {
		return "", fmt.Errorf("%.60q %s", w.text, matchesNoRoom)
	}
	return w.text, nil
}

// outsideRooms says whether r can stand neither in a room's name nor, for what it
// means there, in a glob.
func outsideRooms(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(`_-*?[]^\`, r)
}

// A word is a piece of a line.
type word struct {
	text   string
	quoted bool
}

// is says whether the word is that keyword, which in quotes is none.
func (w word) is(keyword string) bool { return !w.quoted && w.text == keyword }

// splitWords takes a line apart, up to a comment.
func splitWords(line string) ([]word, error) {
	const space = " \t\r\n"
	var words []word
	for {
		line = strings.TrimLeft(line, space)
		switch {
		case line == "" || line[0] == '#':
			return words, nil
		case line[0] != '"':
			end := strings.IndexAny(line+" ", space)
			words = append(words, word{text: line[:end]})
			line = line[end:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, errors.New("the double quotes do not close")
		}
		text, err := strconv.Unquote(quoted)
		if err != nil || text == "" || !utf8.ValidString(text) {
			return nil, fmt.Errorf("%.60q is not a string", quoted)
		}
		if line = line[len(quoted):]; line != "" && !strings.ContainsRune(space, rune(line[0])) {
			return nil, fmt.Errorf("%.60q is followed by something other than a space", quoted)
		}
		words = append(words, word{text: text, quoted: true})
	}
}
