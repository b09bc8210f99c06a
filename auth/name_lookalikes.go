package auth

import "strings"

// The characters that look like a letter of "server", beyond those that
// compatibility decomposition, lower case and the removal of accents turn into
// it. They are what Unicode 17's confusables have for the letter in either case,
// with small capitals, turned and hooked forms, and digits and signs written for
// letters.
const (
	// Latin; Greek; Cyrillic; Armenian; Cherokee; others; digits and signs.
	lookLikeS = "\uA731\u01BD\u0282\u1D74\u023F\u1D8A\uA7A9\uA785\u017F\u1E9C\u1E9D\u01A8" +
		"\u03C2" +
		"\u0455\u0405" +
		"\u054F" +
		"\uABAA\u13D5\u13DA\uABA5" +
		"\u0D1F\U000118C1\U00010448\U00010420\uA4E2\U00016F3A\U00010296" +
		"5$\u00A7"
	lookLikeE = "\u1D07\uAB32\uAB33\uAB34\u0247\u025B\u025C\u0258\u0259\u01DD\u1D92\u1D93\u1D95\u2C78" +
		"\u0395\u03B5" +
		"\u0435\u0415\u04BD\u04BF\u0454\u0511\u044D\u0437\u0499" +
		"\u13AC\uAB7C" +
		"\u2D39\uA4F0\U000118A6\U000118AE\U00010286" +
		"3\u20AC\u212E\u22FF\u2203\u2208"
	lookLikeR = "\u0280\u01A6\u0279\u027A\u027B\u027C\u027D\u027E\u027F\u024D\u0281\u1D19\u1D1A\u1D72\u1D73\u1D89" +
		"\uAB45\uAB46\uAB47\uAB48\uAB49\uAB4A\uA75B\uA783\uA7A7" +
		"\u1D26" +
		"\u0433\u0493\u044F" +
		"\u13A1\u13D2\uAB71\uABA2\u13B1\uAB81" +
		"\u2C85\U000104B4\u1587\uA4E3\U00016F35\U0001D216" +
		"\u00AE"
	lookLikeV = "\u1D20\u028B\u2C71\u2C74\u1D8C\uA75F\u1EFD" +
		"\u03BD\u03C5" +
		"\u0475\u0474" +
		"\u13D9\uABA9" +
		"\u05D8\u0667\u06F7\u2D38\u142F\uA6DF\uA4E6\U00011706\U000118C0\U000118A0\U00016F08\U0001051D" +
		"\u2228\u22C1\u221A\U0001D20D\U00010197\U0001F708"
)

// plainLetter returns the Latin letter that r looks like, if it is one of
// "server", and r otherwise.
func plainLetter(r rune) rune {
	switch {
	case strings.ContainsRune(lookLikeS, r):
		return 's'
	case strings.ContainsRune(lookLikeE, r):
		return 'e'
	case strings.ContainsRune(lookLikeR, r):
		return 'r'
	case strings.ContainsRune(lookLikeV, r):
		return 'v'
	}
	return plainSymbol(r)
}

// plainSymbol returns the letter in a pictorial alphabet that has no
// compatibility decomposition, and r for any other character.
func plainSymbol(r rune) rune {
	for _, a := range [...]rune{
		'\U0001F150', // negative circled
		'\U0001F170', // negative squared
		'\U0001F1E6', // regional indicators
	} {
		if a <= r && r < a+26 {
			return 'a' + r - a
		}
	}
	return r
}
