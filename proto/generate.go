// Package proto holds the wire contracts and the code generated from them.
package proto

//go:generate go tool -modfile=../.ci/tools/go.mod buf lint
//go:generate go tool -modfile=../.ci/tools/go.mod buf generate
