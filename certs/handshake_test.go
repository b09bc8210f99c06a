package certs

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
)

// shake runs a gRPC handshake over loopback and a round trip on it. It returns
// what the client and the server each had to say.
func shake(t *testing.T, server, client Source, name string) (clientErr, serverErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		conn, _, err := ServerCredentials(server).ServerHandshake(raw)
		if err == nil {
			_, err = conn.Write([]byte("x"))
			conn.Close()
		}
		served <- err
	}()
	clientErr = func() error {
		var dialer net.Dialer
		raw, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer raw.Close()
		conn, _, err := ClientCredentials(client, name).ClientHandshake(context.Background(), name, raw)
		if err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}()
	return clientErr, <-served
}

func TestIssuedPairsShakeHands(t *testing.T) {
	ca, err := NewCA(CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.IssueServer([]string{"localhost"}, IssueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user, err := ca.IssueUser("alice", IssueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	serverMaterial, err := server.Material(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	userMaterial, err := user.Material(ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	clientErr, serverErr := shake(t, serverMaterial, userMaterial, "localhost")
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client: %v; server: %v", clientErr, serverErr)
	}
	name, err := Identify(user.Certificate(), URI, DefaultTrustDomain)
	if err != nil || name.User != "alice" {
		t.Fatalf("identity %+v, %v", name, err)
	}
	bare, err := NewMaterial(nil, []*x509.Certificate{ca.Certificate()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	clientErr, _ = shake(t, serverMaterial, bare, "localhost")
	if problem, ok := ProblemOf(clientErr); !ok || problem != Missing {
		t.Fatalf("without a certificate: %v", clientErr)
	}
}
