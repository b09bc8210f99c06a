package jetstream

import (
	"errors"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
)

// Only an answer that is for all of an append, from its stream, is one. After any
// other it is in doubt, unless the stream has said that it refuses it.
func TestAnswers(t *testing.T) {
	s := newStream(localNames, answerWithin)
	for name, test := range map[string]struct {
		messages int
		answer   string
		first    uint64
		doubt    bool
		refused  bool
	}{
		"nothing":                       {1, ``, 0, true, false},
		"another stream's":              {1, `{"stream":"OTHER","seq":9}`, 0, true, false},
		"no stream's":                   {1, `{"seq":9}`, 0, true, false},
		"no sequence":                   {1, `{"stream":"CHAT"}`, 0, true, false},
		"a sequence before all":         {1, `{"stream":"CHAT","seq":1}`, 0, true, false},
		"too early a sequence for all":  {3, `{"stream":"CHAT","seq":3,"count":3}`, 0, true, false},
		"part of a batch":               {3, `{"stream":"CHAT","seq":9,"count":2}`, 0, true, false},
		"a batch's without its number":  {3, `{"stream":"CHAT","seq":9}`, 0, true, false},
		"another sequence is the last":  {3, `{"error":{"err_code":10071}}`, 0, false, true},
		"a message of it is under way":  {3, `{"error":{"err_code":10164}}`, 0, false, true},
		"an error":                      {3, `{"error":{"err_code":10023},"stream":"CHAT","seq":9,"count":3}`, 0, false, false},
		"one":                           {1, `{"stream":"CHAT","seq":2}`, 2, false, false},
		"a batch":                       {3, `{"stream":"CHAT","seq":9,"count":3}`, 7, false, false},
		"a batch at the very beginning": {3, `{"stream":"CHAT","seq":4,"count":3}`, 2, false, false},
	} {
		first, err := s.answered(&appending{messages: make([]message, test.messages)}, []byte(test.answer))
		var doubt *doubtError
		if first != test.first || (err == nil) != (test.first > 0) ||
			errors.As(err, &doubt) != test.doubt || errors.Is(err, errRefused) != test.refused {
			t.Errorf("%s: got %d, %v", name, first, err)
		}
	}
}

// A stored message is an append's own only at a place that the append has.
func TestPlaces(t *testing.T) {
	batch := &appending{id: "mine", messages: make([]message, 3)}
	for _, test := range []struct {
		batch, place string
		ours         bool
	}{
		{"mine.1", "1", true}, {"mine.7", "3", true},
		{"mine.1", "0", false}, {"mine.1", "4", false}, {"mine.1", "", false}, {"mine.1", "-1", false},
		{"mine", "", false}, {"other.1", "1", false}, {"", "1", false},
	} {
		place, ours := batch.place(nats.Header{headerBatch: {test.batch}, headerBatchPlace: {test.place}})
		if ours != test.ours || ours && strconv.Itoa(place+1) != test.place {
			t.Errorf("%+v: got %d, %v", test, place, ours)
		}
	}
	alone := &appending{id: "mine", messages: make([]message, 1)}
	for id, want := range map[string]bool{"mine": true, "other": false, "": false} {
		if place, ours := alone.place(nats.Header{headerAppend: {id}}); ours != want || place != 0 {
			t.Errorf("alone, of %q: got %d, %v", id, place, ours)
		}
	}
}
