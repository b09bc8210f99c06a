package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// firstSequence leaves 1 to be the position of a reader of an empty log.
const firstSequence = 2

// Retention is how long a log keeps messages. Zero values keep them for good.
type Retention struct {
	// MaxAge is how old a message becomes; at least a second.
	MaxAge time.Duration
	// MaxPerRoom is how many messages a room keeps.
	MaxPerRoom int64
	// MaxBytes is how much the log holds; the oldest messages make room for new ones.
	MaxBytes int64
}

func (r Retention) check() error {
	switch {
	case r.MaxAge < 0 || r.MaxPerRoom < 0 || r.MaxBytes < 0:
		return errors.New("jetstream: a limit on what the log keeps is negative: leave it out to keep everything")
	case r.MaxAge > 0 && r.MaxAge < time.Second:
		return fmt.Errorf("jetstream: messages would be kept for %v only: keep them for a second at least", r.MaxAge)
	}
	return nil
}

// streamConfig is how the stream ought to be. Live is whether stored messages are
// sent on to those who follow a room.
func streamConfig(n names, keep Retention, replicas int, live bool) js.StreamConfig {
	unlimited := func(limit int64) int64 {
		if limit == 0 {
			return -1
		}
		return limit
	}
	config := js.StreamConfig{
		Name:               n.stream,
		Subjects:           []string{n.log(">")},
		Retention:          js.LimitsPolicy,
		Storage:            js.FileStorage,
		Discard:            js.DiscardOld,
		MaxAge:             keep.MaxAge,
		MaxMsgsPerSubject:  unlimited(keep.MaxPerRoom),
		MaxBytes:           unlimited(keep.MaxBytes),
		MaxMsgs:            -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Replicas:           max(replicas, 1),
		FirstSeq:           firstSequence,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
	if live {
		config.RePublish = &js.RePublish{Source: n.log(">"), Destination: n.live(">")}
	}
	return config
}

// ensure makes the stream where there is none, and brings the retention of one that
// is there up to date. It refuses one that could lose messages, or could hold some
// that this program has not written.
func ensure(ctx context.Context, api js.JetStream, want js.StreamConfig) (js.Stream, error) {
	handle, err := api.Stream(ctx, want.Name)
	if errors.Is(err, js.ErrStreamNotFound) {
		if handle, err = api.CreateStream(ctx, want); err != nil {
			// Another node may have been faster.
			var inner error
			if handle, inner = api.Stream(ctx, want.Name); inner != nil {
				return nil, fmt.Errorf("create the stream %s: %w", want.Name, err)
			}
		}
	} else if err != nil {
		return nil, fmt.Errorf("look for the stream %s: %w", want.Name, err)
	}
	have := handle.CachedInfo().Config
	if err := acceptable(have, want); err != nil {
		return nil, fmt.Errorf("the stream %s %w", want.Name, err)
	}
	update := have
	update.MaxAge, update.MaxMsgsPerSubject, update.MaxBytes = want.MaxAge, want.MaxMsgsPerSubject, want.MaxBytes
	update.Replicas = max(have.Replicas, want.Replicas)
	update.RePublish = want.RePublish
	if update.MaxAge > 0 && update.Duplicates > update.MaxAge {
		update.Duplicates = update.MaxAge // the server insists
	}
	if same(have, update) {
		return handle, nil
	}
	if handle, err = api.UpdateStream(ctx, update); err != nil {
		return nil, fmt.Errorf("bring the stream %s up to date: %w", want.Name, err)
	}
	return handle, nil
}

// acceptable says why a stream is not one to keep rooms in.
func acceptable(have, want js.StreamConfig) error {
	const remake = "copy what it holds to a new stream, or name another"
	for _, fault := range []struct {
		is     bool
		advice string
	}{
		{have.Storage != js.FileStorage, "is not stored in files: " + remake},
		{have.PersistMode == js.AsyncPersistMode, "answers before it has stored (persist_mode): " + remake},
		{have.NoAck, "does not acknowledge (no_ack): turn that off"},
		{have.Retention != js.LimitsPolicy, "forgets what consumers have read (retention): it must be limits"},
		{have.Discard != js.DiscardOld, "refuses new messages when it is full (discard): it must be old"},
		{have.MaxMsgs > 0 || have.MaxMsgSize > 0, "limits the number or the size of messages (max_msgs, max_msg_size): turn that off"},
		{have.FirstSeq != want.FirstSeq, fmt.Sprintf("does not begin at sequence %d: %s", want.FirstSeq, remake)},
		{!slices.Equal(have.Subjects, want.Subjects), fmt.Sprintf("takes other subjects than %s alone: name another", want.Subjects[0])},
		{have.Mirror != nil || len(have.Sources) > 0, "copies others (mirror, sources): name another"},
		{have.SubjectTransform != nil, "changes subjects (subject_transform): turn that off"},
		{have.Sealed, "is sealed: name another"},
		{have.AllowRollup || have.AllowMsgTTL, "lets a message remove others or end early (allow_rollup_hdrs, allow_msg_ttl): turn that off"},
		{have.AllowMsgCounter || have.AllowMsgSchedules, "changes messages (allow_msg_counter, allow_msg_schedules): turn that off"},
		{!have.AllowAtomicPublish, "does not take atomic batches (allow_atomic): turn that on; NATS 2.12 is the first that can"},
		{!have.AllowDirect, "has no direct access (allow_direct): turn that on"},
	} {
		if fault.is {
			return errors.New(fault.advice)
		}
	}
	return nil
}

// same says whether two configurations agree in what ensure updates.
func same(a, b js.StreamConfig) bool {
	return a.MaxAge == b.MaxAge && a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.MaxBytes == b.MaxBytes &&
		a.Replicas == b.Replicas && a.Duplicates == b.Duplicates && sameRePublish(a.RePublish, b.RePublish)
}

func sameRePublish(a, b *js.RePublish) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
