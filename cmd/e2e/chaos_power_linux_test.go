//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A volatileDisk is a file system of its own that can lose power: what has not
// been written through to it is gone then.
type volatileDisk struct {
	t      *testing.T
	device string
	dir    string
}

const (
	volatileSize  = "128M"
	volatileBlock = 4096
	// fsShutdown (FS_IOC_SHUTDOWN) stops a file system, and with withoutFlush as if
	// the machine were off: nothing more reaches the disk, not even its journal.
	fsShutdown   = 0x8004587d
	withoutFlush = 2
)

// newVolatileDisk returns unix.EPERM to those who may not mount a disk.
func newVolatileDisk(t *testing.T) (*volatileDisk, error) {
	d := &volatileDisk{t: t, dir: t.TempDir()}
	if err := unix.Mount("probe", d.dir, "tmpfs", 0, ""); err != nil {
		return nil, err
	}
	must(t, unix.Unmount(d.dir, 0))
	image := filepath.Join(t.TempDir(), "image")
	d.command("truncate", "-s", volatileSize, image)
	// What the file system writes of itself is at the beginning.
	d.command("mkfs.ext4", "-q", "-b", strconv.Itoa(volatileBlock), "-E", "packed_meta_blocks=1", image)
	d.device = strings.TrimSpace(d.command("losetup", "--find", "--show", image))
	t.Cleanup(func() { d.command("losetup", "--detach", d.device) })
	d.mount()
	t.Cleanup(func() { must(t, unix.Unmount(d.dir, 0)) })
	return d, nil
}

func (d *volatileDisk) mount() { d.command("mount", d.device, d.dir) }

func (d *volatileDisk) command(name string, args ...string) string {
	d.t.Helper()
	text, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %q: %v\n%s", name, args, err, text)
	}
	return string(text)
}

// fail takes the power from the disk and, in the same moment, from those who write
// to it, and gives it back to the disk.
func (d *volatileDisk) fail(writers ...*process) {
	d.t.Helper()
	for _, w := range writers {
		must(d.t, w.cmd.Process.Signal(unix.SIGSTOP))
	}
	for _, w := range writers {
		eventually(d.t, "the writer has stopped", w.stopped)
	}
	d.off()
	for _, w := range writers {
		w.kill()
	}
	d.on()
}

// stopped says whether no thread of the process runs any more: one has stopped, and
// the others have or will when the disk has answered them. Who writes on while the disk
// fails sees what no power failure shows.
func (p *process) stopped() error {
	states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	some := false
	for _, path := range states {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return err
		}
		_, state, _ := strings.Cut(string(text), ") ")
		switch state[:1] {
		case "T":
			some = true
		case "D":
		default:
			return fmt.Errorf("%s is in state %s", path, state[:1])
		}
	}
	if !some {
		return errors.New("no thread has stopped")
	}
	return nil
}

func (d *volatileDisk) off() {
	d.t.Helper()
	root, err := os.Open(d.dir)
	must(d.t, err)
	defer root.Close()
	must(d.t, unix.IoctlSetPointerInt(int(root.Fd()), fsShutdown, withoutFlush))
}

func (d *volatileDisk) on() {
	d.t.Helper()
	must(d.t, unix.Unmount(d.dir, 0))
	d.mount()
}

// wantForgetful sees to it that the disk forgets what was not written through: a
// test on one that does not would prove nothing.
func (d *volatileDisk) wantForgetful() {
	d.t.Helper()
	synced, unsynced := filepath.Join(d.dir, "synced"), filepath.Join(d.dir, "unsynced")
	must(d.t, os.WriteFile(synced, []byte("kept"), 0o600))
	d.command("sync", "-f", d.dir)
	must(d.t, os.WriteFile(unsynced, []byte("lost"), 0o600))
	d.off()
	d.on()
	if kept, err := os.ReadFile(synced); string(kept) != "kept" {
		d.t.Fatalf("what was synced reads %q, %v", kept, err)
	}
	if lost, err := os.ReadFile(unsynced); len(lost) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatalf("what was not synced reads %q, %v", lost, err)
	}
}

// power takes the power from those who keep the rooms, and their disk, under several
// senders and readers.
func (c *chaos) power(t *testing.T) {
	d, err := newVolatileDisk(t)
	if errors.Is(err, unix.EPERM) {
		t.Log("only root may mount a disk: nothing has been seen of what power that fails leaves")
		return
	}
	must(t, err)
	d.wantForgetful()
	t.Run("Embedded", func(t *testing.T) {
		n := c.node(newTown(t), nil, "--data", filepath.Join(d.dir, "rooms"))
		c.outages(t, n, c.times(5, 100), func() {
			d.fail(n.process)
			n.start()
		})
	})
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint("NATS", servers), func(t *testing.T) {
			keepers := c.startNATSIn(t, filepath.Join(d.dir, fmt.Sprint("nats", servers)), syncAlways, servers)
			n := c.node(newTown(t), nil, "--nats", keepers.urls(), "--nats-replicas", fmt.Sprint(servers))
			c.outages(t, n, c.times(2, 20), func() {
				d.fail(keepers.processes...)
				for i := range servers {
					keepers.start(i)
				}
			})
		})
	}
}

func (c *chaos) outages(t *testing.T, n *node, times int, outage func()) {
	talk := converse(t, stretch(times))
	alice, bob, carol := n.town.user("alice"), n.town.user("bob"), n.town.user("carol")
	for _, room := range []string{"ops", "lobby"} {
		talk.speak(alice.dial(n.listen), "alice-in-"+room, room)
		talk.speak(bob.dial(n.listen), "bob-in-"+room, room)
		talk.listen(bob.dial(n.listen), "bob-in-"+room, room)
		talk.wander(carol.raw(n.listen), "carol-in-"+room, room, 0, nil)
	}
	for range times {
		talk.more(50 + c.random.IntN(200))
		outage()
	}
	talk.more(100)
	talk.end(carol.dial(n.listen))
}
