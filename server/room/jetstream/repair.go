package jetstream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// repair removes the beginning of a batch at the stream's end whose rest is not
// there. A server that loses power or finds no room while it commits a batch may
// leave that, and can't always complete it; it has not been acknowledged.
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
			return fmt.Errorf("remove message %d of a batch that was never completed: %w", last.Sequence, err)
		}
	}
}
