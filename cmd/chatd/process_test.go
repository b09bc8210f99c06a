package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what should be there at once, on a machine
// that has much else to do.
const patience = time.Minute

// A process is a chatd that runs in the background.
type process struct {
	cmd           *exec.Cmd
	listen, admin string
	startup       time.Duration // until it was ready
	reading       sync.WaitGroup

	mu             sync.Mutex
	stdout, stderr strings.Builder
}

var readyLine = regexp.MustCompile(`^ready listen=(\S+) admin=(\S+)$`)

// startProcess starts chatd and waits until it says that it is ready.
func startProcess(dir string, env, args []string) (*process, error) {
	program, err := exec.LookPath("chatd")
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program, args...)}
	p.cmd.Dir, p.cmd.Env = dir, env
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan []string, 1)
	p.reading.Go(func() { p.read(stdout, &p.stdout, nil) })
	p.reading.Go(func() {
		defer close(ready)
		p.read(stderr, &p.stderr, ready)
	})
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	addresses, ok := <-ready
	if !ok {
		_, err := p.wait()
		return nil, fmt.Errorf("chatd was not ready: %v: %s", err, p.errors())
	}
	p.listen, p.admin, p.startup = addresses[1], addresses[2], time.Since(began)
	return p, nil
}

// read keeps what the process writes, and hands over the addresses when it is
// ready.
func (p *process) read(from io.Reader, into *strings.Builder, ready chan<- []string) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(into, lines.Text())
		p.mu.Unlock()
		if addresses := readyLine.FindStringSubmatch(lines.Text()); addresses != nil && ready != nil {
			ready <- addresses
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// linesWith returns the lines on stderr that contain a text.
func (p *process) linesWith(text string) (found []string) {
	for line := range strings.Lines(p.errors()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// wait waits for the end and returns the exit code. A process that does not end
// is killed.
func (p *process) wait() (int, error) {
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	p.reading.Wait()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return p.cmd.ProcessState.ExitCode(), err
}

func (p *process) stop() (int, error) {
	if p.cmd.ProcessState != nil {
		return p.cmd.ProcessState.ExitCode(), nil
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, err
	}
	return p.wait()
}

// startForTest starts chatd for a test, which ends it.
func startForTest(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p, err := startProcess(t.TempDir(), append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...), args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if code, err := p.stop(); err != nil || code != 0 {
			t.Errorf("chatd ended with %d, %v: %s", code, err, p.errors())
		}
	})
	return p
}

// within waits until check says nil, asking again as time goes by.
func within(limit time.Duration, check func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-again.C:
		}
	}
}
