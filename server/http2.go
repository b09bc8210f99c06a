package server

import "encoding/binary"

// What the walker tells apart (RFC 9113 section 6).
const (
	frameHeaderLength = 9
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	flagEndStream     = 0x1

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

// A walker finds the frame headers in one direction of an HTTP/2 connection,
// however its bytes are cut into reads or writes. It looks at nothing else. For
// one goroutine at a time.
type walker struct {
	skip   int // bytes until the next header
	header [frameHeaderLength]byte
	have   int // bytes of header that have been seen
}

// walk takes the next bytes and calls found for each header that they complete.
func (w *walker) walk(b []byte, found func(frameHeader)) {
	for len(b) > 0 {
		if w.skip > 0 {
			n := min(w.skip, len(b))
			w.skip -= n
			b = b[n:]
			continue
		}
		n := copy(w.header[w.have:], b)
		w.have += n
		b = b[n:]
		if w.have < frameHeaderLength {
			return
		}
		w.have = 0
		h := frameHeader{
			length: int(w.header[0])<<16 | int(w.header[1])<<8 | int(w.header[2]),
			kind:   w.header[3],
			flags:  w.header[4],
			stream: binary.BigEndian.Uint32(w.header[5:]) & (1<<31 - 1),
		}
		w.skip = h.length
		found(h)
	}
}
