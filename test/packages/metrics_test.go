//go:build integration

package packages

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dropIn matches the drop-ins in docs/metrics.md that permit a unit to listen on a TCP address.
var dropIn = regexp.MustCompile(`(?m)^<!-- file: /etc/systemd/system/(\S+)\.d/metrics\.conf -->\n\n((?:    .*\n)+)`)

// withMetrics appends the drop-ins in the page to copies of the units, and returns their paths.
func withMetrics(t *testing.T, units []string) (paths []string) {
	t.Helper()
	for _, found := range dropIn.FindAllStringSubmatch(read(t, repository+"/docs/metrics.md"), -1) {
		for _, unit := range units {
			if filepath.Base(unit) != found[1] {
				continue
			}
			path := filepath.Join(t.TempDir(), found[1])
			write(t, path, read(t, unit)+"\n"+strings.ReplaceAll(found[2], "    ", ""), 0o644)
			paths = append(paths, path)
		}
	}
	if len(paths) != len(units) {
		t.Fatalf("the page has drop-ins for %d units, want %d", len(paths), len(units))
	}
	return paths
}
