package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"securechat/server/room"
)

// localNames are the names of the stream in an embedded log.
var localNames = names{stream: "CHAT", prefix: "chat"}

const (
	// startWithin is how long a server may take to read what its folder holds.
	startWithin = 10 * time.Minute
	// slowAfter is how long an append goes without an answer before the server is
	// asked how it is, and then as often.
	slowAfter = time.Second
	// localAnswer is how long a slow disk has, as long as it does not fail.
	localAnswer = 30 * time.Second
	// maxPayload is the largest message that the server takes, headers included.
	maxPayload = 8 << 20
)

// instance is a server in this process and its stream.
type instance struct {
	*stream
	server *server.Server
	proven
	// cut, where it is not 0, is what counts of a log whose disk takes nothing: what comes
	// after it is the beginning of a batch, which could not be removed.
	cut uint64
}

// start starts a server on the folder. What the folder holds is made durable
// first: a process that was killed, or a disk that failed, may have left it in the
// system's memory, and what can be read from the log is to be as good as what it
// acknowledged.
func start(config *EmbeddedConfig) (*instance, error) {
	store := storeIn(config.Dir)
	messages, stream := messagesIn(config.Dir), streamIn(store)
	if err := shelter(messages, stream); err != nil {
		return nil, err
	}
	if err := syncBlocks(config.Dir); err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             "room-log",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               store,
		JetStreamMaxStore:      1 << 62, // the disk is the limit
		JetStreamMaxMemory:     64 << 20,
		SyncAlways:             config.SyncInterval == 0,
		SyncInterval:           config.SyncInterval,
		MaxPayload:             maxPayload,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	s.SetLogger(serverLog{config.Logger}, false, false)
	in := &instance{server: s, stream: newStream(localNames, localAnswer)}
	s.Start()
	if err := in.open(config, messages, stream); err != nil {
		in.stop()
		return nil, errors.Join(err, forgetNotes(config.Dir))
	}
	return in, nil
}

// forgetNotes removes what a server that could not write has noted of its messages, so
// that the next one reads them: it notes what it has in memory, and the disk may have no
// more of that than the end, by which the next would believe the rest.
func forgetNotes(dir string) error {
	for _, messages := range []string{messagesIn(dir), streamIn(storeIn(dir))} {
		if err := os.Remove(filepath.Join(messages, "msgs", "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// storeIn is where a server keeps what it has.
func storeIn(dir string) string { return filepath.Join(dir, "store") }

// messagesIn is where shelter has the messages.
func messagesIn(dir string) string { return filepath.Join(dir, "messages") }

// streamIn is where a server keeps the stream.
func streamIn(store string) string {
	return filepath.Join(store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", localNames.stream)
}

func (in *instance) open(config *EmbeddedConfig, messages, stream string) (err error) {
	if !in.server.ReadyForConnections(startWithin) {
		return errors.New("the server does not start")
	}
	if !in.server.JetStreamEnabled() {
		return errors.New("the server can't use the folder: its log says why")
	}
	if err := sheltered(messages, stream); err != nil {
		return err // rather than have it make another in its place
	}
	for _, nc := range []**nats.Conn{&in.writes, &in.asks, &in.reads} {
		if *nc, err = nats.Connect("", nats.InProcessServer(in.server), nats.Timeout(localAnswer), nats.NoReconnect(), nats.SyncQueueLen(answerQueue),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
				config.Logger.Warn("the connection to the log", "error", err)
			})); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if err := in.attach(ctx, streamConfig(in.names, config.Keep, 1, false)); err != nil {
		return err
	}
	remains := in.repair(ctx)
	if remains != nil && !errors.Is(remains, errRemains) {
		return remains
	}
	last, err := in.found(ctx, cmp.Or(remains, in.trouble()))
	in.upTo.Store(last)
	if remains == nil {
		return err
	}
	if in.cut = last; err != nil || last == 0 {
		return errors.Join(remains, err)
	}
	config.Logger.Error("the log can be read, and nothing can be stored", "folder", config.Dir, "error", remains)
	return nil
}

// found returns the last sequence that the disk had when the server was started. The
// server writes what is missing of a last batch: where it is in trouble, none of the
// batch counts.
func (in *instance) found(ctx context.Context, trouble error) (uint64, error) {
	_, last, err := in.span(ctx)
	if err != nil || trouble == nil {
		return last, err
	}
	message, err := in.get(ctx, getQuery{LastFor: in.names.log(">")})
	if err != nil || message == nil {
		return last, err
	}
	header, err := nats.DecodeHeadersMsg(message.Header)
	if err != nil {
		return last, nil // no headers: it is of no batch
	}
	if place, err := strconv.ParseUint(header.Get(headerBatchPlace), 10, 64); err == nil && place <= message.Sequence {
		return message.Sequence - place, nil
	}
	return last, nil
}

// try sends an append once.
func (in *instance) try(ctx context.Context, a *appending, attempt int) (first uint64, err error) {
	in.begin()
	ctx, done := in.whileSound(ctx)
	first, err = in.send(ctx, a, attempt)
	done()
	if err != nil {
		in.end(0)
		return 0, err
	}
	in.end(first + uint64(len(a.messages)) - 1)
	return first, nil
}

// newest is that of the stream, of what counts.
func (in *instance) newest(ctx context.Context, key room.Key) (uint64, error) {
	newest, err := in.stream.newest(ctx, key)
	if err != nil || in.cut == 0 || newest <= in.cut {
		return newest, err
	}
	entries, _, err := in.read(ctx, key, in.cut, 1)
	if err != nil || len(entries) == 0 || entries[0].Previous == 0 {
		return 0, err
	}
	// The one before may have been discarded.
	if entries, _, err = in.read(ctx, key, entries[0].Previous-1, 1); err != nil || len(entries) == 0 || entries[0].Sequence > in.cut {
		return 0, err
	}
	return entries[0].Sequence, nil
}

// span is that of the stream, of what counts.
func (in *instance) span(ctx context.Context) (first, last uint64, err error) {
	first, last, err = in.stream.span(ctx)
	if in.cut > 0 {
		last = min(last, in.cut)
	}
	return first, last, err
}

// readable reads like read, of what counts, and fails where there is more and nothing of it is to be
// had: nobody else has it.
func (in *instance) readable(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	for range rereads {
		entries, more, err := in.read(ctx, key, after, limit)
		if at := slices.IndexFunc(entries, func(e room.Entry) bool { return in.cut > 0 && e.Sequence > in.cut }); at >= 0 {
			return entries[:at], false, err
		}
		if err != nil || len(entries) > 0 || limit <= 0 {
			return entries, more, err
		}
		if newest, err := in.newest(ctx, key); err != nil || newest <= after {
			return nil, false, err
		}
	}
	return nil, false, errUnreadable
}

// stop ends the connections and the server, and waits until they have.
func (in *instance) stop() {
	in.stream.close()
	in.server.Shutdown()
	in.server.WaitForShutdown()
}

// trouble returns what keeps the server from writing or being asked, if anything does:
// a connection that is lost is not made again.
func (in *instance) trouble() error {
	if in.cut > 0 {
		return errRemains
	}
	if in.writes.IsClosed() || in.asks.IsClosed() || in.reads.IsClosed() {
		return nats.ErrConnectionClosed
	}
	if !in.server.JetStreamEnabled() {
		return errors.New("the server has given up on the folder")
	}
	health := in.server.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: in.names.stream})
	if health.Error != "" {
		return errors.New(health.Error)
	}
	return nil
}

// whileSound returns a context that ends with ctx, or once the server is in
// trouble: it does not answer what it could not write. Stop waits for the watch.
func (in *instance) whileSound(ctx context.Context) (sound context.Context, stop func()) {
	sound, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		slow := time.NewTicker(slowAfter)
		defer slow.Stop()
		for {
			select {
			case <-sound.Done():
				return
			case <-slow.C:
			}
			if err := in.trouble(); err != nil {
				cancel(err)
				return
			}
		}
	})
	return sound, func() {
		cancel(nil)
		watch.Wait()
	}
}

// syncBlocks makes the messages in a folder durable, or forgets them: where an earlier
// sync has failed, Linux takes what it could not write for written, and shows it
// until the memory is needed for something else. It does not look into folders that
// are others', as a disk's lost+found is.
func syncBlocks(dir string) error {
	root := dir + string(filepath.Separator) // else a link to the folder is not followed
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && filepath.Dir(path) == dir && path != root && path != messagesIn(dir) && path != storeIn(dir):
			return fs.SkipDir
		case entry.IsDir() && runtime.GOOS == "windows", // which has no such thing
			!entry.IsDir() && !strings.HasSuffix(path, ".blk"):
			return nil
		}
		mode := os.O_RDWR
		if entry.IsDir() {
			mode = os.O_RDONLY
		}
		file, err := os.OpenFile(path, mode, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := file.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
		readAnew(file)
		return nil
	})
}
