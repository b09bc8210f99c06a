package server

import "encoding/binary"

// What the walker tells apart (RFC 9113 section 6).
const (
	frameHeaderLength = 9
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameContinuation = 0x9
	flagEndStream     = 0x1
	flagEndHeaders    = 0x4

	// prefaceLength is that of what a client sends before its first frame.
	prefaceLength = 24
)

// A frameHeader is the part of an HTTP/2 frame that says what follows.
type frameHeader struct {
	length int
	kind   byte
	flags  byte
	stream uint32
}

func (h frameHeader) endsStream() bool {
	return h.kind == frameReset || h.kind == frameHeaders && h.flags&flagEndStream != 0
}

// endsBlock says whether a header block is complete with the frame.
func (h frameHeader) endsBlock() bool {
	return (h.kind == frameHeaders || h.kind == frameContinuation) && h.flags&flagEndHeaders != 0
}

// A walker finds the frame headers in one direction of an HTTP/2 connection,
// however its bytes are cut into reads or writes. It looks at nothing else. For
// one goroutine at a time.
type walker struct {
	skip   int // bytes until the next header
	header [frameHeaderLength]byte
	have   int  // bytes of header that have been seen
	pause  bool // stop where the frame ends
}

// walk takes the next bytes and calls found for each header that they complete.
// Where found asks for a pause, it takes no more than to the end of that frame.
// It returns how many bytes it has taken.
func (w *walker) walk(b []byte, found func(frameHeader) (pause bool)) (taken int) {
	for {
		n := min(w.skip, len(b)-taken)
		w.skip -= n
		taken += n
		if w.skip == 0 && w.pause {
			w.pause = false
			return taken
		}
		if taken == len(b) {
			return taken
		}
		n = copy(w.header[w.have:], b[taken:])
		w.have += n
		taken += n
		if w.have < frameHeaderLength {
			return taken
		}
		w.have = 0
		h := frameHeader{
			length: int(w.header[0])<<16 | int(w.header[1])<<8 | int(w.header[2]),
			kind:   w.header[3],
			flags:  w.header[4],
			stream: binary.BigEndian.Uint32(w.header[5:]) & (1<<31 - 1),
		}
		w.skip = h.length
		w.pause = found(h)
	}
}
