//go:build !race

package auth_test

const many = 10_000
