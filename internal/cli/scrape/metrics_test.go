package scrape

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// goldenFiles are the responses of lxcfs-metrics, authz-broker and palisade-nri.
var goldenFiles = []string{
	"../../../cmd/lxcfs/lxcfs-metrics/testdata/metrics.txt",
	"../../authz/authzmetrics/testdata/metrics.txt",
	"../../nri/testdata/metrics.txt",
}

// TestLint checks all metrics with promlint.
func TestLint(t *testing.T) {
	for _, file := range goldenFiles {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		problems, err := promlint.New(f).Lint()
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", file, p.Metric, p.Text)
		}
	}
}

// TestDocumented checks that docs/metrics.md has a row for each metric, and no unknown metrics.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, file := range goldenFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllSubmatch(text, -1) {
			name := string(match[1])
			known[name] = true
			if !strings.Contains(string(page), "\n| `"+name) {
				t.Errorf("no row for %s", name)
			}
		}
	}
	// The page uses the series of histograms, which end in _bucket.
	for _, name := range regexp.MustCompile(`palisade_\w+`).FindAllString(string(page), -1) {
		if !known[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("unknown metric %s", name)
		}
	}
}
