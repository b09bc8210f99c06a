package client

import (
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// A line is a gRPC channel to the server, with one certificate: one connection at
// a time, and another where that is lost.
type line struct {
	// Set at construction.
	certificate thumbprint
	link        *link
	grpc        *grpc.ClientConn
	chat        chatpb.ChatClient
	session     authpb.SessionClient

	pace   pace // of the keeper's goroutine
	moving pace // of the mover's goroutine

	// Guarded by the mu of lines.
	held    int  // by streams, and by what opens them
	retired bool // closed once nobody holds it
}

// newLine makes a line with the certificate of the material.
func newLine(cfg Config, server string, own *certs.Material) (*line, error) {
	l := &line{certificate: thumbprintOf(own), link: &link{server: server, log: cfg.Log}}
	cfg.Certificates = newPinned(cfg.Certificates, own)
	var err error
	// passthrough leaves names to the dialer: grpc-go's own resolver would look
	// up TXT records, and an own dialer uses no proxy of the environment.
	l.grpc, err = grpc.NewClient("passthrough:///"+server, transport(cfg, l.link)...)
	if err != nil {
		return nil, fmt.Errorf("client: %s: %w", server, err)
	}
	l.chat, l.session = chatpb.NewChatClient(l.grpc), authpb.NewSessionClient(l.grpc)
	return l, nil
}

func thumbprintOf(m *certs.Material) thumbprint {
	if certificate := m.Certificate(); certificate != nil {
		return certs.Thumbprint(certificate.Leaf)
	}
	return thumbprint{}
}

// fits says whether the server can take the token over this line, as far as the
// token says.
func (l *line) fits(token string) bool {
	bound, known := bindingOf(token)
	return !known || bound == l.certificate
}

// pinned is a source whose own certificate stays the same while roots and
// revocations are those of the moment: a connection that is lost comes back as
// what it was, so that the tokens bound to it hold.
type pinned struct {
	source      certs.Source
	certificate thumbprint

	mu   sync.Mutex
	good *certs.Material // the latest, with the own certificate
}

func newPinned(source certs.Source, own *certs.Material) *pinned {
	return &pinned{source: source, certificate: thumbprintOf(own), good: own}
}

func (p *pinned) Material() *certs.Material {
	p.mu.Lock() // so that the latest is the source's latest too
	defer p.mu.Unlock()
	now := p.source.Material()
	if thumbprintOf(now) == p.certificate {
		p.good = now
	} else if mixed, err := now.WithCertificate(p.good.Certificate()); err == nil {
		p.good = mixed
	} // a set without roots, say: those of before hold
	return p.good
}
