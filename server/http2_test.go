package server

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2"
)

// FuzzWalker holds the walker against a real framer: whatever frames there are
// and however their bytes are cut, it finds the same headers, and stops where each
// header block ends.
func FuzzWalker(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(40))
	f.Add(uint64(3), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, count uint8) {
		random := rand.New(rand.NewPCG(seed, 0))
		var wire bytes.Buffer
		framer := http2.NewFramer(&wire, nil)
		framer.AllowIllegalWrites = true
		want := make([]frameHeader, 0, count)
		blocks := make(map[int]bool) // where header blocks end
		for range count {
			h := frameHeader{
				length: random.IntN(300), kind: byte(random.IntN(10)),
				flags: byte(random.IntN(256)), stream: random.Uint32() & (1<<31 - 1),
			}
			if err := framer.WriteRawFrame(http2.FrameType(h.kind), http2.Flags(h.flags), h.stream, make([]byte, h.length)); err != nil {
				t.Fatal(err)
			}
			want = append(want, h)
			if h.endsBlock() {
				blocks[wire.Len()] = true
			}
		}
		var w walker
		var got []frameHeader
		at := 0
		for wire.Len() > 0 {
			for cut := wire.Next(1 + random.IntN(400)); len(cut) > 0; {
				n := w.walk(cut, func(h frameHeader) bool { got = append(got, h); return h.endsBlock() })
				for passed := range n - 1 {
					if blocks[at+passed+1] {
						t.Fatalf("it took the bytes %d to %d, past the end of a block at %d", at, at+n, at+passed+1)
					}
				}
				if at += n; n < len(cut) && !blocks[at] {
					t.Fatalf("it stopped at %d, where no block ends", at)
				}
				cut = cut[n:]
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d headers, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("header %d is %v, want %v", i, got[i], want[i])
			}
		}
	})
}
