package scrape_test

import (
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestLint holds the names and types of both programs' metrics to Prometheus' conventions.
func TestLint(t *testing.T) {
	for _, file := range []string{"../authz/authzmetrics/testdata/metrics.txt", "../../cmd/lxcfs/lxcfs-metrics/testdata/metrics.txt"} {
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
