package auth

import "errors"

// CheckName
func CheckName(name string) error {
	if name == "" {
		return errors.New("empty")
	}
	return nil
}
