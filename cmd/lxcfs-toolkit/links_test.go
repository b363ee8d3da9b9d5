package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinks makes sure that the hook, which runs for each container, links no library for operators:
// a terminal UI, TOML, HTTP servers and metrics are palisade's.
func TestLinks(t *testing.T) {
	linked := func(path string, prefixes ...string) (found []string) {
		t.Helper()
		out, err := exec.Command("go", "list", "-deps", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for pkg := range strings.FieldsSeq(string(out)) {
			for _, prefix := range prefixes {
				if strings.HasPrefix(pkg, prefix) {
					found = append(found, pkg)
				}
			}
		}
		return found
	}
	const terminal, toml = "github.com/gdamore/tcell", "github.com/pelletier/go-toml"
	if found := linked(".", terminal, toml, "golang.org/x/term", "golang.org/x/text",
		"github.com/prometheus/", "palisade/internal/ops", "palisade/internal/authz",
		"palisade/internal/userns"); len(found) > 0 {
		t.Errorf("lxcfs-toolkit links %q", found)
	}
	if found := linked("../palisade", terminal, toml); len(found) < 2 {
		t.Errorf("palisade links only %q", found)
	}
}
