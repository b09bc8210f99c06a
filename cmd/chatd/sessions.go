package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"securechat/auth"
	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/internal/cli"
)

func sessionsCommand() *cobra.Command {
	var admin string
	asJSON := false
	list := func(c *cobra.Command, _ []string) error { return listSessions(c, admin, asJSON) }
	c := &cobra.Command{
		Use:   "sessions",
		Short: "Show who is connected, and end a stream",
		Long: `Show the live streams of a running chatd: who, since when, until when at most
unless the token is refreshed, and from where. It asks the admin listener, which
asks nobody who they are: whoever can reach it can do the same.`,
		Example: "chatd sessions\nchatd sessions end 17",
		Args:    cobra.NoArgs,
		RunE:    list,
	}
	c.PersistentFlags().StringVar(&admin, "admin", "http://127.0.0.1:9464", "URL of the admin listener")
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "one object a line")
	c.AddCommand(
		&cobra.Command{Use: "list", Short: "Show the live streams", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{
			Use: "end ID", Short: "End a stream: its client is told EXPELLED", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				_, err := askAdmin(c.Context(), http.MethodPost, admin, "sessions", args[0], "end")
				return err
			},
		},
	)
	return c
}

func listSessions(c *cobra.Command, admin string, asJSON bool) error {
	text, err := askAdmin(c.Context(), http.MethodGet, admin, "sessions")
	if err != nil {
		return err
	}
	var sessions []auth.Session
	if err := json.Unmarshal(text, &sessions); err != nil {
		return fmt.Errorf("%s does not answer as chatd does: check --admin", admin)
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), sessions)
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tSINCE\tUNTIL\tFROM\tMETHOD\tCERTIFICATE")
	for _, s := range sessions {
		row := []string{s.ID, s.User, day(s.Started), day(s.Expires), s.Peer, s.Method, s.Certificate}
		for i, text := range row {
			row[i] = shown(text)
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// shown keeps what a foreign authority wrote into a certificate, or another program
// answers in the place of chatd, from steering a terminal.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

const (
	adminPatience = 10 * time.Second
	maxSessions   = 64 << 20 // bytes of an answer
)

// askAdmin calls the admin listener and returns what it answers.
func askAdmin(ctx context.Context, method, admin string, path ...string) ([]byte, error) {
	base, err := url.Parse(admin)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, usage("--admin: %.100q is not a URL such as http://127.0.0.1:9464", admin)
	}
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path...).String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set(daemon.ConfirmHeader, "chatd")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return nil, cli.Exit(cli.Unreachable, fmt.Errorf("the admin listener cannot be reached: check --admin: %w", err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSessions))
	if err != nil {
		return nil, cli.Exit(cli.Unreachable, fmt.Errorf("reading the answer of %s: %w", admin, err))
	}
	switch response.StatusCode {
	case http.StatusOK:
		return text, nil
	case http.StatusNotFound:
		return nil, cli.Exit(cli.NotFound, fmt.Errorf("%s: there is no such session: see chatd sessions", admin))
	default:
		return nil, fmt.Errorf("%s answers %s", admin, response.Status)
	}
}
