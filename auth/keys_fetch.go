package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// How long a fetched key set is taken to be fresh.
const (
	minKeyFreshness     = time.Minute
	defaultKeyFreshness = 5 * time.Minute
	maxKeyFreshness     = time.Hour
)

// httpClient returns the client to fetch with: one that verifies its server,
// follows no redirect and keeps no cookie.
func (o keyOptions) httpClient() (*http.Client, error) {
	if o.client == nil {
		return &http.Client{
			CheckRedirect: keepRedirect,
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.roots},
				ForceAttemptHTTP2:      true,
				DisableKeepAlives:      true,
				MaxResponseHeaderBytes: 64 << 10,
			},
		}, nil
	}
	if o.roots != nil {
		return nil, errors.New("roots and a client are both configured: set the roots in the client")
	}
	if transport, ok := o.client.Transport.(*http.Transport); ok && transport.TLSClientConfig != nil {
		if transport.TLSClientConfig.InsecureSkipVerify {
			return nil, errors.New("the client does not verify its server: configure roots instead")
		}
		if version := transport.TLSClientConfig.MinVersion; version != 0 && version < tls.VersionTLS12 {
			return nil, errors.New("the client accepts TLS below 1.2")
		}
	}
	client := *o.client
	client.CheckRedirect, client.Jar = keepRedirect, nil
	return &client, nil
}

// keepRedirect has a redirect returned as the answer that it is.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// fetch gets the key set once, and how long it is fresh.
func (s *KeyURLSource) fetch(ctx context.Context) (*KeySet, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, keyFetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.location, nil)
	if err != nil {
		return nil, 0, withoutURL(err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, 0, withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the server answered %d: expected 200 and a JSON Web Key Set", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", withoutURL(err))
	}
	set, err := ParseKeySet(body)
	if err != nil {
		return nil, 0, err
	}
	return set, freshness(response.Header, time.Now()), nil
}

// withoutURL takes the URL, whose query may be secret, out of an error of
// net/http.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// freshness reads max-age, less the Age that it has already reached; no-store and
// no-cache as 0; and without these what lies between Date and Expires (RFC 9111
// sections 4.2, 5.2.2 and 5.3). It brings the outcome within bounds. What cannot
// be read counts as 0.
func freshness(header http.Header, now time.Time) time.Duration {
	fresh := expiresIn(header, now)
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minKeyFreshness
		case "max-age":
			fresh = headerSeconds(strings.Trim(value, `"`)) - headerSeconds(header.Get("Age"))
		}
	}
	return min(max(fresh, minKeyFreshness), maxKeyFreshness)
}

// expiresIn reads Expires against the server's own Date, or where it has none
// against now, so that its clock need not be ours.
func expiresIn(header http.Header, now time.Time) time.Duration {
	if len(header.Values("Expires")) == 0 {
		return defaultKeyFreshness
	}
	expires, err := http.ParseTime(header.Get("Expires"))
	if err != nil {
		return 0 // "0" is a usual way to say that it has expired
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return expires.Sub(now)
}

// headerSeconds reads delta-seconds (RFC 9111 section 1.2.2), at most a year's.
func headerSeconds(text string) time.Duration {
	const year = 365 * 24 * 60 * 60
	seconds, err := strconv.ParseUint(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		seconds = year
	} else if err != nil {
		return 0
	}
	return time.Duration(min(seconds, year)) * time.Second
}
