package auth

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
)

// A vectorGroup is what is used of a test group of any of the files.
type vectorGroup struct {
	Comment string          `json:"comment"`
	Private json.RawMessage `json:"private"`
	Public  json.RawMessage `json:"public"`

	PublicKeyDER string `json:"publicKeyDer"`

	Tests []struct {
		ID      int             `json:"tcId"`
		Comment string          `json:"comment"`
		JWS     json.RawMessage `json:"jws"`
		Message string          `json:"msg"`
		Sig     string          `json:"sig"`
		Result  string          `json:"result"`
	} `json:"tests"`
}

func vectors(t *testing.T, file string) []vectorGroup {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Groups []vectorGroup `json:"testGroups"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors.Groups
}

// keySetOf returns the group's public key, or keys, as a set; nil if no such set
// is ever taken up.
func (g vectorGroup) keySetOf() *KeySet {
	key := g.Public
	if key == nil {
		key = g.Private
	}
	var either struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(key, &either) != nil || either.Keys == nil {
		key = slices.Concat([]byte(`{"keys":[`), key, []byte(`]}`))
	}
	set, err := ParseKeySet(key)
	if err != nil {
		return nil
	}
	return set
}

// verifyJWS takes a JWS as far as its signature, whatever its payload.
func verifyJWS(t *testing.T, keys *KeySet, text string) (tokenHeader, error) {
	token, err := splitCompact(text)
	if err != nil {
		return tokenHeader{}, err
	}
	header, err := parseHeader(token.header)
	if err != nil {
		return tokenHeader{}, err
	}
	if keys == nil {
		return header, Refusef(KeysUnavailable, "the key set is refused")
	}
	key, err := keys.Key(t.Context(), header.keyID)
	if err != nil {
		return header, err
	}
	return header, verifySignature(header.algorithm, key, token.signed, token.signature)
}

func TestWycheproofJWS(t *testing.T) {
	accepted, refused := map[string]int{}, 0
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json"} {
		for _, group := range vectors(t, file) {
			keys := group.keySetOf()
			for _, test := range group.Tests {
				var text string
				if err := json.Unmarshal(test.JWS, &text); err != nil {
					text = string(test.JWS) // a JWS in JSON serialisation
				}
				header, err := verifyJWS(t, keys, text)
				switch {
				case group.Comment == "jws_rsa_roca_key":
					// A key that a broken generator made is like any other to us:
					// which keys to trust is for the issuer to say.
				case err == nil && test.Result != "valid":
					t.Errorf("%s %d (%s): accepted", file, test.ID, test.Comment)
				case err == nil:
					accepted[header.algorithm]++
				case test.Result == "valid" && header.algorithm != "":
					t.Errorf("%s %d (%s): refused: %v", file, test.ID, test.Comment, err)
				case test.Result == "invalid":
					refused++
				}
			}
		}
	}
	// Fewer would mean that vectors are gone, or no longer understood.
	for algorithm, want := range map[string]int{algorithmES256: 2, algorithmRS256: 9, algorithmPS256: 6} {
		if accepted[algorithm] < want {
			t.Errorf("%s: %d valid vectors accepted, want %d", algorithm, accepted[algorithm], want)
		}
	}
	if want := 370; refused < want {
		t.Errorf("%d invalid vectors refused, want %d", refused, want)
	}
}

// The signatures alone, of which there are more than in the JWS vectors, and
// EdDSA among them.
func TestWycheproofSignatures(t *testing.T) {
	for _, test := range []struct {
		file           string
		algorithm      string
		valid, invalid int
	}{
		{"ed25519_test.json", algorithmEdDSA, 88, 63},
		{"ecdsa_secp256r1_sha256_p1363_test.json", algorithmES256, 150, 80},
		{"rsa_signature_2048_sha256_test.json", algorithmRS256, 9, 240},
		{"rsa_signature_4096_sha256_test.json", algorithmRS256, 7, 240},
		{"rsa_pss_2048_sha256_mgf1_32_test.json", algorithmPS256, 60, 40},
	} {
		t.Run(test.file, func(t *testing.T) {
			valid, invalid := 0, 0
			for _, group := range vectors(t, test.file) {
				key := group.publicKey(t)
				for _, vector := range group.Tests {
					message, errMessage := hex.DecodeString(vector.Message)
					signature, errSignature := hex.DecodeString(vector.Sig)
					if errMessage != nil || errSignature != nil {
						t.Fatalf("%d: not hexadecimal", vector.ID)
					}
					err := verifySignature(test.algorithm, key, string(message), signature)
					wantValid := vector.Result == "valid"
					switch {
					case vector.Result == "acceptable":
					case (err == nil) != wantValid:
						t.Errorf("%d (%s), %s: %v", vector.ID, vector.Comment, vector.Result, err)
					case wantValid:
						valid++
					default:
						invalid++
					}
				}
			}
			if valid < test.valid || invalid < test.invalid {
				t.Errorf("%d valid and %d invalid vectors, want %d and %d", valid, invalid, test.valid, test.invalid)
			}
		})
	}
}

func (g vectorGroup) publicKey(t *testing.T) Key {
	t.Helper()
	der, err := hex.DecodeString(g.PublicKeyDER)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return Key{ID: "k", Public: public}
}
