package auth

import (
	"encoding/base64"
	"errors"
	"strings"
)

// maxTokenBytes bounds a compact token before anything else is done with it.
const maxTokenBytes = 8 << 10

// A compactToken is the three parts of a compact JWS (RFC 7515 section 7.1).
type compactToken struct {
	signed    string // the text that is signed: header and payload as they came
	header    []byte
	payload   []byte
	signature []byte
}

func splitCompact(compact string) (compactToken, error) {
	if len(compact) > maxTokenBytes {
		return compactToken{}, Refusef(TokenTooLarge, "the token has %d bytes, more than %d", len(compact), maxTokenBytes)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return compactToken{}, Refusef(TokenMalformed, "the token has %d segments, not 3", len(parts))
	}
	token := compactToken{signed: compact[:len(parts[0])+1+len(parts[1])]}
	var err error
	if token.header, err = decodeSegment(parts[0]); err != nil {
		return compactToken{}, Refusef(TokenMalformed, "header: %w", err)
	}
	if token.payload, err = decodeSegment(parts[1]); err != nil {
		return compactToken{}, Refusef(TokenMalformed, "claims: %w", err)
	}
	if token.signature, err = decodeSegment(parts[2]); err != nil {
		return compactToken{}, Refusef(TokenMalformed, "signature: %w", err)
	}
	return token, nil
}

// decodeSegment decodes base64url without padding (RFC 7515 appendix C) and
// refuses all but the one canonical form of the bytes: encoding/base64 alone
// skips line ends, and stray bits at the end when not strict.
func decodeSegment(segment string) ([]byte, error) {
	if strings.ContainsAny(segment, "\r\n") {
		return nil, errors.New("not canonical base64url without padding")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, errors.New("not canonical base64url without padding")
	}
	return data, nil
}
