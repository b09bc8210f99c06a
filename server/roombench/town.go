package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/certs"
)

const (
	issuer     = "https://issuer.test"
	tokensFor  = "roombench"
	serverName = "localhost"
	// users are how many there are: members share them, and where they share
	// connections those, too.
	users = 10
)

// A town has an authority, an issuer of tokens, a server and users.
type town struct {
	server   *certs.Material
	verifier *auth.Verifier
	roots    string
	users    []login
}

// A login is what a user proves its identity with. It crosses to the crew's
// process on a pipe.
type login struct{ Name, Chain, Key, Token string }

func newTown() (*town, error) {
	ca, err := certs.NewCA(certs.CAOptions{Name: "roombench", TrustDomain: "roombench"})
	if err != nil {
		return nil, err
	}
	signer, err := auth.NewSigningKey()
	if err != nil {
		return nil, err
	}
	jwks, err := signer.JWKS()
	if err != nil {
		return nil, err
	}
	keys, err := auth.ParseKeySet(jwks)
	if err != nil {
		return nil, err
	}
	t := &town{roots: string(ca.CertificatePEM())}
	t.verifier, err = auth.NewVerifier(auth.VerifierConfig{Issuers: []auth.Issuer{{Name: issuer, Audience: tokensFor, Keys: keys}}})
	if err != nil {
		return nil, err
	}
	issued, err := ca.IssueServer([]string{serverName, "127.0.0.1"}, certs.IssueOptions{})
	if err != nil {
		return nil, err
	}
	if t.server, err = issued.Material(ca.Certificate()); err != nil {
		return nil, err
	}
	for i := range users {
		l, err := register(ca, signer, fmt.Sprintf("user%d", i))
		if err != nil {
			return nil, err
		}
		t.users = append(t.users, l)
	}
	return t, nil
}

func register(ca *certs.CA, signer *auth.Signer, name string) (login, error) {
	issued, err := ca.IssueUser(name, certs.IssueOptions{})
	if err != nil {
		return login{}, err
	}
	key, err := issued.KeyPEM()
	if err != nil {
		return login{}, err
	}
	thumbprint := certs.Thumbprint(issued.Certificate())
	token, err := signer.Mint(auth.MintClaims{
		Issuer: issuer, Audience: []string{tokensFor}, Subject: name, Confirmation: &thumbprint,
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"*"},
	})
	return login{Name: name, Chain: string(issued.ChainPEM()), Key: string(key), Token: token}, err
}

// material is the login's certificate and the roots that it trusts.
func (l login) material(roots string) (*certs.Material, error) {
	pair, err := tls.X509KeyPair([]byte(l.Chain), []byte(l.Key))
	if err != nil {
		return nil, err
	}
	trusted, err := certs.ParseCertificates([]byte(roots))
	if err != nil {
		return nil, err
	}
	return certs.NewMaterial(&pair, trusted, nil)
}

// dial returns a connection to the chat server.
func (l login) dial(address, roots string) (*grpc.ClientConn, error) {
	material, err := l.material(roots)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(certs.ClientCredentials(material, serverName)),
		grpc.WithPerRPCCredentials(bearer(l.Token)),
		grpc.WithDisableServiceConfig(),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20),
	)
}

// tls is the same for a server of NATS.
func (l login) tls(roots string) (*tls.Config, error) {
	material, err := l.material(roots)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: serverName,
		RootCAs: material.Pool(), Certificates: []tls.Certificate{*material.Certificate()},
	}, nil
}

// bearer sends one token with every call, over TLS only.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
