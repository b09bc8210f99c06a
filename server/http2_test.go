package server

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2"
)

// FuzzWalker holds the walker against a real framer: whatever frames there are
// and however their bytes are cut, it finds the same headers.
func FuzzWalker(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(40))
	f.Fuzz(func(t *testing.T, seed uint64, count uint8) {
		random := rand.New(rand.NewPCG(seed, 0))
		var wire bytes.Buffer
		framer := http2.NewFramer(&wire, nil)
		framer.AllowIllegalWrites = true
		want := make([]frameHeader, 0, count)
		for range count {
			h := frameHeader{
				length: random.IntN(300), kind: byte(random.IntN(10)),
				flags: byte(random.IntN(256)), stream: random.Uint32() & (1<<31 - 1),
			}
			if err := framer.WriteRawFrame(http2.FrameType(h.kind), http2.Flags(h.flags), h.stream, make([]byte, h.length)); err != nil {
				t.Fatal(err)
			}
			want = append(want, h)
		}
		var w walker
		var got []frameHeader
		for wire.Len() > 0 {
			w.walk(wire.Next(1+random.IntN(40)), func(h frameHeader) { got = append(got, h) })
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
