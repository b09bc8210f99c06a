package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) {
	if os.Getenv(stubborn) != "" {
		os.Exit(beStubborn())
	}
	// os/signal keeps a goroutine for the rest of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/signal.loop"))
}

func TestCodeOf(t *testing.T) {
	denied := status.Error(codes.PermissionDenied, "no")
	tests := []struct {
		name string
		err  error
		want Code
	}{
		{"none", nil, OK},
		{"plain", errors.New("x"), Failure},
		{"cancelled", context.Canceled, Failure},
		{"unavailable", status.Error(codes.Unavailable, ""), Unreachable},
		{"unauthenticated", status.Error(codes.Unauthenticated, ""), Unauthenticated},
		{"denied", denied, Denied},
		{"not found", status.Error(codes.NotFound, ""), NotFound},
		{"exhausted", status.Error(codes.ResourceExhausted, ""), Failure},
		{"wrapped", fmt.Errorf("a: %w", denied), Denied},
		{"explicit goes first", Exit(Unacknowledged, denied), Unacknowledged},
		{"explicit within", fmt.Errorf("a: %w", Exit(Usage, denied)), Usage},
		{"joined", errors.Join(denied, errors.New("x")), Denied},
		{"exit of nothing", Exit(Usage, nil), OK},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := CodeOf(test.err); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
	if !errors.Is(Exit(Usage, denied), denied) || Exit(Usage, denied).Error() != denied.Error() {
		t.Error("Exit hides the error")
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, tab\tand é 日本":       "plain, tab\tand é 日本",
		"two\nlines\n":               "two; lines",
		"\x1b[31mred\x1b[0m":         "\uFFFD[31mred\uFFFD[0m",
		"\x9b31m\u009b":              "\uFFFD31m\uFFFD", // one byte that is no UTF-8, and C1's CSI
		"a\u202etxt.exe":             "a\uFFFDtxt.exe",
		"overwritten\rby this":       "overwritten\uFFFDby this",
		"bell\a and delete\x7f here": "bell\uFFFD and delete\uFFFD here",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// tree is a program whose command `do` returns err.
func tree(err error, args ...string) (root *cobra.Command, out, notices *bytes.Buffer) {
	out, notices = &bytes.Buffer{}, &bytes.Buffer{}
	root = &cobra.Command{Use: "prog", Short: "A program"}
	do := &cobra.Command{Use: "do", Short: "Do it", RunE: func(*cobra.Command, []string) error { return err }}
	do.Flags().Int("number", 0, "a number")
	need := &cobra.Command{Use: "need", Short: "Needs a flag", RunE: func(*cobra.Command, []string) error { return nil }}
	need.Flags().String("must", "", "required")
	_ = need.MarkFlagRequired("must")
	group := &cobra.Command{Use: "group", Short: "Has more"}
	group.AddCommand(&cobra.Command{Use: "sub", Short: "Sub", RunE: func(*cobra.Command, []string) error { return nil }})
	root.AddCommand(do, need, group, VersionCommand())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(notices)
	return root, out, notices
}

func TestMainCodes(t *testing.T) {
	tests := []struct {
		name    string
		args    string
		err     error // of do
		want    Code
		notices string // all of stderr
		out     string // in stdout
	}{
		{"unknown command", "du", nil, Usage, "prog: unknown command \"du\" for \"prog\", did you mean \"do\"?: see prog --help\n", ""},
		{"unknown subcommand", "group x", nil, Usage, "prog: unknown command \"x\" for \"prog group\": see prog --help\n", ""},
		{"unknown flag", "do --x", nil, Usage, "prog: unknown flag: --x: see prog --help\n", ""},
		{"flag of another type", "do --number x", nil, Usage, "prog: invalid argument \"x\" for \"--number\" flag: strconv.ParseInt: parsing \"x\": invalid syntax: see prog --help\n", ""},
		{"missing flag", "need", nil, Usage, "prog: required flag(s) \"must\" not set: see prog --help\n", ""},
		{"argument too many", "do x", nil, Usage, "prog: \"prog do\" takes no arguments and got \"x\": see prog --help\n", ""},
		{"failure", "do", errors.New("it\nbroke"), Failure, "prog: it; broke\n", ""},
		{"failure with a code", "do", Exit(NotFound, errors.New("none")), NotFound, "prog: none\n", ""},
		{"failure on the wire", "do", status.Error(codes.Unauthenticated, "who?"), Unauthenticated, "prog: rpc error: code = Unauthenticated desc = who?\n", ""},
		{"success", "do", nil, OK, "", ""},
		{"help", "--help", nil, OK, "", "A program"},
		{"nothing", "", nil, OK, "", "A program"},
		{"group alone", "group", nil, OK, "", "Has more"},
		{"version", "version", nil, OK, "", "prog " + Version() + " go1."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root, out, notices := tree(test.err, strings.Fields(test.args)...)
			if got := Main(t.Context(), root); Code(got) != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if notices.String() != test.notices {
				t.Errorf("stderr is %q, want %q", notices, test.notices)
			}
			if !strings.Contains(out.String(), test.out) {
				t.Errorf("stdout is %q, want %q in it", out, test.out)
			}
		})
	}
}

// The first signal ends the context. What the command makes of that decides.
func TestMainInterrupted(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want Code
	}{
		{"in good order", nil, OK},
		{"cut off", errors.New("cut off"), Interrupted},
		{"cut off with a code", Exit(Denied, errors.New("cut off")), Interrupted},
	} {
		t.Run(test.name, func(t *testing.T) {
			root, _, notices := tree(nil, "wait")
			root.AddCommand(&cobra.Command{Use: "wait", RunE: func(c *cobra.Command, _ []string) error {
				if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
					return err
				}
				<-c.Context().Done()
				return test.err
			}})
			if got := Main(context.Background(), root); Code(got) != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if notices.Len() > 0 {
				t.Errorf("stderr is %q", notices)
			}
		})
	}
}

// The second signal kills a process that does not end by itself, even if it comes
// while the first is being dealt with.
func TestTheSecondSignalKills(t *testing.T) {
	t.Parallel()
	for range 10 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), stubborn+"=1")
		output, err := child.CombinedOutput()
		state, ok := child.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || state.Signal() != syscall.SIGTERM {
			t.Fatalf("it ended with %v, %s, want by the second SIGTERM", err, output)
		}
	}
}

// stubborn is the variable that makes the test's own program one that signals
// itself twice, the second time as soon as it has heard the first, and goes on.
const stubborn = "CLI_TEST_STUBBORN"

func beStubborn() int {
	root, _, _ := tree(nil, "wait")
	root.AddCommand(&cobra.Command{Use: "wait", RunE: func(c *cobra.Command, _ []string) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		<-c.Context().Done()
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		<-time.After(10 * time.Second)
		return errors.New("still there")
	}})
	return Main(context.Background(), root)
}

func TestVersionOf(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for want, info := range map[string]*debug.BuildInfo{
		"devel":                       {Main: debug.Module{Version: "(devel)"}},
		"v1.2.3":                      {Main: debug.Module{Version: "v1.2.3"}},
		"devel-0123456789ab":          {Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef")}},
		"devel-0123456789ab-modified": {Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "true")}},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
