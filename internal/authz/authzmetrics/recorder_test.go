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
	"palisade/internal/cli/golden"
	"palisade/internal/cli/scrape"
)

// recordList is an Auditor.
type recordList struct{ all []audit.Record }

func (k *recordList) Add(r audit.Record) { k.all = append(k.all, r) }

func newRecorder(t *testing.T) (*Recorder, *recordList, *prometheus.Registry) {
	t.Helper()
	registry, k := prometheus.NewPedanticRegistry(), new(recordList)
	dropped := func() uint64 { return 3 }
	return New(k, dropped, func() (uint64, uint64) { return 2, 1 }, registry), k, registry
}

// scrapeText returns the response to Prometheus.
func scrapeText(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	w := httptest.NewRecorder()
	scrape.Handler(g, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestText(t *testing.T) {
	r, k, registry := newRecorder(t)
	operators := &policy.Policy{Name: "operators"}
	quoted := &policy.Policy{Name: "of \"quotes\"\n\\"}
	granted := policy.Decision{Allow: true, Policy: operators}
	unnamed := policy.Decision{Allow: true, Policy: new(policy.Policy)}
	for _, record := range []audit.Record{
		{Engine: action.Docker, Decision: granted, Latency: 30 * time.Microsecond},
		{Engine: action.Docker, Decision: granted, Latency: 40 * time.Microsecond},
		{Engine: action.Docker, Decision: policy.Decision{Policy: operators}, Latency: time.Millisecond},
		{
			Engine: action.Isulad, Decision: policy.Decision{Reason: policy.NoPolicy},
			Latency: 20 * time.Millisecond,
		},
		{Engine: action.Isulad, Decision: unnamed},
		{Engine: action.Docker, Fault: audit.Late, Problem: "too late", Latency: 2 * time.Second},
		{Engine: action.Docker, Fault: audit.Panic, Decision: policy.Decision{Policy: operators}},
		{Engine: action.Docker, Decision: policy.Decision{Policy: quoted}, DryRun: true},
	} {
		r.Add(record)
	}
	if len(k.all) != 8 || k.all[5].Problem != "too late" {
		t.Errorf("audited: %+v", k.all)
	}
	RegisterFront(func() int { return 4 }, func() uint64 { return 5 }, registry)
	golden.Check(t, "testdata/metrics.txt", scrapeText(t, registry))
}

// TestManyPolicies counts decisions of more policies than get labels of their own.
func TestManyPolicies(t *testing.T) {
	r, _, registry := newRecorder(t)
	decide := func(name string) {
		d := policy.Decision{Policy: &policy.Policy{Name: name}}
		r.Add(audit.Record{Engine: action.Docker, Decision: d})
	}
	for i := range 10 * maxPolicies {
		decide(fmt.Sprint("p", i))
	}
	decide("p0")
	text := scrapeText(t, registry)
	if n := strings.Count(text, "\npalisade_authz_decisions_total{"); n != maxPolicies+1 {
		t.Errorf("%d series", n)
	}
	for _, want := range []string{`policy="p0"} 2`, `policy="other"} 900`} {
		want = `palisade_authz_decisions_total{engine="docker",outcome="deny",` + want
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing %s", want)
		}
	}
}
