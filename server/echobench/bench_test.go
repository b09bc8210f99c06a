package main

import "testing"

func BenchmarkMessage(b *testing.B) {
	for _, v := range variants {
		b.Run(v.name, v.messages)
	}
}

func BenchmarkStream(b *testing.B) {
	for _, v := range variants {
		b.Run(v.name, v.streams)
	}
}
