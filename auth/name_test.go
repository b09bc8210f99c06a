package auth

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestNamesRefused(t *testing.T) {
	for what, name := range map[string]string{
		"empty":                      "",
		"65 bytes":                   strings.Repeat("a", 65),
		"66 bytes of 33 characters":  strings.Repeat("é", 33),
		"invalid UTF-8":              "al\xffice",
		"overlong UTF-8":             "al\xc0\xafice",
		"a surrogate":                "al\xed\xa0\x80ice",
		"NUL":                        "alice\x00",
		"line feed":                  "alice\nbob",
		"tab":                        "alice\tbob",
		"escape":                     "\x1b[31malice",
		"DEL":                        "alice\x7f",
		"C1 control":                 "alice\u0085",
		"zero-width space":           "ali\u200Bce",
		"zero-width joiner":          "ali\u200Dce",
		"word joiner":                "ali\u2060ce",
		"byte order mark":            "\uFEFFalice",
		"soft hyphen":                "ali\u00ADce",
		"right-to-left override":     "alice\u202Eecila",
		"isolate":                    "\u2066alice\u2069",
		"right-to-left mark":         "alice\u200F",
		"Arabic letter mark":         "alice\u061C",
		"tag characters":             "alice\U000E0061",
		"line separator":             "alice\u2028bob",
		"no-break space":             "alice\u00A0bob",
		"em space":                   "alice\u2003bob",
		"ideographic space":          "alice\u3000bob",
		"ogham space":                "alice\u1680bob",
		"private use":                "alice\uE000",
		"plane 16 private use":       "alice\U00100000",
		"unassigned":                 "alice\u0378",
		"noncharacter":               "alice\uFFFF",
		"replacement character":      "ali\uFFFDce",
		"object replacement":         "ali\uFFFCce",
		"grapheme joiner":            "ali\u034Fce",
		"variation selector":         "alice\uFE0F",
		"supplementary selector":     "alice\U000E0100",
		"Mongolian selector":         "alice\u180B",
		"Hangul filler":              "\u3164",
		"Hangul choseong filler":     "\u115F",
		"halfwidth filler":           "\uFFA0",
		"Braille blank":              "\u2800",
		"Khmer inherent vowel":       "alice\u17B4",
		"musical null notehead":      "\U0001D159",
		"decomposed":                 "Zoe\u0308",
		"full width":                 "ａlice",
		"ligature":                   "ﬁona",
		"mathematical alphabet":      "𝐚lice",
		"superscript":                "alice²",
		"roman numeral":              "henry\u2168",
		"Kelvin sign":                "\u212Aim",
		"leading space":              " alice",
		"trailing space":             "alice ",
		"two spaces":                 "alice  bob",
		"a space alone":              " ",
		"a mark alone":               "\u0301",
		"a mark on a space":          "alice \u0301bob",
		"the service":                "Server",
		"in lower case":              "server",
		"in upper case":              "SERVER",
		"with an accent":             "Sérver",
		"with three accents":         "Ṡèrvër",
		"with a mark that lies over": "Se\u0336rver",
		"with spaces":                "S e r v e r",
		"with a full stop":           "Server.",
		"with brackets":              "[Server]",
		"with an emoji":              "Server ✓",
		"with a colon":               "server:",
		"Cyrillic dze":               "\u0405erver",
		"Cyrillic ie":                "S\u0435rv\u0435r",
		"Cyrillic ghe":               "Se\u0433ver",
		"Cyrillic izhitsa":           "Ser\u0475er",
		"Greek nu":                   "Ser\u03BDer",
		"Greek capital epsilon":      "S\u0395RV\u0395R",
		"Greek epsilon":              "s\u03B5rv\u03B5r",
		"Armenian tiwn":              "\u054Ferver",
		"Cherokee":                   "\u13DA\u13AC\u13A1\u13D9\u13AC\u13A1",
		"Cherokee, small":            "\uABAA\uAB7C\uAB71\uABA9\uAB7C\uAB71",
		"Lisu":                       "\uA4E2\uA4F0\uA4E3\uA4E6\uA4F0\uA4E3",
		"Deseret":                    "\U00010448erver",
		"small capitals":             "\uA731\u1D07\u0280\u1D20\u1D07\u0280",
		"turned letters":             "s\u01DD\u0279v\u01DD\u0279",
		"hooks and tails":            "\u0282er\u028Be\u027D",
		"digits":                     "53rv3r",
		"signs":                      "$\u20ACrver",
		"logical or":                 "SER\u2228ER",
		"square root":                "Ser\u221Aer",
		"slashes":                    `ser\/er`,
		"regional indicators":        "\U0001F1F8\U0001F1EA\U0001F1F7\U0001F1FB\U0001F1EA\U0001F1F7",
		"negative squares":           "\U0001F182\U0001F174\U0001F181\U0001F185\U0001F174\U0001F181",
		"negative circles":           "\U0001F162\U0001F154\U0001F161\U0001F165\U0001F154\U0001F161",
		"tone five, stroke":          "\u01BD\u0247\u024Dver",
		"blackletter e":              "s\uAB32rver",
	} {
		if err := CheckName(name); err == nil {
			t.Errorf("%s: %q is accepted", what, name)
		}
	}
}

func TestNameErrorsSayWhy(t *testing.T) {
	for name, want := range map[string]string{
		"":              "empty",
		"al\xffice":     "UTF-8",
		"Zoe\u0308":     "NFKC",
		"ali\u200Bce":   "U+200B",
		"a  b":          "space",
		"\u0405erver":   "service",
		"abc\x1b[31mde": "U+001B",
	} {
		if err := CheckName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		} else if name != "" && strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error shows the name: %v", name, err)
		}
	}
}

// Those forms that are refused for their form alone must still be seen for what
// they look like, so that both rules stand on their own.
func TestLooksLikeServer(t *testing.T) {
	for _, name := range []string{
		"Ｓｅｒｖｅｒ", "𝐒𝐞𝐫𝐯𝐞𝐫", "𝕊𝕖𝕣𝕧𝕖𝕣", "ⓢⓔⓡⓥⓔⓡ", "🅂🄴🅁🅅🄴🅁", "ſerver", "Serⅴer", "S\u200Berver", "Ser\u00ADver",
		"\u202EServer", "Server\uFE0F", "S\u0301\u0302erver", "\U000E0020Server", "Ser\u3164ver",
	} {
		if !looksLikeServer(name) {
			t.Errorf("%q does not", name)
		}
	}
}

// Every form listed for a letter is taken for it, wherever it stands.
func TestEveryLookAlike(t *testing.T) {
	for letter, forms := range map[string]string{"s": lookLikeS, "e": lookLikeE, "r": lookLikeR, "v": lookLikeV} {
		for _, form := range forms {
			name := strings.ReplaceAll("server", letter, string(form))
			if !looksLikeServer(name) {
				t.Errorf("%q with %U for %s does not", name, form, letter)
			}
		}
	}
}

func TestNamesAccepted(t *testing.T) {
	for _, name := range []string{
		"a", "alice", "Alice B. Liddell", "o'brien", "anne-marie", "user@example.org", "7", strings.Repeat("a", 64),
		"Zoë", "Łukasz", "Nguyễn Văn", "Ολυμπία", "Иван", "Сергей", "שרה", "محمد", "देवनागरी", "李小龍", "ひらがな", "한국", "ኢትዮጵያ",
		"🙂", "serve", "servers", "servir", "observer", "server1", "my server", "reserve", "Sever", "Sorver", "ServerBot",
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"alice", "Server", "S\u200Berver", "Zoe\u0308", "a  b", "\xff", "ａ", "s\u0435rver", "李"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		switch {
		case len(name) == 0 || len(name) > 64 || !utf8.ValidString(name):
			t.Fatalf("%q is accepted", name)
		case !norm.NFC.IsNormalString(name):
			t.Fatalf("%q is accepted, though not in NFC", name)
		case strings.TrimSpace(name) != name || strings.Contains(name, "  "):
			t.Fatalf("%q is accepted with its spaces", name)
		case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
			t.Fatalf("%q is accepted, though not printable", name)
		case strings.EqualFold(norm.NFKC.String(name), "server"):
			t.Fatalf("%q is accepted", name)
		}
	})
}
