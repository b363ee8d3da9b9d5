package ctr

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSoakIsComplete checks that test/soak.sh runs each test that calls Repeat.
func TestSoakIsComplete(t *testing.T) {
	script, err := os.ReadFile("../soak.sh")
	if err != nil {
		t.Fatal(err)
	}
	suites := make(map[string][]*regexp.Regexp)
	for _, found := range regexp.MustCompile(`(?m)^(?:part_\d+=")?(\w+) (\^Test\S+\$)`).FindAllStringSubmatch(string(script), -1) {
		suites[found[1]] = append(suites[found[1]], regexp.MustCompile(found[2]))
	}
	files, err := filepath.Glob("../*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	functions := regexp.MustCompile(`(?ms)^func (Test\w+)\(.*?^}`)
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range functions.FindAllStringSubmatch(string(text), -1) {
			if filepath.Dir(file) == "../ctr" || !strings.Contains(found[0], "ctr.Repeat(") {
				continue
			}
			count++
			isListed := false
			for _, tests := range suites[filepath.Base(filepath.Dir(file))] {
				isListed = isListed || tests.MatchString(found[1])
			}
			if !isListed {
				t.Errorf("%s: test/soak.sh does not run %s", file, found[1])
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d tests call ctr.Repeat", count)
	}
}
