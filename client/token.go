package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/oauth2"

	"securechat/certs"
)

// maxToken is how large a token may be, in bytes. Servers refuse larger ones.
const maxToken = 8 << 10

// maxTokenFile leaves room for white space around a token, and for one that is
// too large to be told so.
const maxTokenFile = 64 << 10

// A TokenSource gives the bearer token. It is asked once for each stream that is
// opened, from three quarters of the life of the live streams' token on until it
// gives one that lives longer, and after a change of the client's certificate until
// it gives one with which they can move; maybe concurrently. It may block until ctx
// ends.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenFunc is a function as a TokenSource.
type TokenFunc func(ctx context.Context) (string, error)

// Token calls f.
func (f TokenFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// TokenFile reads the token from a file, anew each time it is asked; white space
// around it does not count. A token is a secret: a file that others may read is
// refused, as certs.ReadSecret has it.
func TokenFile(path string) TokenSource {
	return TokenFunc(func(context.Context) (string, error) {
		token, err := readToken(path)
		if err != nil {
			return "", fmt.Errorf("token file %s: %w", path, err)
		}
		return token, nil
	})
}

// OAuth2 takes the access token of an oauth2.TokenSource. Such a source knows no
// context: its own time-outs bound how long it takes.
func OAuth2(source oauth2.TokenSource) TokenSource {
	return TokenFunc(func(context.Context) (string, error) {
		token, err := source.Token()
		var refused *oauth2.RetrieveError
		switch {
		case errors.As(err, &refused) && refused.Response != nil:
			// Its own text may have the whole of the response.
			return "", fmt.Errorf("the token endpoint answered %d %.100q: check the client's grant", refused.Response.StatusCode, refused.ErrorCode)
		case err != nil:
			return "", fmt.Errorf("obtain an OAuth 2.0 token: %w", err)
		case token.Type() != "Bearer":
			return "", fmt.Errorf("the OAuth 2.0 token is of type %.50q and must be Bearer", token.Type())
		}
		return token.AccessToken, nil
	})
}

// errNoToken has better advice than to create the file.
var errNoToken = fmt.Errorf("does not exist: check the path, or obtain a token and put it there (%w)", fs.ErrNotExist)

func readToken(path string) (string, error) {
	text, err := certs.ReadSecret(path, maxTokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNoToken
	}
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	return token, checkToken(token)
}

// checkToken refuses what cannot stand in an authorization header: RFC 6750,
// section 2.1, has the characters. No part of the token is in the error.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("the token is empty: obtain one")
	case len(token) > maxToken:
		return fmt.Errorf("the token is larger than %d KiB: obtain a smaller one", maxToken>>10)
	case strings.ContainsFunc(token, notInToken):
		return errors.New("the token has characters that no bearer token has: it must be the JWT alone, on one line")
	}
	return nil
}

func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// A bearer is a token as the credentials of one call. grpc-go hands it to no
// connection without TLS.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
