package scrape

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumented makes sure that the page has a row for each metric of the programs, and names none that there is not.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, golden := range []string{"../../cmd/lxcfs/lxcfs-metrics/testdata/metrics.txt", "../authz/authzmetrics/testdata/metrics.txt"} {
		told, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllSubmatch(told, -1) {
			name := string(found[1])
			known[name] = true
			if !strings.Contains(string(page), "\n| `"+name) {
				t.Errorf("%s has no row in the page", name)
			}
		}
	}
	// Those of a histogram end in _bucket.
	for _, name := range regexp.MustCompile(`palisade_\w+`).FindAllString(string(page), -1) {
		if !known[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("the page has %s", name)
		}
	}
}
