package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestClientSaysWhatIsWrongWithItsOwnCertificate(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	foreign := newTestCA(t, CAOptions{Name: "Elsewhere"})
	material := func(issued *Issued) *Material { return must(issued.Material(ca.Certificate()))(t) }
	spoilt := func(spoil func(*x509.Certificate)) *Material { return material(issueUser(t, ca, spoil)) }
	for _, test := range []struct {
		name    string
		client  *Material
		problem Problem
		words   []string
	}{
		{"none", must(NewMaterial(nil, []*x509.Certificate{ca.Certificate()}, nil))(t), Missing, []string{"has no certificate", "configure a certificate"}},
		{"expired", spoilt(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), Expired, []string{"own certificate", "expired at", "obtain a new one"}},
		{"not yet valid", spoilt(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), Expired, []string{"own certificate", "not valid before", "clock"}},
		{"a server's", material(must(ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t)), Unusable, []string{"own certificate", "clientAuth"}},
		{"an authority's", spoilt(func(c *x509.Certificate) { c.IsCA = true }), Unusable, []string{"own certificate", "authority's"}},
		{"of an authority that the server does not accept", material(issueUser(t, foreign, nil)), Untrusted, []string{"issued by", "CN=Elsewhere", "accepts only", "CN=" + DefaultCAName}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := ServerCredentials(serverMaterial(t, ca, nil))
			_, clientErr, serverErr := shake(t, server, credentialsHandshake(test.client, ""))
			wantProblem(t, clientErr, test.problem, test.words...)
			if problem, ok := ProblemOf(serverErr); ok {
				t.Errorf("the server got to see a certificate that is %v: %v", problem, serverErr)
			}
		})
	}
}

func wantProblem(t *testing.T, err error, problem Problem, words ...string) {
	t.Helper()
	if got, ok := ProblemOf(err); !ok || got != problem {
		t.Errorf("error %v: problem %v, want %v", err, got, problem)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not say %q", err, word)
		}
	}
}

func TestClientRefusesServer(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	foreign := newTestCA(t, CAOptions{})
	client := userMaterial(t, ca, "alice")
	server := func(issued *Issued) *Material { return must(issued.Material(ca.Certificate()))(t) }
	at := func(ca *CA, host string) *Issued { return must(ca.IssueServer([]string{host}, IssueOptions{}))(t) }

	revoked := at(ca, "localhost")
	if err := ca.Revoke(revoked.Certificate(), KeyCompromise); err != nil {
		t.Fatal(err)
	}
	pair := issueUser(t, ca, nil).TLS()
	careful := must(NewMaterial(&pair, []*x509.Certificate{ca.Certificate()}, (&Revocations{}).WithCRLs(listOf(t, ca)...)))(t)

	for _, test := range []struct {
		name           string
		server, client *Material
		serverName     string
	}{
		{"foreign authority", server(at(foreign, "localhost")), client, ""},
		{"another host", server(at(ca, "elsewhere.example")), client, ""},
		{"another host than the one named", server(at(ca, "localhost")), client, "chat.example"},
		{"a user", server(issueUser(t, ca, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })), client, ""},
		{"expired", server(must(ca.IssueServer([]string{"localhost"}, IssueOptions{
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)}))(t)), client, ""},
		{"revoked", server(revoked), careful, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, clientErr, serverErr := shake(t, ServerCredentials(test.server), credentialsHandshake(test.client, test.serverName))
			if clientErr == nil || serverErr == nil {
				t.Errorf("client: %v; server: %v", clientErr, serverErr)
			}
		})
	}
	t.Run("accepts the name that it was given", func(t *testing.T) {
		_, clientErr, _ := shake(t, ServerCredentials(server(at(ca, "chat.example"))), credentialsHandshake(client, "chat.example"))
		if clientErr != nil {
			t.Error(clientErr)
		}
	})
}

func TestClientRefusesOldTLS(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	config := &tls.Config{Certificates: []tls.Certificate{*serverMaterial(t, ca, nil).Certificate()}, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	client, server := net.Pipe()
	served := make(chan error, 1)
	go func() {
		defer server.Close()
		served <- tls.Server(server, config).Handshake()
	}()
	_, _, err := ClientCredentials(userMaterial(t, ca, "alice"), "localhost").ClientHandshake(context.Background(), "", client)
	client.Close()
	if err == nil || <-served == nil {
		t.Error("the client spoke TLS 1.2")
	}
}

// A server that takes the connection and says nothing holds nobody up.
func TestClientHandshakeIsBounded(t *testing.T) {
	material := userMaterial(t, newTestCA(t, CAOptions{Clock: synctestEpoch}), "alice")
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() { _, _ = server.Read(make([]byte, 1<<20)) }()
		start := time.Now()
		_, _, err := ClientCredentials(material, "localhost").ClientHandshake(context.Background(), "", client)
		if took := time.Since(start); err == nil || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		client.Close()
	})
}

// synctestEpoch is where the clocks of synctest begin.
func synctestEpoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// What gRPC tells the caller of the first call is what the credentials said.
func TestRefusalReachesTheCaller(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	revoked := issueUser(t, ca, nil)
	if err := ca.Revoke(revoked.Certificate(), Unspecified); err != nil {
		t.Fatal(err)
	}
	material := serverMaterial(t, ca, (&Revocations{}).WithCRLs(listOf(t, ca)...))
	var serverSaw failures
	address := serveHealth(t, ServerCredentials(material, OnFailure(serverSaw.add)))

	for _, test := range []struct {
		name    string
		client  *Material
		problem Problem
		words   string
	}{
		{"before the server knows", must(NewMaterial(nil, []*x509.Certificate{ca.Certificate()}, nil))(t), Missing, "this client has no certificate"},
		{"by the server", must(revoked.Material(ca.Certificate()))(t), Unusable, "the server localhost refused this client's certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var clientSaw failures
			conn := must(grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(ClientCredentials(test.client, "localhost", OnFailure(clientSaw.add)))))(t)
			defer conn.Close()
			_, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("the caller sees %v, which does not say %q", err, test.words)
			}
			if problem, _ := ProblemOf(clientSaw.first()); problem != test.problem {
				t.Errorf("the client's hook saw %v", clientSaw.first())
			}
		})
	}
	serverSaw.wait(t, Revoked)
	t.Run("nothing for a good certificate", func(t *testing.T) {
		var saw failures
		conn := must(grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(ClientCredentials(userMaterial(t, ca, "bob"), "localhost", OnFailure(saw.add)))))(t)
		defer conn.Close()
		if _, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil || saw.first() != nil {
			t.Errorf("call: %v; hook: %v", err, saw.first())
		}
	})
}

func serveHealth(t *testing.T, creds credentials.TransportCredentials) string {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(creds), grpc.ConnectionTimeout(5*time.Second))
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

type failures struct {
	mu  sync.Mutex
	all []error
}

// wait waits until a failure with this problem has been added: the other side may
// learn of it first.
func (f *failures) wait(t *testing.T, problem Problem) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !slices.ContainsFunc(f.seen(), func(err error) bool { p, _ := ProblemOf(err); return p == problem }) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the hook saw %v, want one that is %v", f.seen(), problem)
		}
	}
}

func (f *failures) add(_ net.Addr, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) seen() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

func (f *failures) first() error {
	if all := f.seen(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// A server's alert that arrives while the client writes still comes out in words.
func TestLateAlertIsFoundByAFailedWrite(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: alertError("tls: certificate required")}
	var saw failures
	conn := &wordedConn{Conn: &brokenConn{readErr: alert}, name: "example", failed: func(err error) { saw.add(nil, err) }}
	_, err := conn.Write([]byte("preface"))
	wantProblem(t, err, Missing, "the server example asks for a client certificate")
	_, err = conn.Read(make([]byte, 1))
	wantProblem(t, err, Missing)
	if len(saw.all) != 1 {
		t.Errorf("reported %d times", len(saw.all))
	}
}

// After the server has answered, an error is the connection's own.
func TestWordsEndWithTheFirstAnswer(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: alertError("tls: bad certificate")}
	broken := &brokenConn{answer: true}
	conn := &wordedConn{Conn: broken, failed: func(error) { t.Error("reported") }}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	broken.answer, broken.readErr = false, alert
	if _, err := conn.Read(make([]byte, 1)); err != error(alert) {
		t.Errorf("%v", err)
	}
}

type alertError string

func (e alertError) Error() string { return string(e) }

type brokenConn struct {
	net.Conn
	answer  bool
	readErr error
}

func (c *brokenConn) Read(b []byte) (int, error) {
	if c.answer {
		return len(b), nil
	}
	return 0, c.readErr
}
func (c *brokenConn) Write([]byte) (int, error)       { return 0, net.ErrClosed }
func (c *brokenConn) SetReadDeadline(time.Time) error { return nil }
