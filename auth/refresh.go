package auth

import (
	"context"
	"path"
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
// verified. It extends the caller's streams of this connection (same
// certificate, same subject, same issuer) to its own expiry. Rights can become
// fewer, at once, and never more.
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
	chains := verifiedChains(ctx)
	for _, s := range r.guard.supervisor.sessions() {
		if !sameConnection(s.chains, chains) {
			continue
		}
		if narrowed, ok := s.authority.refresh(id); ok {
			if refusal := r.guard.allowed(s, narrowed); refusal != nil {
				s.end(refusal)
			}
		}
	}
	r.guard.supervisor.refreshed()
	return &authpb.RefreshResponse{Expires: id.Expires.UTC().Format(time.RFC3339)}, nil
}

// refresh puts fresh in the place of the current identity, with the rights that
// both have, and says whether the two are the same caller.
func (a *authority) refresh(fresh Identity) (Identity, bool) {
	for {
		current := a.identity.Load()
		same := current.Issuer != "" && current.Issuer == fresh.Issuer &&
			current.User == fresh.User && current.Thumbprint == fresh.Thumbprint
		if !same {
			return Identity{}, false
		}
		next := fresh
		next.Scopes = slices.DeleteFunc(slices.Clone(fresh.Scopes), func(scope string) bool { return !current.HasScope(scope) })
		next.Rooms = slices.DeleteFunc(slices.Clone(fresh.Rooms), func(glob string) bool { return !covered(current.Rooms, glob) })
		if a.identity.CompareAndSwap(current, &next) {
			return next, true
		}
	}
}

// covered says whether one of the globs covers all that glob can match, as far
// as that is plain: it is the same, it is "*", or glob is a name and matches.
func covered(globs []string, glob string) bool {
	return slices.ContainsFunc(globs, func(held string) bool {
		if held == glob || held == "*" {
			return true
		}
		if strings.ContainsAny(glob, `*?[\`) {
			return false
		}
		matches, err := path.Match(held, glob)
		return err == nil && matches
	})
}
