//go:build integration

package packages

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dropIn is what docs/metrics.md says for a unit: an address takes more than its options.
var dropIn = regexp.MustCompile(`(?m)^<!-- file: /etc/systemd/system/(\S+)\.d/metrics\.conf -->\n\n((?:    .*\n)+)`)

// withMetrics makes units of these with the drop-ins of the page, and returns their paths. What drop-ins say stands behind what a unit says.
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
		t.Fatalf("the page has drop-ins for %d units", len(paths))
	}
	return paths
}
