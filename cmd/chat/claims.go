package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// claims is what a token says of itself. Nothing of it is verified here: that is
// the server's to do.
type claims struct {
	Subject  string    `json:"subject,omitempty"`
	Issuer   string    `json:"issuer,omitempty"`
	Audience []string  `json:"audience,omitempty"`
	ID       string    `json:"id,omitempty"`
	Scope    string    `json:"scope,omitempty"`
	Rooms    []string  `json:"rooms,omitempty"`
	IssuedAt time.Time `json:"issued_at,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	// Bound is "certificate" where the token belongs to the certificate beside
	// it, "other" where it belongs to another, and "none".
	Bound string `json:"bound"`
	// Problem is why the token cannot be read; the rest is empty then.
	Problem string `json:"problem,omitempty"`
}

// readClaims reads the payload of a compact JWS. The thumbprint is that of the
// certificate, as in x5t#S256.
func readClaims(token, thumbprint string) claims {
	c, err := decodeClaims(token, thumbprint)
	if err != nil {
		return claims{Bound: boundNone, Problem: err.Error()}
	}
	return c
}

// The values of claims.Bound.
const (
	boundHere  = "certificate"
	boundOther = "other"
	boundNone  = "none"
)

func decodeClaims(token, thumbprint string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it is not a compact JWS, which has three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errors.New("its payload is not base64url")
	}
	var wire struct {
		Subject      string      `json:"sub"`
		Issuer       string      `json:"iss"`
		Audience     audience    `json:"aud"`
		ID           string      `json:"jti"`
		Scope        string      `json:"scope"`
		Rooms        []string    `json:"rooms"`
		IssuedAt     numericDate `json:"iat"`
		Expires      numericDate `json:"exp"`
		Confirmation struct {
			Thumbprint string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &wire); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return claims{}, fmt.Errorf("its claim %q is of a wrong type", wrong.Field)
		}
		return claims{}, errors.New("its payload is not a JSON object of the usual claims")
	}
	c := claims{
		Subject: wire.Subject, Issuer: wire.Issuer, Audience: wire.Audience, ID: wire.ID, Scope: wire.Scope, Rooms: wire.Rooms,
		IssuedAt: wire.IssuedAt.Time, Expires: wire.Expires.Time, Bound: boundNone,
	}
	switch wire.Confirmation.Thumbprint {
	case "":
	case thumbprint:
		c.Bound = boundHere
	default:
		c.Bound = boundOther
	}
	return c, nil
}

// audience is a string or an array of strings (RFC 7519, section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// numericDate is in seconds since 1970 (RFC 7519, section 2).
type numericDate struct{ time.Time }

// latest is the last second of the year 9999, beyond which RFC 3339 has no times.
const latest = 253402300799

func (d *numericDate) UnmarshalJSON(text []byte) error {
	var seconds float64
	if err := json.Unmarshal(text, &seconds); err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > latest {
		return errors.New("not a time")
	}
	d.Time = time.Unix(int64(seconds), 0).UTC()
	return nil
}
