package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/cli/golden"
	"palisade/internal/cli/scrape"
	"palisade/internal/lxcfs/meter"
)

// get returns the response to a scrape.
func get(t *testing.T, m *meter.Meter) (code int, body string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{m}, scrape.BuildInfo("lxcfs"))
	w := httptest.NewRecorder()
	scrape.Handler(registry, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestCollect(t *testing.T) {
	m, f, err := meter.New()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.Begin()
	m.WorkerUp.Store(1)
	m.Requests.Add(12345)
	m.Containers.Store(20)
	m.Triggers.Store(2)
	m.Fallback(meter.Meminfo)
	m.Error(meter.Stats)
	m.Error(meter.Stuck)
	m.Replaced(meter.Killed)
	for _, took := range []time.Duration{
		8 * time.Microsecond, 30 * time.Microsecond, 31 * time.Microsecond, 2 * time.Millisecond,
		3 * time.Second,
	} {
		m.Read(meter.Meminfo, took)
	}
	code, got := get(t, m)
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, got)
	}
	golden.Check(t, "testdata/metrics.txt", got)
}

// TestOtherVersion scrapes the counters of another version: the scrape must fail.
func TestOtherVersion(t *testing.T) {
	m, f, err := meter.New()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := f.Map(meter.Size)
	if err != nil {
		t.Fatal(err)
	}
	mem[8*32] = 99
	code, body := get(t, m)
	want := meter.ErrOtherVersion.Error()
	if code != http.StatusInternalServerError || !strings.Contains(body, want) {
		t.Errorf("%d: %s", code, body)
	}
}
