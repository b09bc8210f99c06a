package certs_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"securechat/certs"
)

// A server whose certificate, roots and revocations are files, which may be
// replaced while it runs.
func ExampleFiles() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ca, err := certs.InitCA(filepath.Join(dir, "ca"), certs.CAOptions{})
	if err != nil {
		log.Fatal(err)
	}
	issued, err := ca.IssueServer([]string{"localhost"}, certs.IssueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	paths := certs.Paths{
		Certificate: filepath.Join(dir, "server.crt"),
		Key:         filepath.Join(dir, "server.key"),
		Roots:       filepath.Join(dir, "ca", "ca.crt"),
		CRL:         filepath.Join(dir, "ca", "crl.pem"),
	}
	if err := issued.WriteFiles(paths.Certificate, paths.Key); err != nil {
		log.Fatal(err)
	}

	source, err := certs.Files(paths)
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	server := grpc.NewServer(
		grpc.Creds(certs.ServerCredentials(source)),
		grpc.ConnectionTimeout(5*time.Second),
	)
	defer server.Stop()

	fmt.Println(source.Material().Certificate().Leaf.DNSNames)
	// Output: [localhost]
}

// The identity of a user's certificate.
func ExampleIdentify() {
	ca, err := certs.NewCA(certs.CAOptions{TrustDomain: "example.org"})
	if err != nil {
		log.Fatal(err)
	}
	alice, err := ca.IssueUser("alice", certs.IssueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	name, err := certs.Identify(alice.Certificate(), certs.URI, "example.org")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name.User, "is", name)
	// Output: alice is spiffe://example.org/user/alice
}

// A revocations file takes back single certificates and tokens.
func ExampleParseRevocations() {
	revocations, err := certs.ParseRevocations([]byte(`
# Lost laptop, 3 May.
subject mallory before 2026-05-03T12:00:00Z
jti 6f2a9c # leaked in a paste
`))
	if err != nil {
		log.Fatal(err)
	}
	before := time.Date(2026, 5, 3, 11, 0, 0, 0, time.UTC)
	after := time.Date(2026, 5, 3, 13, 0, 0, 0, time.UTC)
	fmt.Println(revocations.Subject("mallory", before), revocations.Subject("mallory", after), revocations.Token("6f2a9c"))
	// Output: true false true
}
