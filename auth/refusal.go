package auth

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of the google.rpc.ErrorInfo in every refusal.
const Domain = "securechat"

// A Refusal is an error with two faces. Error is for the log: it names the
// cause. GRPCStatus is for the caller: it has the reason and what to do next,
// and never the cause.
type Refusal struct {
	Reason Reason
	// Retry, where it is not zero, is how long to wait before trying again.
	Retry time.Duration
	cause error
	// metadata is that of the ErrorInfo. It is never written to: copies share it.
	metadata map[string]string
}

// Refuse returns the refusal for reason. The cause is for the log alone.
func Refuse(reason Reason, cause error) *Refusal {
	return &Refusal{Reason: reason, cause: cause}
}

// Refusef is Refuse with a formatted cause.
func Refusef(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, cause: fmt.Errorf(format, args...)}
}

// After returns a copy of the refusal that asks the caller to wait.
func (r Refusal) After(wait time.Duration) *Refusal {
	r.Retry = wait
	return &r
}

// With returns a copy of the refusal that has one more value for programs in the
// metadata of its ErrorInfo. Which keys there are docs/errors.md says.
func (r Refusal) With(key, value string) *Refusal {
	metadata := make(map[string]string, len(r.metadata)+1)
	maps.Copy(metadata, r.metadata)
	metadata[key] = value
	r.metadata = metadata
	return &r
}

func (r *Refusal) Error() string {
	if r.cause == nil {
		return string(r.Reason)
	}
	return fmt.Sprintf("%s: %v", r.Reason, r.cause)
}

func (r *Refusal) Unwrap() error { return r.cause }

// GRPCStatus is what the caller is told.
func (r *Refusal) GRPCStatus() *status.Status {
	rule := r.Reason.rule()
	st := status.New(rule.code, rule.text)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(r.Reason), Domain: Domain, Metadata: r.metadata}}
	if r.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.Retry)})
	}
	detailed, err := st.WithDetails(details...)
	if err != nil {
		return st
	}
	return detailed
}

// ReasonOf returns the reason that err carries, whether it is a Refusal of this
// process or a status received from a server, and whether it carries one.
func ReasonOf(err error) (Reason, bool) {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason, true
	}
	st, ok := status.FromError(err)
	if !ok {
		return "", false
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return Reason(info.GetReason()), true
		}
	}
	return "", false
}
