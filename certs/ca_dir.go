package certs

import (
	"math/big"
)

// change runs edit on the list of what is revoked, and if that changed it, raises
// the list's number and keeps it.
func (ca *CA) change(edit func() bool) error {
	if edit() {
		ca.number = new(big.Int).Add(ca.number, big.NewInt(1))
	}
	return nil
}
