//go:build integration

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// shared has the paths of the programs.
var shared struct{ lxcfs, agent, broker string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "monitoring", Setup: setUp, Programs: []string{"prometheus"}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	for name, program := range map[string]*string{
		"lxcfs": &shared.lxcfs, "palisade-nri": &shared.agent, "authz-broker": &shared.broker,
	} {
		if *program, err = ctr.Program(ctx, dir, name, "palisade/cmd/"+name); err != nil {
			return nil, err
		}
	}
	// lxcfs finds it beside itself.
	_, err = ctr.Program(ctx, dir, "lxcfs-metrics", "palisade/cmd/lxcfs/lxcfs-metrics")
	if err != nil {
		return nil, err
	}
	return nil, os.Rename(filepath.Join(dir, "lxcfs-metrics.built"),
		filepath.Join(dir, "lxcfs-metrics"))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// site is a host with all programs, and a Prometheus that scrapes them.
type site struct {
	dir   string
	lxcfs *ctr.Daemon
	// policy is the policy file of the front, upstream the engine behind it.
	policy   string
	upstream *http.Server
	api      string
}

const policies = `{"name":"all","users":["alice"],"actions":[""]}
`

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	path := func(name string) string { return filepath.Join(s.dir, name) }
	var targets []string
	address := func() string {
		targets = append(targets, freeAddress(t))
		return targets[len(targets)-1]
	}
	s.lxcfs = ctr.NewDaemon(t, shared.lxcfs, s.dir, "--metrics", address())
	s.policy = path("policy.json")
	if err := os.WriteFile(s.policy, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serveUpstream(t, path("engine.sock"))
	s.start(t, shared.agent, "--socket", path("nri.sock"), "--mountpoint", path("lxcfs"),
		"--runtime-dir", path("toolkit"), "--metrics", address())
	s.start(t, shared.broker, "--policy-file", s.policy, "--docker-socket", path("broker.sock"),
		"--isulad-socket", path("isulad.sock"), "--pid-file", path("broker.pid"),
		"--metrics", address())
	s.start(t, shared.broker, "--policy-file", s.policy, "front", "--engine", "docker",
		"--upstream", "unix://"+path("engine.sock"), "--metrics", address(),
		"--listen", "unix://"+path("alice.sock")+",mode=0600,user=alice",
		"--listen", "unix://"+path("bob.sock")+",mode=0600,user=bob")

	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	configuration := fmt.Sprintf(`global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - job_name: palisade
    static_configs:
      - targets: ["%s"]
`, rules, strings.Join(targets, `", "`))
	if err := os.WriteFile(path("prometheus.yml"), []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	s.api = "http://" + listen + "/api/v1/"
	s.start(t, "prometheus", "--config.file", path("prometheus.yml"),
		"--storage.tsdb.path", path("data"), "--web.listen-address", listen, "--log.level", "warn")
	engine.WaitFor(t, "Prometheus to scrape all programs", func() bool {
		return len(s.query(t, `up{job="palisade"} == 1`)) == len(targets)
	})
	return s
}

// start starts a program, whose log has a directory of its own.
func (s *site) start(t *testing.T, program string, args ...string) {
	t.Helper()
	dir, err := os.MkdirTemp(s.dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	engine.Start(t, dir, program, args...)
}

// serveUpstream answers as an engine does, as far as the front asks it.
func (s *site) serveUpstream(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.upstream = &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "OK") })}
	done := make(chan error, 1)
	go func() { done <- s.upstream.Serve(l) }()
	t.Cleanup(func() {
		s.upstream.Close()
		<-done
	})
}

// request sends a request to the front, and returns the status.
func (s *site) request(t *testing.T, user string) int {
	t.Helper()
	var d net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", filepath.Join(s.dir, user+".sock"))
		},
	}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	response, err := client.Get("http://localhost/v1.43/containers/json")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// get decodes the data of an answer of Prometheus. It returns false while that does not answer.
func (s *site) get(t *testing.T, path string, data any) bool {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(s.api + path)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return false // it is starting
	}
	if answer.Status != "success" {
		t.Fatalf("%s: %s", path, answer.Error)
	}
	return true
}

// query returns the series of an expression.
func (s *site) query(t *testing.T, expression string) []any {
	t.Helper()
	var data struct{ Result []any }
	s.get(t, "query?query="+url.QueryEscape(expression), &data)
	return data.Result
}

type rule struct{ Name, Query, State, Health, LastError string }

// rules returns the rules that Prometheus has evaluated.
func (s *site) rules(t *testing.T) (all []rule) {
	t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	s.get(t, "rules", &data)
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// active returns the alerts that fire, or will if their condition lasts.
func (s *site) active(t *testing.T) (names []string) {
	t.Helper()
	for _, r := range s.rules(t) {
		if r.State == "pending" || r.State == "firing" {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// dashboard returns the expressions of the dashboard with Grafana's variables replaced.
func dashboard(t *testing.T) (expressions []string) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions,
				strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*").Replace(target.Expr))
		}
	}
	return expressions
}

// selector matches the series that an expression selects.
var selector = regexp.MustCompile(`\b(palisade_\w+|up)\b(\{[^}]*\})?`)

// checkSelectors checks that each selector of an expression selects a series.
func (s *site) checkSelectors(t *testing.T, expression string) {
	t.Helper()
	all := selector.FindAllString(expression, -1)
	if len(all) == 0 {
		t.Errorf("%s selects nothing", expression)
	}
	for _, series := range all {
		if len(s.query(t, series)) == 0 {
			t.Errorf("%s: there is no %s", expression, series)
		}
	}
}

// TestPrometheus evaluates the rules and the dashboard, and makes alerts fire.
func TestPrometheus(t *testing.T) {
	s := newSite(t)
	if code := s.request(t, "alice"); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	if code := s.request(t, "bob"); code != http.StatusForbidden {
		t.Fatalf("status %d", code)
	}
	engine.WaitFor(t, "Prometheus to evaluate the rules", func() bool {
		all := s.rules(t)
		return len(all) > 0 && !slices.ContainsFunc(all, func(r rule) bool { return r.Health == "unknown" })
	})
	expressions := dashboard(t)
	if len(expressions) < 20 {
		t.Errorf("the dashboard has only %d expressions", len(expressions))
	}
	for _, expression := range expressions {
		engine.WaitFor(t, "values of "+expression, func() bool {
			return len(s.query(t, expression)) > 0
		})
		s.checkSelectors(t, expression)
	}
	all := s.rules(t)
	if want := len(alerts(t)); len(all) != want {
		t.Errorf("Prometheus has %d rules, want %d", len(all), want)
	}
	for _, r := range all {
		if r.Health != "ok" {
			t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
		}
		s.checkSelectors(t, alerts(t)[r.Name])
	}
	// No runtime is connected. Slow reads and decisions are those of this machine.
	isSlow := func(name string) bool { return strings.Contains(name, "Slow") }
	active := slices.DeleteFunc(s.active(t), isSlow)
	if want := []string{"PalisadeNRIDisconnected"}; !slices.Equal(active, want) {
		t.Errorf("alerts %q, want %q", active, want)
	}

	s.provoke(t)
	want := []string{
		"PalisadeDown", "PalisadeFrontEngineFails", "PalisadeNRIDisconnected",
		"PalisadeNRILxcfsUnhealthy", "PalisadePolicyInvalid",
	}
	engine.WaitFor(t, fmt.Sprintf("the alerts %q", want), func() bool {
		active = slices.DeleteFunc(s.active(t), isSlow)
		return slices.Equal(active, want)
	})
}

// provoke makes the policies invalid, and ends the engine and lxcfs.
func (s *site) provoke(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.policy, []byte("}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.upstream.Close()
	if code := s.request(t, "alice"); code != http.StatusBadGateway {
		t.Errorf("status %d without an engine", code)
	}
	if err := s.lxcfs.Stop(); err != nil {
		t.Error(err)
	}
}
