package cli

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Code is a program's exit code. Scripts rely on the numbers.
type Code int

// The exit codes.
const (
	OK              Code = 0
	Failure         Code = 1   // any error that has no code of its own
	Usage           Code = 2   // the command line or the configuration is not one
	Unreachable     Code = 3   // no connection, or no TLS
	Unauthenticated Code = 4   // the server does not accept who calls
	Denied          Code = 5   // the server knows who calls and refuses
	NotFound        Code = 6   // what was asked for does not exist
	Unacknowledged  Code = 7   // not acknowledged in time
	Interrupted     Code = 130 // SIGINT or SIGTERM
)

type exitError struct {
	code Code
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Exit returns err with the code that the program exits with because of it. It
// returns nil where err is nil.
func Exit(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err}
}

// CodeOf returns the exit code for err: that which Exit gave it, or else that
// of the gRPC status it carries, or else Failure.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	st, ok := status.FromError(err)
	if !ok {
		return Failure
	}
	switch st.Code() {
	case codes.Unavailable:
		return Unreachable
	case codes.Unauthenticated:
		return Unauthenticated
	case codes.PermissionDenied:
		return Denied
	case codes.NotFound:
		return NotFound
	default:
		return Failure
	}
}
