package auth

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	authpb "securechat/proto/auth/v1"
)

// RefreshMethod is the method to list in a policy where callers may refresh
// their streams' authority, with the zero Rule.
const RefreshMethod = authpb.Session_Refresh_FullMethodName

// SessionServer is the service through which callers refresh the authority of
// their live streams on the same connection. Register it on the guarded server
// and list RefreshMethod in the policy:
//
//	authpb.RegisterSessionServer(srv, guard.SessionServer())
//
// The new token is that of the call's metadata, which the guard's own steps have
// verified. It takes the place of the old one in the caller's streams of this
// connection (same certificate, same subject, same issuer): they end when it
// ends, and stand or fall with it and no longer with the old one. Rights can
// become fewer, at once, and never more. A stream whose authority has ended is
// not revived.
func (g *Guard) SessionServer() authpb.SessionServer { return refresher{guard: g} }

type refresher struct {
	authpb.UnimplementedSessionServer
	guard *Guard
}

func (r refresher) Refresh(ctx context.Context, _ *authpb.RefreshRequest) (*authpb.RefreshResponse, error) {
	id, ok := FromContext(ctx)
	if !ok {
		return nil, errUnverified
	}
	streams, until := r.guard.refresh(id, verifiedChains(ctx))
	return &authpb.RefreshResponse{Expires: until.UTC().Format(time.RFC3339), Streams: streams}, nil
}

// refresh puts the identity in the place of that of the caller's live streams on
// the connection with those chains. It says how many these are, and until when all
// of them live now: the identity's expiry, or the end of a longest session before
// it.
//
// A stream whose authority has ended is ended, whether or not a sweep has come to
// it. What the new token rests on may have changed since it was verified, and a
// sweep for that change have passed: so the identity is changed first and held
// against everything then, and a sweep reads everything first and the identity
// then, so that neither misses what the other has changed.
func (g *Guard) refresh(id Identity, chains [][]*x509.Certificate) (refreshed uint32, until time.Time) {
	until = id.Expires
	for _, s := range g.supervisor.on(chains) {
		if s.stream.ended() != nil || !g.standsNow(s) || !s.authority.refresh(id) || !g.standsNow(s) {
			continue
		}
		refreshed++
		if ends := s.ends(); ends.Before(until) {
			until = ends
		}
	}
	g.supervisor.reckon()
	return refreshed, until
}

// refresh puts fresh in the place of the current identity, with the rights that
// both have, and says whether the two are the same caller.
func (a *authority) refresh(fresh Identity) bool {
	for {
		current := a.identity.Load()
		same := current.Issuer != "" && current.Issuer == fresh.Issuer &&
			current.User == fresh.User && current.Thumbprint == fresh.Thumbprint
		if !same {
			return false
		}
		next := fresh
		next.Scopes = slices.DeleteFunc(slices.Clone(fresh.Scopes), func(scope string) bool { return !current.HasScope(scope) })
		next.Rooms = common(current.Rooms, fresh.Rooms)
		if a.identity.CompareAndSwap(current, &next) {
			return true
		}
	}
}

// common returns the globs of either side that the other side covers.
func common(a, b []string) []string {
	var both []string
	for _, side := range [][2][]string{{b, a}, {a, b}} {
		for _, glob := range side[0] {
			if covered(side[1], glob) && !slices.Contains(both, glob) {
				both = append(both, glob)
			}
		}
	}
	return both
}

// covered says whether one of the globs covers all that glob can match, as far
// as that is plain: it is the same, or glob is a name and matches, or it is "*"
// and glob is for no pair, or "@*" and glob is for pairs.
func covered(globs []string, glob string) bool {
	isName := !strings.ContainsAny(glob, `*?[\`)
	return slices.ContainsFunc(globs, func(held string) bool {
		switch held {
		case glob:
			return true
		case "*":
			return !forPairs(glob)
		case pairSign + "*":
			return forPairs(glob)
		}
		return isName && MatchRoom(held, glob)
	})
}
