package room

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// What nodes tell each other of a room beside what the log has. A note is JSON of
// at most maxNote bytes; one that is not exactly as below is ignored, so that a
// later version can say more under another number.

const (
	noteVersion = 1
	maxNote     = 64 << 10
	// notedUsers is how many users a note has at most; maxParts how many notes a
	// list of users.
	notedUsers = 100
	maxParts   = 1000
	// maxUser bounds the name of a user in a note, maxNode that of a node.
	maxUser, maxNode = 256, 64
)

// The kinds of notes.
const (
	noteUsers  = "users"  // the users that a node has in the room
	noteAsk    = "ask"    // every node shall say whom it has
	noteTyping = "typing" // a user is typing
)

// note is what one node tells the others.
type note struct {
	Version int    `json:"v"`
	Node    string `json:"node"`
	Kind    string `json:"kind"`
	// Number rises with every list of a node. A list may come in several parts
	// of one number, counted from 0.
	Number uint64     `json:"number,omitempty"`
	Part   int        `json:"part,omitempty"`
	Parts  int        `json:"parts,omitempty"`
	Users  []noteUser `json:"users,omitempty"`
	User   string     `json:"user,omitempty"` // who is typing
}

// noteUser is a user and since when it is there, in milliseconds since 1970.
type noteUser struct {
	User  string `json:"user"`
	Since int64  `json:"since"`
}

var errNote = errors.New("room: not a note")

func (n note) encode() []byte {
	n.Version = noteVersion
	b, err := json.Marshal(n)
	if err != nil { // it has nothing that JSON cannot say
		return nil
	}
	return b
}

// parseNote returns what a node has said.
func parseNote(b []byte) (*note, error) {
	if len(b) > maxNote {
		return nil, errNote
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	var n note
	if err := decoder.Decode(&n); err != nil {
		return nil, errNote
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNote
	}
	if n.Version != noteVersion || n.Node == "" || len(n.Node) > maxNode || !n.proper() {
		return nil, errNote
	}
	return &n, nil
}

// proper says whether the note has what its kind has, and nothing else.
func (n *note) proper() bool {
	list := n.Number != 0 || n.Part != 0 || n.Parts != 0 || n.Users != nil
	switch n.Kind {
	case noteAsk:
		return !list && n.User == ""
	case noteTyping:
		return !list && named(n.User)
	case noteUsers:
		return n.User == "" && n.Number > 0 && n.properList()
	default:
		return false
	}
}

func (n *note) properList() bool {
	if n.Parts < 1 || n.Parts > maxParts || n.Part < 0 || n.Part >= n.Parts || len(n.Users) > notedUsers {
		return false
	}
	for _, u := range n.Users {
		if !named(u.User) || u.Since < 0 || u.Since > latest {
			return false
		}
	}
	return true
}

// latest is the last second of the year 9999, after which no timestamp can show a
// time, in milliseconds since 1970.
const latest = 253_402_300_799_000

func named(user string) bool { return user != "" && len(user) <= maxUser && valid(user) }

// lists returns the notes that tell of a node's users.
func lists(node string, number uint64, users []noteUser) []note {
	count := max(1, (len(users)+notedUsers-1)/notedUsers)
	if count > maxParts {
		count, users = maxParts, users[:maxParts*notedUsers]
	}
	notes := make([]note, count)
	for i := range notes {
		end := min(len(users), (i+1)*notedUsers)
		notes[i] = note{Node: node, Kind: noteUsers, Number: number, Part: i, Parts: count, Users: users[i*notedUsers : end]}
	}
	return notes
}
