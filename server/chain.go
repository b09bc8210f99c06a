package server

import (
	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// chain is the way of every call, in order. Nothing reaches a handler past it,
// and there is no other list of steps.
func (s *Server) chain() []auth.Interceptor {
	return []auth.Interceptor{
		s.observe(),            // access log, metrics, the connect span: refusals show too
		recovery(),             // a panic ends its own call, as INTERNAL
		s.frames(),             // messages that cannot be read are refused with a reason
		uncompressed(),         // a compressed message is refused: it may be a bomb
		s.guard.Authenticate(), // certificate + token: who calls
		s.name(),               // the log and the connect span learn the user
		s.guard.Authorise(),    // by method, and streams by room; what is not listed is refused
		s.requested(),          // other calls by the room that their request names
		s.limits(),             // streams and other calls an identity
		s.guard.Supervise(),    // the stream ends when its authority ends
		s.enter(),              // a stream that names a room joins it, or is refused
		s.admit(),              // response headers; the connect span ends
		auth.Stamp(setUser),    // user is the verified identity, whatever the client wrote
		s.process(),            // a span for each message
	}
}

// rules lists every method that the server has.
func (s *Server) rules() auth.Policy {
	return auth.Policy{
		chatpb.Chat_ChatStream_FullMethodName: auth.Rule{}.And(s.mayChat),
		chatpb.Chat_History_FullMethodName:    auth.Scopes(scopeRead),
		chatpb.Chat_Rooms_FullMethodName:      auth.Scopes(scopeRead),
		chatpb.Chat_Members_FullMethodName:    auth.Scopes(scopeRead),
		auth.RefreshMethod:                    auth.Rule{},
		// A prober has a certificate and no token.
		"/grpc.health.v1.Health/Check": auth.CertificateOnly(),
		"/grpc.health.v1.Health/List":  auth.CertificateOnly(),
		"/grpc.health.v1.Health/Watch": auth.CertificateOnly(),
	}
}

func setUser(m *chatpb.ChatMessage, id auth.Identity) { m.User = id.User }
