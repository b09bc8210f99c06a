// Command roombench measures what rooms cost and prints the tables of the README
// and of docs/rooms.md.
//
//	go run ./server/roombench
//	go run ./server/roombench -only acks
//
// What is compared runs in rounds that take turns, because the same machine is not
// equally fast at all times. A ratio is that of the medians over the rounds, the
// spread that of single rounds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"

	"securechat/server/internal/measure"
)

// text is what every message says.
const text = "Hello, everybody! How are you today?"

// settings are how much is measured.
type settings struct {
	dir        string // for logs
	rounds     int
	window     int
	deliveries int
	messages   int
	lone       int
	replayed   int
	idle       int
	only       string // part of the names of the ways that fan-out is measured of
	members    []int
}

// A section is one table.
type section struct {
	name string
	run  func(ctx context.Context, s settings, out io.Writer) error
}

var sections = []section{
	{"fanout", fanOut}, {"acks", acknowledgements}, {"replay", replay}, {"memory", memory},
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "roombench:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(args) == 1 && args[0] == crewCommand {
		return workAsCrew(ctx, os.Stdin, out)
	}
	var s settings
	flags := flag.NewFlagSet("roombench", flag.ContinueOnError)
	only := flags.String("only", "", "the tables to print, separated by commas: fanout, acks, replay, memory; empty prints all")
	dir := flags.String("dir", os.TempDir(), "where logs are kept: the disk that is measured")
	members := flags.String("members", "10,100,1000", "how many members listen, in the fan-out")
	flags.IntVar(&s.rounds, "rounds", 5, "how many times each variant runs")
	flags.IntVar(&s.window, "window", 16, "messages of a room that are on their way at a time, in the fan-out")
	flags.IntVar(&s.deliveries, "deliveries", 100_000, "deliveries a round, in the fan-out")
	flags.IntVar(&s.messages, "messages", 20_000, "messages a round that share syncs")
	flags.IntVar(&s.lone, "lone", 500, "messages a round that go one by one")
	flags.IntVar(&s.replayed, "replayed", 100_000, "messages that are replayed")
	flags.IntVar(&s.idle, "idle", 1_000, "idle members, and rooms")
	flags.StringVar(&s.only, "ways", "", "what the names of the ways of the fan-out have in common that are measured; empty measures all")
	profile := flags.String("cpuprofile", "", "a file for a processor profile of this process")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte("["+*members+"]"), &s.members); err != nil {
		return fmt.Errorf("-members %s: %w", *members, err)
	}
	profiled, err := profileTo(*profile)
	if err != nil {
		return err
	}
	defer profiled()
	if s.dir, err = os.MkdirTemp(*dir, "roombench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	fmt.Fprintf(out, "%s, %s/%s, %d cores; messages of %d bytes of text\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(text))
	for _, one := range sections {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), one.name) {
			continue
		}
		if err := one.run(ctx, s, out); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// profileTo begins a processor profile where a file is named.
func profileTo(path string) (end func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = file.Close() }, nil
}

// table prints rows in columns below a title.
func table(out io.Writer, title string, rows [][]string) error {
	if _, err := fmt.Fprintf(out, "\n%s\n\n", title); err != nil {
		return err
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(columns, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return columns.Flush()
}

// show is a ratio and its spread, as cells.
func show(r measure.Ratio) []string {
	return []string{fmt.Sprintf("%.2f", r.Of), fmt.Sprintf("%.2f–%.2f", r.Low, r.High)}
}
