// Command echobench compares the secured echo with the plainest insecure one and
// prints the table of the README.
//
//	go run ./server/echobench
//
// All variants run in one process, client and server together, in rounds that
// take turns, because the same machine is not equally fast at all times. A
// ratio is that of the medians over the rounds.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"text/tabwriter"

	"securechat/server/internal/measure"
)

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 9, "how many times each variant runs")
	perMessage := flag.Int("messages", 100_000, "messages a round")
	perStream := flag.Int("streams", 2_000, "streams a round")
	flag.Parse()

	fmt.Printf("%s, %s/%s, %d cores; window %d; client and server in one process\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), window)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "per\tvariant\tCPU ns\tratio\tspread\tallocs\tbytes")
	report(table, "message", *rounds, *perMessage, variant.messages)
	report(table, "stream", *rounds, *perStream, variant.streams)
	if err := table.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "echobench:", err)
		os.Exit(1)
	}
}

func report(table *tabwriter.Writer, per string, rounds, n int, run func(variant, *testing.B)) {
	took := make([]measure.Figures, len(variants))
	last := make([]testing.BenchmarkResult, len(variants))
	setBenchTime(n)
	for range rounds {
		for i, v := range variants {
			last[i] = testing.Benchmark(func(b *testing.B) { run(v, b) })
			took[i] = append(took[i], last[i].Extra["cpu-ns/op"])
		}
	}
	for i, v := range variants {
		ratio := took[i].Over(took[0])
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%.2f\t%.2f–%.2f\t%d\t%d\n", per, v.name, took[i].Median(),
			ratio.Of, ratio.Low, ratio.High, last[i].AllocsPerOp(), last[i].AllocedBytesPerOp())
	}
}

func setBenchTime(n int) {
	if err := flag.Set("test.benchtime", fmt.Sprintf("%dx", n)); err != nil {
		fmt.Fprintln(os.Stderr, "echobench:", err)
		os.Exit(1)
	}
}
