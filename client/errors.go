package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
)

// ErrClosed is what a stream's methods return after its Close.
var ErrClosed = errors.New("client: the stream was closed on this side")

// ErrEnded is what Send returns once the server has ended the stream. Receive
// has the reason, after the messages that came before it.
var ErrEnded = errors.New("client: the server has ended the stream: Receive says why")

// An Error is why a stream could not be opened, or how it ended.
type Error struct {
	// Server is the address that was dialled.
	Server string
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is the server's reason; empty where it gave none.
	Reason auth.Reason
	// Text says in words what happened and what to do.
	Text string
	// RetryAfter is how long the server asks to wait; zero where it does not. What
	// this package tries again by itself waits five minutes of that at most.
	RetryAfter time.Duration
	// Oldest is, of auth.CursorGone, the earliest sequence after which the room
	// can be read whole; 0 otherwise.
	Oldest uint64

	final bool // whatever the code says
	cause error
}

// Error says what happened, with which server, and what to do next.
func (e *Error) Error() string {
	switch {
	case e.Reason == auth.CursorGone:
		return fmt.Sprintf("%s: %s (%s, oldest %d)", e.Server, e.Text, e.Reason, e.Oldest)
	case e.Reason != "":
		return fmt.Sprintf("%s: %s (%s)", e.Server, e.Text, e.Reason)
	case e.Code == codes.Unavailable || e.Code == codes.DeadlineExceeded || e.Code == codes.Canceled:
		return fmt.Sprintf("%s: %s", e.Server, e.Text)
	default:
		return fmt.Sprintf("%s: %s (%s)", e.Server, e.Text, e.Code)
	}
}

// Unwrap returns the underlying error, such as one that certs.ProblemOf knows;
// nil where there is none.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus lets status.FromError and auth.ReasonOf look into the error.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.Code, e.Text)
	if e.Reason == "" {
		return st
	}
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(e.Reason), Domain: auth.Domain}); err == nil {
		return detailed
	}
	return st
}

// Retryable says whether opening another stream, with the same certificate and
// the same token, may succeed later:
//
//	UNAVAILABLE, the connection lost or refused    yes
//	UNAVAILABLE, the TLS handshake failed          no: the certificates must change
//	any code with RetryAfter                       yes, after that time
//	RESOURCE_EXHAUSTED, auth.SlowConsumer          yes
//	UNAUTHENTICATED, PERMISSION_DENIED             no: obtain what Text says first
//	DEADLINE_EXCEEDED in opening                   yes
//	any other code                                 no
func (e *Error) Retryable() bool {
	switch {
	case e.final:
		return false
	case e.RetryAfter > 0 || e.Reason == auth.SlowConsumer:
		return true
	default:
		return e.Code == codes.Unavailable || e.Code == codes.DeadlineExceeded
	}
}

// longestAsked bounds what a server can ask for: by a slip of its own, or of what
// stands before it, it would have a client wait for ever.
const longestAsked = 5 * time.Minute

// asked is how long to wait for the server's sake.
func (e *Error) asked() time.Duration { return min(e.RetryAfter, longestAsked) }

// fromStatus makes the Error of a call that ended with err. The link's failure
// explains why there was no connection to make the call on.
func fromStatus(server string, err, failure error) *Error {
	st, _ := status.FromError(err)
	e := &Error{Server: server, Code: st.Code(), Text: st.Message(), cause: err}
	e.Reason, _ = auth.ReasonOf(err)
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			e.RetryAfter = max(0, detail.GetRetryDelay().AsDuration())
		case *errdetails.ErrorInfo:
			if e.Reason == auth.CursorGone && detail.GetDomain() == auth.Domain {
				e.Oldest, _ = strconv.ParseUint(detail.GetMetadata()["oldest"], 10, 64)
			}
		}
	}
	if e.Code == codes.Unavailable && e.Reason == "" {
		e.unreachable(failure)
	}
	return e
}

// unreachable puts a failure to connect into words.
func (e *Error) unreachable(failure error) {
	if failure == nil {
		e.Text = "the connection was lost: " + e.Text
		return
	}
	e.cause = failure
	e.Text, e.final = connectionWords(failure)
}

// outOfTime is the Error for an opening whose context ended.
func outOfTime(server string, ctx context.Context, failure error) *Error {
	e := &Error{Server: server, Code: codes.Canceled, Text: "opening the stream was cancelled", cause: context.Cause(ctx)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Text = codes.DeadlineExceeded, "the server did not answer in time"
	}
	if failure != nil {
		words, _ := connectionWords(failure)
		e.Text += ": " + words
	}
	return e
}

// connectionWords says why there is no connection and what to do, and whether
// it is for as long as the certificates stay as they are.
func connectionWords(failure error) (text string, final bool) {
	var dns *net.DNSError
	var dial *net.OpError
	var hostname x509.HostnameError
	var untrusted x509.UnknownAuthorityError
	var check *certs.CheckError
	var record tls.RecordHeaderError
	_, certificate := certs.ProblemOf(failure)
	switch {
	case errors.As(failure, &hostname):
		return fmt.Sprintf("the server's certificate is not for %q: check the address, or give the name that the certificate has as the server name (%v)", hostname.Host, failure), true
	case errors.As(failure, &untrusted):
		return fmt.Sprintf("the server's certificate is not trusted: trust the authority that issued it, if this is the right server (%v)", failure), true
	case errors.As(failure, &check):
		return failure.Error(), true
	case errors.As(failure, &record):
		return "the server does not speak TLS at this address: check the port", true
	case certificate:
		return "TLS: " + failure.Error(), true
	case errors.As(failure, &dns):
		return fmt.Sprintf("there is no address for the name %q: check the name (%v)", dns.Name, dns.Err), false
	case errors.As(failure, &dial) && dial.Op == "dial":
		return fmt.Sprintf("cannot connect: %v: check the address, and that the server runs", dial.Err), false
	default:
		return "TLS: " + failure.Error(), false
	}
}
