package room

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	chatpb "securechat/proto/chat"
)

// A record is an entry as a log stores it:
//
//	byte     1, the version of this layout
//	uvarint  the link to the room's entry before it: its sequence times 2, or,
//	         times 2 and plus 1, how many sequences it lies before this one
//	the rest an encoded ChatMessage of the fields 1 to 4 and 7
//
// The second kind of link is for entries that are stored together: their
// sequences are not known yet, but their distance is. The room and the sequence
// are not in the record, because the log has them beside it.

const recordVersion = 1

// AppendRecord appends the record of an entry to b. Where before is not 0, the
// room's previous entry is stored in the same append, so many places before this
// one; otherwise it is e.Previous. It fails if a string is not valid UTF-8.
func AppendRecord(b []byte, e *Entry, before int) ([]byte, error) {
	link := e.Previous << 1
	if before > 0 {
		link = uint64(before)<<1 | 1
	}
	b = append(b, recordVersion)
	b = binary.AppendUvarint(b, link)
	return appendMessage(b, e, 0)
}

// ParseRecord returns the entry that the log has under this room and sequence.
func ParseRecord(room Key, sequence uint64, record []byte) (Entry, error) {
	e := Entry{Room: room, Sequence: sequence}
	if err := e.parse(record); err != nil {
		return Entry{}, fmt.Errorf("room: the log's record %d is not one of this program's: %w", sequence, err)
	}
	return e, nil
}

func (e *Entry) parse(record []byte) error {
	if len(record) == 0 || record[0] != recordVersion {
		return errors.New("its version is unknown")
	}
	link, size := binary.Uvarint(record[1:])
	if size <= 0 {
		return errors.New("its link is malformed")
	}
	e.Previous = link >> 1
	if link&1 == 1 {
		e.Previous = e.Sequence - link>>1
	}
	if e.Previous >= e.Sequence {
		return errors.New("its link does not lead back")
	}
	var message chatpb.ChatMessage
	if err := proto.Unmarshal(record[1+size:], &message); err != nil {
		return errors.New("its message is malformed") // the cause might quote it
	}
	if message.User == "" || message.Kind != chatpb.Kind_MESSAGE || message.Sequence != 0 {
		return errors.New("it is not what a user said")
	}
	at, err := time.Parse(chatpb.TimestampFormat, message.Timestamp)
	if err != nil {
		return errors.New("its time is malformed")
	}
	e.User, e.ID, e.Text, e.Time, e.Traceparent = message.User, message.Id, message.Message, at, message.Traceparent
	return nil
}

// entryOverhead is about what an entry takes beside its texts, in bytes.
const entryOverhead = 128

// size is about how many bytes are sent of the entry.
func (e *Entry) size() int { return entryOverhead + len(e.User) + len(e.ID) + len(e.Text) }

// AppendMessage appends the encoded ChatMessage, of kind MESSAGE, that members
// get for an entry. It fails if a string is not valid UTF-8.
func AppendMessage(b []byte, e *Entry) ([]byte, error) { return appendMessage(b, e, e.Sequence) }

func appendMessage(b []byte, e *Entry, sequence uint64) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(b, &chatpb.ChatMessage{
		User:        e.User,
		Message:     e.Text,
		Timestamp:   chatpb.FormatTimestamp(e.Time),
		Id:          e.ID,
		Sequence:    sequence,
		Traceparent: e.Traceparent,
	})
	if err != nil {
		return nil, errors.New("room: a message's strings must be valid UTF-8")
	}
	return b, nil
}
