// Package e2e has the tests that need more than Go or more than a moment: a real
// Jaeger, which takes minutes to build, openssl, and programs that are killed and
// cut off while people talk. They run the programs as their users do, as
// processes, and are behind the build tag e2e:
//
//	go test -tags e2e ./cmd/e2e
//	go test -tags e2e ./cmd/e2e -run Chaos -chaos.full -timeout 2h
package e2e
