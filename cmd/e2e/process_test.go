//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should take a moment.
const patience = 60 * time.Second

// build builds one of the module's programs, or one of another module with its
// go.mod in dir, and returns its path.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// A process is a program that runs until it is stopped or the test ends.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *lines
	stderr *lines
	ended  chan struct{}
	err    error // of Wait; read after ended
}

// run starts a program with the variables added to a bare environment.
func run(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), stdout: newLines(), stderr: newLines(), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %s\nstdout:\n%s\nstderr:\n%s", filepath.Base(name), strings.Join(args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

// wait returns the exit code once the program has ended.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s still runs after %v", p.cmd.Path, patience)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatal(p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks the program to end and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	return p.wait()
}

func (p *process) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatal(err)
	}
}

// lines is what a program prints, as it prints it.
type lines struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// line returns the first line that begins with prefix, waiting for it.
func (p *process) line(from *lines, prefix string) string {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		from.mu.Lock()
		text, changed := from.text.String(), from.changed
		from.mu.Unlock()
		for scanner := bufio.NewScanner(strings.NewReader(text)); scanner.Scan(); {
			if strings.HasPrefix(scanner.Text(), prefix) {
				return scanner.Text()
			}
		}
		select {
		case <-changed:
		case <-p.ended:
			p.t.Fatalf("%s ended without a line %q", p.cmd.Path, prefix)
		case <-deadline:
			p.t.Fatalf("%s printed no line %q within %v", p.cmd.Path, prefix, patience)
		}
	}
}

// field returns the value of name=value in a line.
func field(t *testing.T, line, name string) string {
	t.Helper()
	for _, word := range strings.Fields(line) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			return value
		}
	}
	t.Fatalf("no %s= in %q", name, line)
	return ""
}

// freePorts finds ports for programs that cannot choose them by themselves. They lie
// where systems give none to connections, nor to listeners that ask for any: one of
// these might take a port before its program listens, or while that is killed.
func freePorts(t *testing.T, count int) (ports []string) {
	t.Helper()
	const least, beyond, attempts = 16384, 32768, 100
	for range attempts {
		port := strconv.Itoa(least + rand.N(beyond-least))
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		defer listener.Close() // all together, so that they differ
		if ports = append(ports, port); len(ports) == count {
			return ports
		}
	}
	t.Fatalf("%d ports are free, want %d", len(ports), count)
	return nil
}

// eventually tries until it succeeds or patience ends.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}
