//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// An operator has an authority made with openssl and an issuer made with a JOSE
// library that is not ours.
type operator struct {
	t      *testing.T
	dir    string
	signer jose.Signer
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, dir: t.TempDir()}
	o.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
		"-subj", "/O=Operator/CN=Operator CA", "-keyout", "ca.key", "-out", "ca.crt",
		"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	o.issue("server", "DNS:chat.example.org,IP:127.0.0.1", "serverAuth")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	o.must(err)
	o.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "2026-11"}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	o.must(err)
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "2026-11", Algorithm: "ES256", Use: "sig"}}})
	o.must(err)
	o.must(os.WriteFile(o.path("jwks.json"), jwks, 0o644))
	return o
}

func (o *operator) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *operator) path(name string) string { return filepath.Join(o.dir, name) }

func (o *operator) openssl(args ...string) {
	o.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = o.dir
	if text, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

// issue makes NAME.key and NAME.crt, signed by the authority.
func (o *operator) issue(name, san, usage string) {
	o.t.Helper()
	o.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN="+name,
		"-keyout", name+".key", "-out", name+".csr")
	o.must(os.WriteFile(o.path(name+".ext"), []byte("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"+
		"extendedKeyUsage="+usage+"\nsubjectAltName="+san+"\n"), 0o600))
	o.openssl("x509", "-req", "-in", name+".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "7",
		"-extfile", name+".ext", "-out", name+".crt")
	o.must(os.Chmod(o.path(name+".key"), 0o600))
}

// token mints a token for the user's certificate.
func (o *operator) token(user, certificate string) string {
	o.t.Helper()
	text, err := os.ReadFile(o.path(certificate + ".crt"))
	o.must(err)
	block, _ := pem.Decode(text)
	sum := sha256.Sum256(block.Bytes)
	token, err := jwt.Signed(o.signer).Claims(map[string]any{
		"iss": "https://id.example.org", "aud": "chat.example.org", "sub": user,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"cnf": map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
	}).Serialize()
	o.must(err)
	return token
}

// serve starts "chatd serve" and returns its address.
func (o *operator) serve(extra ...string) string {
	o.t.Helper()
	chatd := build(o.t, filepath.Join("..", ".."), "./cmd/chatd")
	args := append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--tls-cert", o.path("server.crt"), "--tls-key", o.path("server.key"), "--client-ca", o.path("ca.crt"),
		"--jwks", o.path("jwks.json"), "--issuer", "https://id.example.org", "--audience", "chat.example.org",
	}, extra...)
	server := run(o.t, nil, chatd, args...)
	o.t.Cleanup(func() {
		if code := server.stop(); code != 0 {
			o.t.Errorf("chatd serve ended with %d", code)
		}
	})
	return field(o.t, server.line(server.stderr, "ready"), "listen")
}

// say sends texts as a client that has nothing of ours: three strings and a
// path, the standard TLS credentials, an authorization header.
func (o *operator) say(address, certificate, token string, texts ...string) ([]string, error) {
	o.t.Helper()
	pair, err := tls.LoadX509KeyPair(o.path(certificate+".crt"), o.path(certificate+".key"))
	o.must(err)
	text, err := os.ReadFile(o.path("ca.crt"))
	o.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		ServerName: "chat.example.org", RootCAs: roots, Certificates: []tls.Certificate{pair},
	})))
	o.must(err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token), patience)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/chat.Chat/chatStream")
	if err != nil {
		return nil, err
	}
	descriptor := frozen(o.t)
	for _, text := range texts {
		line := dynamicpb.NewMessage(descriptor)
		line.Set(descriptor.Fields().ByName("message"), protoreflect.ValueOfString(text))
		if err := stream.SendMsg(line); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var answers []string
	for {
		ack := dynamicpb.NewMessage(descriptor)
		if err := stream.RecvMsg(ack); errors.Is(err, io.EOF) {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
		answers = append(answers, ack.Get(descriptor.Fields().ByName("message")).String())
	}
}

// frozen is the contract as a stranger knows it.
func frozen(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	text := func(name string, number int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number),
			Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("theirs.proto"), Package: proto.String("theirs"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:  proto.String("Line"),
			Field: []*descriptorpb.FieldDescriptorProto{text("user", 1), text("message", 2), text("timestamp", 3)},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().Get(0)
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestAnOperatorsOwnKeys(t *testing.T) {
	o := newOperator(t)
	o.issue("alice", "URI:spiffe://example.org/user/alice", "clientAuth")
	o.issue("bob", "URI:spiffe://example.org/user/bob", "clientAuth")
	o.issue("web", "URI:spiffe://example.org/user/alice", "serverAuth")
	o.issue("two", "URI:spiffe://example.org/user/alice,URI:spiffe://example.org/user/bob", "clientAuth")
	address := o.serve("--trust-domain", "example.org")

	_, err := o.say(address, "bob", o.token("alice", "alice"), "stolen")
	wantCode(t, "alice's token with bob's certificate", err, codes.Unauthenticated)
	_, err = o.say(address, "two", o.token("alice", "two"), "which?")
	wantCode(t, "a certificate of two users", err, codes.Unauthenticated)
	_, err = o.say(address, "web", o.token("alice", "web"), "hello")
	wantCode(t, "a server's certificate", err, codes.Unavailable) // refused in the handshake
	_, err = o.say(address, "alice", "x", "hello")
	wantCode(t, "no token", err, codes.Unauthenticated)

	answers, err := o.say(address, "alice", o.token("alice", "alice"), "Hello, server!", "How are you?")
	if err != nil || strings.Join(answers, "|") != "Acknowledged: Hello, server!|Acknowledged: How are you?" {
		t.Errorf("alice: %q, %v", answers, err)
	}
}

// A list that openssl has made revokes what it names.
func TestAnOperatorsRevocationList(t *testing.T) {
	o := newOperator(t)
	o.issue("alice", "URI:spiffe://example.org/user/alice", "clientAuth")
	o.issue("bob", "URI:spiffe://example.org/user/bob", "clientAuth")
	o.must(os.WriteFile(o.path("index.txt"), nil, 0o600))
	o.must(os.WriteFile(o.path("crlnumber"), []byte("01\n"), 0o600))
	o.must(os.WriteFile(o.path("ca.cnf"), []byte("[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=7\n"), 0o600))
	o.openssl("ca", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-revoke", "bob.crt")
	o.openssl("ca", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-gencrl", "-out", "crl.pem")
	address := o.serve("--crl", o.path("crl.pem"))
	_, err := o.say(address, "bob", o.token("bob", "bob"), "hello")
	wantCode(t, "a revoked certificate", err, codes.Unavailable) // refused in the handshake
	if _, err := o.say(address, "alice", o.token("alice", "alice"), "hello"); err != nil {
		t.Errorf("alice: %v", err)
	}
}

// An authority that knows nothing of SPIFFE identifies by DNS name or email.
func TestAForeignAuthority(t *testing.T) {
	o := newOperator(t)
	o.issue("laptop", "DNS:laptop-17.example.org,email:alice@example.org", "clientAuth")
	for identity, bind := range map[string]string{"dns": "certificate", "email": "certificate"} {
		address := o.serve("--identity", identity, "--bind", bind)
		if _, err := o.say(address, "laptop", o.token("alice", "laptop"), "hello"); err != nil {
			t.Errorf("--identity %s --bind %s: %v", identity, bind, err)
		}
	}
	address := o.serve("--identity", "email", "--bind", "subject")
	_, err := o.say(address, "laptop", o.token("alice", "laptop"), "hello")
	wantCode(t, "--bind subject and another subject", err, codes.Unauthenticated)
	if _, err := o.say(address, "laptop", o.token("alice@example.org", "laptop"), "hello"); err != nil {
		t.Errorf("--identity email --bind subject: %v", err)
	}
}
