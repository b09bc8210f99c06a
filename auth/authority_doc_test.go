package auth

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every row of the matrix names tests, and they exist.
func TestTheMatrixIsProven(t *testing.T) {
	text, err := os.ReadFile("../docs/authority.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfTheModule(t)
	rows := 0
	for line := range strings.Lines(string(text)) {
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if row := strings.Split(strings.TrimSpace(line), "|"); len(row) == 6 && row[1] != " event " && !strings.HasPrefix(row[1], "-") {
			rows++
			if !regexp.MustCompile("`Test\\w+`").MatchString(row[4]) {
				t.Errorf("no test is named by the row %q", row[1])
			}
		}
		for _, name := range named {
			if !tests[name[1]] {
				t.Errorf("there is no test %s", name[1])
			}
		}
	}
	if rows < 15 {
		t.Errorf("the matrix has %d rows: it has not been found", rows)
	}
	for reason, rule := range rules {
		if reason == CertificateExpired || reason == TokenExpired || reason == SessionExpired || reason == TokenKeyRetired || reason == Expelled || reason == Draining {
			if !regexp.MustCompile(`(UNAUTHENTICATED|PERMISSION_DENIED|UNAVAILABLE), ` + string(reason)).Match(text) {
				t.Errorf("no row ends with %s (%s)", reason, rule.code)
			}
		}
	}
}

func testsOfTheModule(t *testing.T) map[string]bool {
	t.Helper()
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range declared.FindAllSubmatch(text, -1) {
			tests[string(match[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
