package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
)

// A Policy lists who may call each method, by its full name
// ("/package.Service/Method"). What is not listed is refused.
type Policy map[string]Rule

// A Rule says what a method asks of its caller. The zero Rule asks for a
// certificate and a token that belong together, and no more.
type Rule struct {
	certificateOnly bool
	scopes          []string
	checks          []func(context.Context, Identity) error
}

// CertificateOnly is the rule of a method whose callers have no token, such as
// a health probe. A token sent to it is not looked at.
func CertificateOnly() Rule { return Rule{certificateOnly: true} }

// Scopes is the rule of a method that asks for a token with every one of the
// scopes.
func Scopes(scopes ...string) Rule { return Rule{scopes: scopes} }

// And returns the rule with one more condition, which runs after the others. An
// error that is not a *Refusal is refused as METHOD_DENIED. The check may be
// called concurrently, once a call.
func (r Rule) And(check func(context.Context, Identity) error) Rule {
	r.checks = append(slices.Clip(r.checks), check)
	return r
}

// Covers returns an error unless the policy and the services registered on a
// server (grpc.Server.GetServiceInfo) name the same methods. Call it before
// serving: a method without a rule, or a rule without a method, is a slip that
// should not wait for its first caller. It cannot see a method that no
// interceptor sees; Registrar does.
func (p Policy) Covers(services map[string]grpc.ServiceInfo) error {
	registered := make(map[string]bool)
	var problems []string
	for service, info := range services {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			registered[name] = true
			if _, listed := p[name]; !listed {
				problems = append(problems, name+" has no rule")
			}
		}
	}
	for name := range p {
		if !registered[name] {
			problems = append(problems, name+" has a rule but is not registered")
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return fmt.Errorf("auth: the policy does not fit the server: %s", strings.Join(problems, "; "))
}

// allow decides by the rule of one method whether id may call it.
func (r Rule) allow(ctx context.Context, id Identity) *Refusal {
	for _, scope := range r.scopes {
		if !id.HasScope(scope) {
			return Refusef(ScopeMissing, "the token has no scope %s", scope)
		}
	}
	for _, check := range r.checks {
		if err := check(ctx, id); err != nil {
			if refusal, ok := err.(*Refusal); ok {
				return refusal
			}
			return Refuse(MethodDenied, err)
		}
	}
	return nil
}
