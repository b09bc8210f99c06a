package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"chatd": main})
}

// leakChecked fails the package's tests where they leave a goroutine behind.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goleak:", err)
		return 1
	}
	return code
}

// TestScripts runs the program as its users do. Each script has a home of its
// own; those whose name begins with chat_ use the program chat, too.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // each program would end a second later
			env.Values[daemonsKey{}] = map[string]*process{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"capture":      scriptCapture,
			"exits":        scriptExits,
			"start":        scriptStart,
			"signal":       scriptSignal,
			"ends":         scriptEnds,
			"mode":         scriptMode,
			"get":          scriptGet,
			"loads":        scriptLoads,
			"eventually":   scriptEventually,
			"chat-program": scriptChatProgram,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func TestHowToStartJaeger(t *testing.T) {
	for chatd, want := range map[string]string{
		"chatd":              "docker run",
		"go run ./cmd/chatd": "go tool -modfile=.ci/jaeger/go.mod jaeger",
	} {
		if got := (summary{chatd: chatd}).jaeger(); !strings.HasPrefix(got, want) {
			t.Errorf("beside %q it is %q, want %q", chatd, got, want)
		}
	}
}
