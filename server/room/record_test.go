package room

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	chatpb "securechat/proto/chat"
)

var recordTime = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

func TestParseRecordRefuses(t *testing.T) {
	message := func(change func(*chatpb.ChatMessage)) []byte {
		m := &chatpb.ChatMessage{User: "alice", Message: "hello", Timestamp: chatpb.FormatTimestamp(recordTime)}
		change(m)
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	record := func(version byte, link uint64, message []byte) []byte {
		return append(binary.AppendUvarint([]byte{version}, link), message...)
	}
	plain := message(func(*chatpb.ChatMessage) {})
	const sequence = 10

	tests := []struct {
		name   string
		record []byte
	}{
		{"empty", nil},
		{"only a version", []byte{recordVersion}},
		{"of another version", record(recordVersion+1, 0, plain)},
		{"a link that does not end", []byte{recordVersion, 0x80}},
		{"a link longer than 64 bits", append([]byte{recordVersion}, strings.Repeat("\xff", 11)...)},
		{"a link to itself", record(recordVersion, sequence<<1, plain)},
		{"a link ahead", record(recordVersion, (sequence+1)<<1, plain)},
		{"a link back to itself", record(recordVersion, 0<<1|1, plain)},
		{"a link back past the beginning", record(recordVersion, (sequence+1)<<1|1, plain)},
		{"no message", record(recordVersion, 0, nil)},
		{"a message cut short", record(recordVersion, 0, plain[:len(plain)-1])},
		{"invalid UTF-8", record(recordVersion, 0, []byte(strings.Replace(string(plain), "hello", "hell\xff", 1)))},
		{"nobody's", record(recordVersion, 0, message(func(m *chatpb.ChatMessage) { m.User = "" }))},
		{"not something said", record(recordVersion, 0, message(func(m *chatpb.ChatMessage) { m.Kind = chatpb.Kind_JOINED }))},
		{"a sequence of its own", record(recordVersion, 0, message(func(m *chatpb.ChatMessage) { m.Sequence = sequence }))},
		{"no time", record(recordVersion, 0, message(func(m *chatpb.ChatMessage) { m.Timestamp = "" }))},
		{"a time zone", record(recordVersion, 0, message(func(m *chatpb.ChatMessage) { m.Timestamp = "2026-03-04T05:06:07.089+01:00" }))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := ParseRecord("ops", sequence, test.record)
			if err == nil {
				t.Fatalf("accepted as %+v", e)
			}
			if strings.Contains(err.Error(), "hell") {
				t.Errorf("the error quotes the message: %v", err)
			}
		})
	}
	if _, err := ParseRecord("ops", sequence, record(recordVersion, 9<<1, plain)); err != nil {
		t.Errorf("the plain record that the cases vary: %v", err)
	}
}

func TestRecordsKeepEntries(t *testing.T) {
	entry := Entry{
		Room: "ops", Sequence: 1 << 40, Previous: 1<<40 - 7,
		User: "alice", ID: "7b", Text: "héllo\n", Time: recordTime,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	bare := Entry{Room: "ops", Sequence: 2, User: "a", Time: recordTime}
	tests := []struct {
		name   string
		before int // places
		want   Entry
	}{
		{"linked by sequence", 0, entry},
		{"linked by distance", 7, entry},
		{"nothing but a user", 0, bare},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stored := test.want
			if test.before > 0 {
				stored.Previous = 0 // not known when it is written
			}
			record, err := AppendRecord(nil, &stored, test.before)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseRecord(test.want.Room, test.want.Sequence, record)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestRecordsAreCutToMillisecondsOfUTC(t *testing.T) {
	e := Entry{User: "a", Time: recordTime.Add(999 * time.Microsecond).In(time.FixedZone("", 3600))}
	record, err := AppendRecord(nil, &e, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecord("ops", 2, record)
	if err != nil {
		t.Fatal(err)
	}
	if got.Time != recordTime {
		t.Errorf("got %v, want %v", got.Time, recordTime)
	}
}

func TestInvalidTextIsNotRecorded(t *testing.T) {
	e := Entry{User: "a", Text: "secret\xff", Time: recordTime}
	for name, write := range map[string]func() ([]byte, error){
		"record":  func() ([]byte, error) { return AppendRecord(nil, &e, 0) },
		"message": func() ([]byte, error) { return AppendMessage(nil, &e) },
	} {
		if _, err := write(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v, want one that does not quote the text", name, err)
		}
	}
}

func TestAppendMessage(t *testing.T) {
	e := Entry{Sequence: 9, Previous: 4, User: "alice", ID: "7b", Text: "hello", Time: recordTime, Traceparent: "00-1"}
	wire, err := AppendMessage([]byte("before"), &e)
	if err != nil {
		t.Fatal(err)
	}
	var got chatpb.ChatMessage
	if err := proto.Unmarshal(wire[len("before"):], &got); err != nil {
		t.Fatal(err)
	}
	want := &chatpb.ChatMessage{
		User: "alice", Message: "hello", Timestamp: "2026-03-04T05:06:07.089Z",
		Id: "7b", Sequence: 9, Traceparent: "00-1",
	}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v, want %v", &got, want)
	}
}

// A record that is read must be what would be written for the entry.
func FuzzParseRecord(f *testing.F) {
	for _, e := range []Entry{
		{User: "a", Time: recordTime},
		{Previous: 5, User: "alice", ID: "7b", Text: "hello", Time: recordTime, Traceparent: "00-1"},
	} {
		for _, before := range []int{0, 1, math.MaxInt} {
			record, err := AppendRecord(nil, &e, before)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint64(6), record)
		}
	}
	f.Add(uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, sequence uint64, record []byte) {
		sequence &= math.MaxInt64 // as far as links reach
		e, err := ParseRecord("ops", sequence, record)
		if err != nil {
			return
		}
		if e.Previous >= sequence {
			t.Fatalf("%d is said to come before %d", e.Previous, sequence)
		}
		again, err := AppendRecord(nil, &e, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRecord("ops", sequence, again); err != nil || got != e {
			t.Fatalf("written and read again: %+v, %v; want %+v", got, err, e)
		}
	})
}
