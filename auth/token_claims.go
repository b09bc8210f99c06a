package auth

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	maxTokenIDBytes  = 256
	maxRoomGlobs     = 100
	maxRoomGlobBytes = 128

	// maxNumericDate is 9999-12-31T23:59:59Z: RFC 3339 cannot write a later one.
	maxNumericDate = 253402300799
)

// Claims is what a verified token says.
type Claims struct {
	// Issuer is iss, Subject is sub (a name that CheckName accepts), ID is jti or
	// empty, KeyID is the kid of the key that signed.
	Issuer, Subject, ID, KeyID string
	// Audience is aud, whole.
	Audience []string
	// Expires is exp and never zero; NotBefore and IssuedAt are nbf and iat, and
	// zero where the token has none.
	Expires, NotBefore, IssuedAt time.Time
	// Scopes is the scope claim, split (RFC 8693 section 4.2).
	Scopes []string
	// Rooms is the rooms claim: globs.
	Rooms []string
	// Confirmation is the SHA-256 of the certificate that the token is bound to
	// (RFC 8705 section 3.1), nil where the token is not bound.
	Confirmation *[32]byte
	// Bound says whether the token has a cnf claim. A bound token always has a
	// Confirmation: a cnf that binds to anything else is refused.
	Bound bool

	key crypto.PublicKey // that verified the signature
}

func readPayload(data []byte) (jsonObject, error) {
	payload, err := readJSONObject(data)
	if err == nil {
		err = payload.refuseVariants("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "rooms", "cnf")
	}
	if err != nil {
		return nil, Refusef(TokenMalformed, "claims: %w", err)
	}
	return payload, nil
}

// parseClaims reads every claim that is used and refuses one of the wrong JSON
// type. Claims that are not used are ignored (RFC 7519 section 4). Issuer and
// KeyID are the caller's to fill in.
func parseClaims(payload jsonObject) (*Claims, error) {
	claims := &Claims{}
	for _, read := range []func(jsonObject) error{
		claims.readNames, claims.readDates, claims.readRights,
	} {
		if err := read(payload); err != nil {
			return nil, Refusef(TokenMalformed, "claims: %w", err)
		}
	}
	if err := claims.readConfirmation(payload); err != nil {
		return nil, err
	}
	return claims, nil
}

func (c *Claims) readNames(payload jsonObject) (err error) {
	if c.Subject, err = payload.required("sub"); err != nil {
		return err
	}
	if c.Audience, err = readAudience(payload); err != nil {
		return err
	}
	if _, present := payload["jti"]; !present {
		return nil
	}
	if c.ID, err = payload.required("jti"); err != nil {
		return err
	}
	if len(c.ID) > maxTokenIDBytes {
		return fmt.Errorf("jti has %d bytes, more than %d", len(c.ID), maxTokenIDBytes)
	}
	return nil
}

// readAudience reads aud, which is a string or an array of strings (RFC 7519
// section 4.1.3).
func readAudience(payload jsonObject) ([]string, error) {
	switch payload["aud"].(type) {
	case string:
		audience, err := payload.required("aud")
		return []string{audience}, err
	case []any:
		audience, _, err := payload.texts("aud")
		return audience, err
	}
	return nil, errors.New("aud is missing, or not a string or an array of strings")
}

func (c *Claims) readDates(payload jsonObject) (err error) {
	if _, present := payload["exp"]; !present {
		return errors.New(`member "exp" is missing`)
	}
	if c.Expires, err = readNumericDate(payload, "exp"); err != nil {
		return err
	}
	if c.NotBefore, err = readNumericDate(payload, "nbf"); err != nil {
		return err
	}
	c.IssuedAt, err = readNumericDate(payload, "iat")
	return err
}

// readNumericDate reads seconds since 1970, which may have a fraction (RFC 7519
// section 2). A date that is absent is the zero time.
func readNumericDate(payload jsonObject, name string) (time.Time, error) {
	member, present := payload[name]
	if !present {
		return time.Time{}, nil
	}
	number, ok := member.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("member %q is not a number", name)
	}
	seconds, err := strconv.ParseInt(number.String(), 10, 64)
	if err == nil && seconds >= 0 && seconds <= maxNumericDate {
		return time.Unix(seconds, 0).UTC(), nil
	}
	value, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || !(value >= 0 && value <= maxNumericDate) {
		return time.Time{}, fmt.Errorf("member %q is not a time between the years 1970 and 9999", name)
	}
	whole, fraction := math.Modf(value)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

func (c *Claims) readRights(payload jsonObject) error {
	scope, _, err := payload.text("scope")
	if err != nil {
		return err
	}
	if strings.ContainsFunc(scope, outsideScope) {
		return errors.New("scope has characters that no scope may have")
	}
	c.Scopes = strings.Fields(scope)
	if c.Rooms, _, err = payload.texts("rooms"); err != nil {
		return err
	}
	if len(c.Rooms) > maxRoomGlobs {
		return fmt.Errorf("rooms has %d entries, more than %d", len(c.Rooms), maxRoomGlobs)
	}
	for _, glob := range c.Rooms {
		if glob == "" || len(glob) > maxRoomGlobBytes {
			return fmt.Errorf("rooms has an entry of %d bytes, not 1 to %d", len(glob), maxRoomGlobBytes)
		}
	}
	return nil
}

// outsideScope says whether r can stand neither in a scope nor between two
// (RFC 6749 section 3.3).
func outsideScope(r rune) bool {
	return r < ' ' || r > '~' || r == '"' || r == '\\'
}

// readConfirmation reads cnf (RFC 7800), of which x5t#S256 is the one member
// that can be verified here: the others are ignored beside it, and refused
// without it.
func (c *Claims) readConfirmation(payload jsonObject) error {
	member, present := payload["cnf"]
	if !present {
		return nil
	}
	cnf, ok := member.(jsonObject)
	if !ok {
		return Refusef(TokenMalformed, "claims: cnf is not an object")
	}
	const name = "x5t#S256"
	if err := cnf.refuseVariants(name); err != nil {
		return Refusef(TokenMalformed, "claims: cnf: %w", err)
	}
	thumbprint, err := cnf.required(name)
	if err != nil {
		return Refusef(TokenBinding, "claims: cnf: %w", err)
	}
	digest, err := decodeSegment(thumbprint)
	if err != nil {
		return Refusef(TokenBinding, "claims: cnf: %s: %w", name, err)
	}
	if len(digest) != len(c.Confirmation) {
		return Refusef(TokenBinding, "claims: cnf: %s has %d bytes, not %d", name, len(digest), len(c.Confirmation))
	}
	c.Bound, c.Confirmation = true, (*[32]byte)(digest)
	return nil
}
