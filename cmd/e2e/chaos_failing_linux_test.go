//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// breakAfter makes the disk fail from the end of a file on: what is written there is
// taken, and fails when it is written through. It does nothing if the disk does not
// tell any more where that is.
func (d *volatileDisk) breakAfter(path string) {
	d.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	text, err := exec.Command("filefrag", "-v", path).Output()
	if err != nil {
		return
	}
	last := uint64(info.Size()-1) / volatileBlock
	for _, extent := range fileExtent.FindAllStringSubmatch(string(text), -1) {
		var from, to, place uint64
		for i, number := range []*uint64{&from, &to, &place} {
			*number, err = strconv.ParseUint(extent[i+1], 10, 64)
			must(d.t, err)
		}
		if from <= last && last <= to && place > 0 {
			d.limit((place + last - from + 1) * volatileBlock)
		}
	}
}

// fileExtent is a line of filefrag's: the file's blocks, and where on the disk they are.
var fileExtent = regexp.MustCompile(`(?m)^ *\d+: +(\d+)\.\. +(\d+): +(\d+)\.\.`)

// limit is how many bytes there are of the disk from now on; 0: all.
func (d *volatileDisk) limit(bytes uint64) {
	d.t.Helper()
	device, err := os.OpenFile(d.device, os.O_RDWR, 0)
	must(d.t, err)
	defer device.Close()
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	must(d.t, err)
	info.Sizelimit = bytes
	must(d.t, unix.IoctlLoopSetStatus64(int(device.Fd()), info))
}

// failingDisks has disks fail to write, and power fail after that, under one sender
// at a time, whose messages are stored one by one, and readers who come and go.
func (c *chaos) failingDisks(t *testing.T) {
	d, err := newVolatileDisk(t)
	if errors.Is(err, unix.EPERM) {
		t.Log("only root may mount a disk: nothing has been seen of one that fails")
		return
	}
	must(t, err)
	for _, failing := range []struct {
		name string
		fail func(block string) // called until it is noticed
		mend func()
	}{
		{"Dead", func(string) { d.off() }, func() {}},
		// The file system may go on with the file before where it ends.
		{"Bad", d.breakAfter, func() { d.limit(0) }},
	} {
		t.Run(failing.name, func(t *testing.T) {
			data := filepath.Join(d.dir, failing.name)
			n := c.node(newTown(t), nil, "--data", data)
			times := c.times(5, 50)
			talk := converse(t, stretch(times))
			talk.burst = 1
			alice, bob := n.town.user("alice"), n.town.user("bob")
			talk.speakEvery(50*time.Millisecond, alice.dial(n.listen), "alice", "ops")
			talk.listen(bob.dial(n.listen), "bob", "ops")
			for i := range 4 {
				talk.wander(bob.raw(n.listen), fmt.Sprint("bob", i), "ops", 5, c.source())
			}
			for range times {
				talk.more(20 + c.random.IntN(30))
				block := newestBlock(t, data)
				noticed(t, n, func() { failing.fail(block) })
				failing.mend()
				d.fail(n.process)
				n.start()
			}
			talk.more(50)
			talk.end(alice.dial(n.listen))
		})
	}
}

// newestBlock is the file that a server writes its messages to.
func newestBlock(t *testing.T, data string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(data, "messages/msgs/*.blk"))
	must(t, err)
	if len(blocks) != 1 {
		t.Fatalf("the messages are in %q", blocks)
	}
	return blocks[0]
}

// noticed waits until the server has taken up its log anew, or has refused to store
// some times: it does one or the other, as it stores messages one by one or together.
func noticed(t *testing.T, n *node, fail func()) {
	t.Helper()
	eventually(t, "a disk that fails is noticed", func() error {
		fail()
		log := n.stderr.String()
		if strings.Contains(log, "the log could not be written to") || strings.Count(log, "messages could not be stored") >= 3 {
			return nil
		}
		return errors.New("the server's log says nothing of it")
	})
}
