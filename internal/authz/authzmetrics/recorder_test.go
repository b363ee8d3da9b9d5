package authzmetrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
	"palisade/internal/golden"
	"palisade/internal/scrape"
)

// kept is an auditor.
type kept struct{ all []audit.Record }

func (k *kept) Add(r audit.Record) { k.all = append(k.all, r) }

func newRecorder(t *testing.T) (*Recorder, *kept, *prometheus.Registry) {
	t.Helper()
	registry, k := prometheus.NewPedanticRegistry(), new(kept)
	r, err := New(k, Sources{Dropped: func() uint64 { return 3 }, Loads: func() (uint64, uint64) { return 2, 1 }}, registry)
	if err != nil {
		t.Fatal(err)
	}
	return r, k, registry
}

// get is the text that Prometheus gets.
func get(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	w := httptest.NewRecorder()
	scrape.Handler(g).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestText(t *testing.T) {
	r, k, registry := newRecorder(t)
	operators := &policy.Policy{Name: "operators"}
	for _, record := range []audit.Record{
		{Engine: action.Docker, Decision: policy.Decision{Allow: true, Policy: operators}, Latency: 30 * time.Microsecond},
		{Engine: action.Docker, Decision: policy.Decision{Allow: true, Policy: operators}, Latency: 40 * time.Microsecond},
		{Engine: action.Docker, Decision: policy.Decision{Policy: operators}, Latency: time.Millisecond},
		{Engine: action.Isulad, Decision: policy.Decision{Reason: policy.NoPolicy}, Latency: 20 * time.Millisecond},
		{Engine: action.Isulad, Decision: policy.Decision{Allow: true, Policy: new(policy.Policy)}},
		{Engine: action.Docker, Fault: audit.Late, Problem: "too late", Latency: 2 * time.Second},
		{Engine: action.Docker, Fault: audit.Mistake, Decision: policy.Decision{Policy: operators}},
		{Engine: action.Docker, Decision: policy.Decision{Policy: &policy.Policy{Name: "of \"quotes\"\n\\"}}, DryRun: true},
	} {
		r.Add(record)
	}
	if len(k.all) != 8 || k.all[5].Problem != "too late" {
		t.Errorf("audited: %+v", k.all)
	}
	got := get(t, registry)
	golden.Check(t, "testdata/metrics.txt", got)
}

// TestManyPolicies has more policies decide than are told apart.
func TestManyPolicies(t *testing.T) {
	r, _, registry := newRecorder(t)
	for i := range 10 * maxNames {
		r.Add(audit.Record{Engine: action.Docker, Decision: policy.Decision{Policy: &policy.Policy{Name: fmt.Sprint("p", i)}}})
	}
	r.Add(audit.Record{Engine: action.Docker, Decision: policy.Decision{Policy: &policy.Policy{Name: "p0"}}})
	text := get(t, registry)
	if n := strings.Count(text, "\npalisade_authz_decisions_total{"); n != maxNames+1 {
		t.Errorf("%d series", n)
	}
	for _, want := range []string{`policy="p0"} 2`, `policy="other"} 900`} {
		if want = `palisade_authz_decisions_total{engine="docker",outcome="deny",` + want; !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
