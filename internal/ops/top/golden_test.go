package top

import (
	"path/filepath"
	"strings"
	"testing"

	"palisade/internal/cli/golden"
)

// checkGolden compares lines with a file of testdata.
func checkGolden(t *testing.T, name string, lines []string) {
	t.Helper()
	golden.Check(t, filepath.Join("testdata", name+".golden"), strings.Join(lines, "\n")+"\n")
}
