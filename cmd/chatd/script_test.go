package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type daemonsKey struct{}

func daemonNamed(ts *testscript.TestScript, name string) *process {
	p, ok := ts.Value(daemonsKey{}).(map[string]*process)[name]
	if !ok {
		ts.Fatalf("nothing called %s has been started", name)
	}
	return p
}

func arguments(ts *testscript.TestScript, neg bool, args []string, least int, form string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", form)
	}
}

// exits CODE PROGRAM [ARG...] runs a program that must exit with the code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "exits CODE PROGRAM [ARG...]")
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// start NAME ARG... starts chatd with the arguments and waits until it is ready.
// $NAME_LISTEN and $NAME_ADMIN are its addresses.
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "start NAME ARG...")
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "GOCOVERDIR", "GORACE"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	p, err := startProcess(ts.MkAbs("."), env, args[1:])
	ts.Check(err)
	ts.Value(daemonsKey{}).(map[string]*process)[args[0]] = p
	ts.Defer(func() { _, _ = p.stop() })
	ts.Setenv(args[0]+"_LISTEN", p.listen)
	ts.Setenv(args[0]+"_ADMIN", p.admin)
	ts.Logf("ready after %v", p.startup)
}

// signal NAME SIGNAL sends SIGTERM, SIGINT or SIGHUP.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "signal NAME SIGNAL")
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	ts.Check(daemonNamed(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// ends NAME CODE waits for the end of what start began, and leaves what it wrote
// in NAME.stdout and NAME.stderr.
func scriptEnds(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "ends NAME CODE")
	p := daemonNamed(ts, args[0])
	code, err := p.wait()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stdout"), []byte(p.output()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stderr"), []byte(p.errors()), 0o600))
	if strconv.Itoa(code) != args[1] {
		ts.Fatalf("%s ended with %d, want %s: %s", args[0], code, args[1], p.errors())
	}
}

// eventually NAME PATTERN waits until what it has written matches.
func scriptEventually(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "eventually NAME PATTERN")
	p := daemonNamed(ts, args[0])
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	ts.Check(within(patience, func() error {
		if text := p.output() + p.errors(); !pattern.MatchString(text) {
			return fmt.Errorf("%s has not written %s: %s", args[0], pattern, text)
		}
		return nil
	}))
}

// capture NAME PATTERN sets $NAME to what the pattern's group has matched in the
// last command's output.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "capture NAME PATTERN")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("the output does not match %s", pattern)
	}
	ts.Setenv(args[0], found[1])
}

// mode OCTAL FILE... checks permissions.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "mode OCTAL FILE...")
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// get CODE URL fetches and prints a page.
func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "get CODE URL")
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get(args[1])
	ts.Check(err)
	defer response.Body.Close()
	_, err = io.Copy(ts.Stdout(), response.Body)
	ts.Check(err)
	if want := args[0]; strconv.Itoa(response.StatusCode) != want {
		ts.Fatalf("%s answered %d, want %s", args[1], response.StatusCode, want)
	}
}

// loads FEED OK BROKEN wants the counts of a feed on the page of metrics that get
// has printed.
func scriptLoads(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 3, "loads FEED OK BROKEN")
	for i, result := range []string{"ok", "broken"} {
		pattern := regexp.MustCompile(`(?m)^securechat_feed_loads_total\{feed="` + args[0] + `",.*result="` + result + `"\} (\d+)$`)
		found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
		if found == nil || found[1] != args[i+1] {
			ts.Fatalf("the loads of %s that are %s: %q, want %s", args[0], result, found, args[i+1])
		}
	}
}

// chat-program makes the program chat, in the folder of chatd.
func scriptChatProgram(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: chat-program")
	}
	_, err := chatProgram()
	ts.Check(err)
}

// chatProgram builds the program chat, once, beside the chatd of the tests, and
// returns its path.
var chatProgram = sync.OnceValues(func() (string, error) {
	beside, err := exec.LookPath("chatd")
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(beside), "chat")
	build := exec.Command("go", "build", "-o", path, "securechat/cmd/chat")
	var said strings.Builder
	build.Stdout, build.Stderr = &said, &said
	began := time.Now()
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build chat: %w after %v: %s", err, time.Since(began), said.String())
	}
	return path, nil
})
