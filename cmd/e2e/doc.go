// Package e2e has the tests that need more than Go: a real Jaeger, which takes
// minutes to build, and openssl. They run the programs as their users do, as
// processes, and are behind the build tag e2e:
//
//	go test -tags e2e ./cmd/e2e
package e2e
