package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"securechat/cmd/chatd/internal/sandbox"
)

// lobby is the room in which the users of a try-out meet.
const lobby = "lobby"

// summary is what `dev` prints once it runs.
type summary struct {
	proof         proof
	box           *sandbox.Sandbox
	listen, admin string
	traces        string   // where spans go; empty: nowhere
	rooms         string   // where they are kept
	others        []string // where the other servers listen
	current       string   // the current client context
	chat, chatd   string   // how to type the two programs
}

func (s summary) print(w io.Writer) error {
	text := &strings.Builder{}
	row := func(name, value string) {
		fmt.Fprintln(text, strings.TrimRight(fmt.Sprintf("%-10s  %s", name, value), " "))
	}
	row(s.box.Users()[0].Name+" sent", s.proof.sent)
	row("got back", s.proof.acknowledged)
	row("trace id", orElse(s.proof.traceID, "none: OTEL_SDK_DISABLED is true"))
	row("", "")
	row("listen", s.listen+"  mutual TLS 1.3, certificate and token")
	for _, other := range s.others {
		row("", other+"  the same chat: "+s.chat+" tail --server "+other+" "+lobby)
	}
	row("admin", s.adminText())
	row("authority", s.box.CA())
	row("key set", s.box.JWKS())
	row("state", s.box.Dir())
	row("users", s.users())
	row("rooms", s.rooms)
	if s.traces != "" {
		row("traces", s.traces+"  set the same OTEL_* variables for chat")
	} else {
		row("traces", "nowhere; to see them in Jaeger at http://localhost:16686, start these two:")
		row("", s.jaeger())
		row("", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 "+s.chatd+" dev")
	}
	row("", "")
	row("type next", s.chat+" send"+s.contextFlag()+` "Hello"`)
	row("", `printf 'Hello, server!\nHow are you?\n' | `+s.chat+" send"+s.contextFlag())
	row("", s.chat+" whoami"+s.contextFlag())
	row("two chat", s.chat+s.contextFlag()+" "+lobby)
	row("", s.chat+" --context "+s.box.Users()[1].Context+" "+lobby+"  # in another terminal")
	row("to end", "Ctrl-C")
	_, err := io.WriteString(w, text.String())
	return err
}

func (s summary) adminText() string {
	if s.admin == "" {
		return "off"
	}
	return "http://" + s.admin + "  /livez /readyz /metrics /debug/pprof/"
}

func (s summary) users() string {
	var names []string
	for _, u := range s.box.Users() {
		name := u.Name
		if u.Context != u.Name {
			name += " (context " + u.Context + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// contextFlag is empty where the first user's context is current anyway.
func (s summary) contextFlag() string {
	if name := s.box.Users()[0].Context; name != s.current {
		return " --context " + name
	}
	return ""
}

// jaeger is how to start one: in a checkout, with what is there.
func (s summary) jaeger() string {
	if strings.HasPrefix(s.chatd, goRun) {
		return "go tool -modfile=.ci/jaeger/go.mod jaeger  # builds it once, in minutes"
	}
	return "docker run --rm -p 4318:4318 -p 16686:16686 jaegertracing/jaeger"
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

const goRun = "go run ./cmd/"

// commandOf is how to type a program of this repository: as this one was
// started, by `go run` or by its name.
func commandOf(name string) string {
	path, err := os.Executable()
	if err == nil && builtByGoRun(path) {
		return goRun + name
	}
	return name
}

// builtByGoRun says whether the path of a program is one where the go command
// keeps what it builds and runs: a temporary folder or its cache, both of which
// it calls go-build.
func builtByGoRun(path string) bool {
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(path), "/"), func(element string) bool {
		return strings.HasPrefix(element, "go-build")
	})
}
