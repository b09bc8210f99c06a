package auth

import "strings"

const maxKeyIDBytes = 256

// A tokenHeader is what of a JOSE header is used.
type tokenHeader struct {
	algorithm string
	keyID     string
}

// parseHeader reads a JOSE header (RFC 7515 section 4).
//
// Members that name or carry a key (jwk, jku, x5u, x5c) are refused, not
// ignored: keys come from the configured source alone, and a token that brings
// its own is an attack or a mistake (RFC 8725 section 3.10). So are b64, zip and
// enc, which change what the payload means. Members unknown to RFC 7515 and its
// extensions are ignored, as its section 4.2 has it.
func parseHeader(data []byte) (tokenHeader, error) {
	header, err := readJSONObject(data)
	if err != nil {
		return tokenHeader{}, Refusef(TokenMalformed, "header: %w", err)
	}
	refused := []string{"jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"}
	if err := header.refuseVariants(append(refused, "alg", "kid", "typ", "cty", "crit")...); err != nil {
		return tokenHeader{}, Refusef(TokenMalformed, "header: %w", err)
	}
	if _, present := header["crit"]; present {
		return tokenHeader{}, Refusef(TokenCritical, "header: crit is present")
	}
	for _, name := range refused {
		if _, present := header[name]; present {
			return tokenHeader{}, Refusef(TokenMalformed, "header: %s is present", name)
		}
	}
	if err := checkType(header); err != nil {
		return tokenHeader{}, err
	}
	return readKeyReference(header)
}

// checkType accepts typ JWT or at+jwt (RFC 9068), or none. It is a media type:
// case does not matter, and "application/" before it is the same type
// (RFC 7515 section 4.1.9).
func checkType(header jsonObject) error {
	typ, present, err := header.text("typ")
	if err != nil {
		return Refusef(TokenMalformed, "header: %w", err)
	}
	if !present {
		return nil
	}
	switch strings.ToLower(typ) {
	case "jwt", "at+jwt", "application/jwt", "application/at+jwt":
		return nil
	}
	return Refusef(TokenType, "header: typ is %.100q", typ)
}

func readKeyReference(header jsonObject) (tokenHeader, error) {
	algorithm, err := header.required("alg")
	if err != nil {
		return tokenHeader{}, Refusef(TokenMalformed, "header: %w", err)
	}
	if algorithm = algorithmCalled(algorithm); !knownAlgorithm(algorithm) {
		return tokenHeader{}, Refusef(TokenAlgorithm, "header: alg is %.100q", algorithm)
	}
	keyID, err := header.required("kid")
	if err != nil {
		return tokenHeader{}, Refusef(TokenMalformed, "header: %w", err)
	}
	if len(keyID) > maxKeyIDBytes {
		return tokenHeader{}, Refusef(TokenMalformed, "header: kid has %d bytes, more than %d", len(keyID), maxKeyIDBytes)
	}
	return tokenHeader{algorithm: algorithm, keyID: keyID}, nil
}
