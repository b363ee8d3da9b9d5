package docs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSymptomsTable makes sure that each symptom of the page can be provoked, and nothing else is.
func TestSymptomsTable(t *testing.T) {
	symptoms, err := Symptoms(filepath.Join(Repository, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names, scripts []string
	for _, s := range symptoms {
		names = append(names, s.Name)
	}
	files, err := filepath.Glob("testdata/symptoms/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		scripts = append(scripts, strings.TrimSuffix(filepath.Base(file), ".sh"))
	}
	slices.Sort(names)
	if !slices.Equal(names, scripts) {
		t.Errorf("the page has %q, the scripts are %q", names, scripts)
	}
}
