package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinks makes sure that the daemon does not link HTTP and Prometheus, as lxcfs-metrics does:
// they would cost each process megabytes.
func TestLinks(t *testing.T) {
	linked := func(path string) []string {
		t.Helper()
		out, err := exec.Command("go", "list", "-deps", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for pkg := range strings.FieldsSeq(string(out)) {
			if pkg == "net/http" || strings.HasPrefix(pkg, "github.com/prometheus/") {
				found = append(found, pkg)
			}
		}
		return found
	}
	if found := linked("."); len(found) > 0 {
		t.Errorf("lxcfs links %q", found)
	}
	if found := linked("./lxcfs-metrics"); len(found) < 3 {
		t.Errorf("lxcfs-metrics links only %q", found)
	}
}
