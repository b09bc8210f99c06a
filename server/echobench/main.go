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
	"slices"
	"testing"
	"text/tabwriter"
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

func report(table *tabwriter.Writer, per string, rounds, n int, measure func(variant, *testing.B)) {
	results := make([][]testing.BenchmarkResult, len(variants))
	setBenchTime(n)
	for range rounds {
		for i, v := range variants {
			results[i] = append(results[i], testing.Benchmark(func(b *testing.B) { measure(v, b) }))
		}
	}
	for i, v := range variants {
		ratios := make([]float64, rounds)
		for r := range rounds {
			ratios[r] = cpuOf(results[i][r]) / cpuOf(results[0][r])
		}
		slices.Sort(ratios)
		last := results[i][rounds-1]
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%.2f\t%.2f–%.2f\t%d\t%d\n", per, v.name, median(results[i]),
			median(results[i])/median(results[0]), ratios[0], ratios[rounds-1], last.AllocsPerOp(), last.AllocedBytesPerOp())
	}
}

func setBenchTime(n int) {
	if err := flag.Set("test.benchtime", fmt.Sprintf("%dx", n)); err != nil {
		fmt.Fprintln(os.Stderr, "echobench:", err)
		os.Exit(1)
	}
}

func cpuOf(r testing.BenchmarkResult) float64 { return r.Extra["cpu-ns/op"] }

func median(results []testing.BenchmarkResult) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = cpuOf(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
