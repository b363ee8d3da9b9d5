// Package golden compares texts with files of the repository, for tests. With -update it writes the
// files instead.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing them")

// Check compares a text with a file, and names the first line that differs.
func Check(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	// Only the last element lacks "\n", so that they differ before one ends.
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(string(want), "\n")
	i := 0
	for g[i] == w[i] {
		i++
	}
	t.Errorf("%s:%d: got %q, want %q (go test with -update writes it)", file, i+1, g[i], w[i])
}
