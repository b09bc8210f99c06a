package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// errRemains says that the beginning of a batch could not be removed.
var errRemains = errors.New("part of a batch that was never completed can't be removed: see to it that the disk can be written to")

// repair removes the beginning of a batch at the stream's end whose rest is not
// there. A server that loses power or finds no room while it commits a batch may
// leave that, and can't always complete it; it has not been acknowledged. Errors:
// errRemains; any other is of the asking.
func (s *stream) repair(ctx context.Context) error {
	var batch string
	for {
		last, err := s.get(ctx, getQuery{LastFor: s.names.log(">")})
		if err != nil || last == nil {
			return err
		}
		header, err := nats.DecodeHeadersMsg(last.Header)
		if err != nil {
			return nil // no headers: it is of no batch
		}
		id := header.Get(headerBatch)
		if id == "" || header.Get(headerBatchCommit) != "" || batch != "" && id != batch {
			return nil
		}
		batch = id
		if err := s.handle.DeleteMsg(ctx, last.Sequence); err != nil {
			return fmt.Errorf("%w (message %d): %w", errRemains, last.Sequence, err)
		}
	}
}
