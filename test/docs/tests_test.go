package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile(`\bTest[A-Z]\w*`)
	test      = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestNamedTests makes sure that the tests are there which pages name.
func TestNamedTests(t *testing.T) {
	there := make(map[string]bool)
	err := filepath.WalkDir(Repository, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range test.FindAllSubmatch(text, -1) {
			there[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := Pages(Repository)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(Repository, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range namedTest.FindAllString(string(text), -1) {
			if named++; !there[name] {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("%d tests are named", named)
	}
}
