package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	maxKeySetBytes = 1 << 20
	maxKeySetKeys  = 100
)

// A Key is a public key that verifies tokens.
type Key struct {
	// ID is the kid.
	ID string
	// Algorithm is the one JWS algorithm that the key is for; empty is any that
	// its type takes.
	Algorithm string
	// Public is an ed25519.PublicKey, an *ecdsa.PublicKey on P-256, or an
	// *rsa.PublicKey.
	Public crypto.PublicKey
}

// A KeySource finds the public key for a kid. Key is called for every token, by
// many goroutines at once; it may block to fetch, until ctx ends. Its error is a
// *Refusal: TokenKeyUnknown where there is no such key, KeysUnavailable where
// that cannot be known just now.
type KeySource interface {
	Key(ctx context.Context, kid string) (Key, error)
}

// A KeySet is a JSON Web Key Set (RFC 7517) that does not change. It is a
// KeySource, safe for concurrent use.
type KeySet struct {
	keys map[string]Key
}

// ParseKeySet reads a JSON Web Key Set of at most 1 MiB and 100 keys.
//
// It takes Ed25519 keys, EC keys on P-256, and RSA keys of 2048 to 8192 bits,
// each with a kid. Keys of other types, curves and sizes, for other algorithms
// or uses, or without a kid are left out, as RFC 7517 section 5 has it. These
// make the whole set an error: private or symmetric key material, which means
// that a secret has been published; two usable keys of one kid; a key whose
// numbers are not what its type takes; a set without a usable key.
func ParseKeySet(jwks []byte) (*KeySet, error) {
	if len(jwks) > maxKeySetBytes {
		return nil, fmt.Errorf("key set: it has %d bytes, more than %d", len(jwks), maxKeySetBytes)
	}
	set, err := readJSONObject(jwks)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if err := set.refuseVariants("keys"); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	members, ok := set["keys"].([]any)
	if !ok {
		return nil, errors.New(`key set: member "keys" is missing or not an array: it must be a JSON Web Key Set`)
	}
	if len(members) > maxKeySetKeys {
		return nil, fmt.Errorf("key set: it has %d keys, more than %d", len(members), maxKeySetKeys)
	}
	keys := make(map[string]Key, len(members))
	for i, member := range members {
		key, usable, err := readKey(member)
		if err != nil {
			return nil, fmt.Errorf("key set: key %d: %w", i+1, err)
		}
		if !usable {
			continue
		}
		if _, twice := keys[key.ID]; twice {
			return nil, fmt.Errorf("key set: key %d: kid %.100q occurs twice", i+1, key.ID)
		}
		keys[key.ID] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("key set: it has no usable key: publish one with a kid, of Ed25519, P-256, or RSA of 2048 bits or more")
	}
	return &KeySet{keys: keys}, nil
}

// Key returns the key called kid, or a TokenKeyUnknown refusal.
func (s *KeySet) Key(_ context.Context, kid string) (Key, error) {
	key, ok := s.keys[kid]
	if !ok {
		return Key{}, Refusef(TokenKeyUnknown, "the key set has no key %.100q", kid)
	}
	return key, nil
}

// Has says whether the set has a key called kid.
func (s *KeySet) Has(kid string) bool {
	_, ok := s.keys[kid]
	return ok
}

// holds says whether key is the one called kid.
func (s *KeySet) holds(kid string, key crypto.PublicKey) bool {
	held, ok := s.keys[kid]
	if !ok {
		return false
	}
	public, ok := held.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key)
}

func (s *KeySet) unusable() *Refusal { return nil }

func (s *KeySet) version() uint64 { return 0 }

// IDs returns the kids of the set, sorted.
func (s *KeySet) IDs() []string { return slices.Sorted(maps.Keys(s.keys)) }

// equal says whether both sets hold the same keys under the same kids.
func (s *KeySet) equal(other *KeySet) bool {
	return maps.EqualFunc(s.keys, other.keys, func(a, b Key) bool {
		public, ok := a.Public.(interface{ Equal(crypto.PublicKey) bool })
		return ok && a.Algorithm == b.Algorithm && public.Equal(b.Public)
	})
}
