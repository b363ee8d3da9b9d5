//go:build integration

package authz

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// scrape waits for metrics at a TCP address or the path of a socket.
func scrape(t *testing.T, at string) (m ctr.Metrics) {
	t.Helper()
	engine.WaitFor(t, "metrics at "+at, func() bool {
		var err error
		m, err = ctr.Scrape(t.Context(), at)
		return err == nil
	})
	return m
}

const decisions, loads = "palisade_authz_decisions_total", "palisade_authz_policy_loads_total"

// TestMetrics compares the counters with the audit log after requests of a dockerd and of iSulad.
func TestMetrics(t *testing.T) {
	const socket = "/run/authz-metrics.sock"
	e := startEngine(t, "--metrics-socket", socket)
	e.replace(t, `{"name":"operators","users":["alice"],"actions":[""]}
{"name":"watchers","users":["bob"],"actions":["container","docker_"],"readonly":true}
{"users":["carol"],"actions":["docker_"]}
{"name":"local","local":true,"actions":[""]}`)
	e.must(t, "alice", nil, "ps")
	e.must(t, "bob", nil, "ps")
	e.refused(t, "bob", "is read-only", "stop", "web")
	e.refused(t, "carol", "does not grant", "ps")
	e.refused(t, "service_account", "listed in no policy", "ps")
	if code, _ := isuladCode(t, e.isulad, "bob:container_stop"); code != 403 {
		t.Error(code)
	}
	if code, _ := isuladCode(t, e.isulad, "no question"); code != 403 {
		t.Error(code)
	}
	var counted ctr.Metrics
	var differences []string
	// A decision is counted before it is in the audit.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		counted = scrape(t, socket)
		if differences = compare(counted, records(t, e.auditText.String())); len(differences) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(differences) > 0 {
		t.Errorf("counters differ from the audit log: %q", differences)
	}
	for _, labels := range []string{
		`engine="docker",outcome="allow",policy="operators"`, `engine="docker",outcome="allow",policy="watchers"`,
		`engine="docker",outcome="deny",policy="watchers"`, `engine="docker",outcome="deny",policy="unnamed"`,
		`engine="docker",outcome="deny",policy="none"`, `engine="isulad",outcome="deny",policy="watchers"`,
		`engine="isulad",outcome="error",policy="none"`,
	} {
		if counted.Value(decisions, labels) < 1 {
			t.Errorf("got %s{%s} %v, want at least 1", decisions, labels, counted.Value(decisions, labels))
		}
	}
	if n := counted.Value("palisade_authz_errors_total", `kind="request"`); n != 1 {
		t.Errorf("got %v request errors, want 1", n)
	}
	success := counted.Value(loads, `result="success"`)
	e.write(t, "}")
	engine.WaitFor(t, "a counted failure", func() bool { return scrape(t, socket).Value(loads, `result="failure"`) == 1 })
	if n := scrape(t, socket).Value(loads, `result="success"`); n != success || n < 2 {
		t.Errorf("got %v policy loads, want %v and at least 2", n, success)
	}
}

// compare returns the differences between counters and audit log.
func compare(m ctr.Metrics, audited []record) (differences []string) {
	want := make(map[string]float64)
	for _, r := range audited {
		policy, outcome := r.Policy, "deny"
		switch {
		case r.Allow:
			outcome = "allow"
		case strings.HasPrefix(r.Reason, "the request is not"):
			outcome = "error"
		}
		switch {
		case policy == "" && r.Line > 0:
			policy = "unnamed"
		case policy == "":
			policy = "none"
		}
		want[fmt.Sprintf("engine=%q,outcome=%q,policy=%q", r.Engine, outcome, policy)]++
	}
	for labels, n := range want {
		if got := m.Value(decisions, labels); got != n {
			differences = append(differences, fmt.Sprintf("%s: %v, want %v", labels, got, n))
		}
	}
	if got := m.Value("palisade_authz_decision_duration_seconds", ""); got != float64(len(audited)) {
		differences = append(differences, fmt.Sprintf("%v decisions, want %d", got, len(audited)))
	}
	if got := len(m[decisions].GetMetric()); got != len(want) {
		differences = append(differences, fmt.Sprintf("%d series, want %d", got, len(want)))
	}
	return differences
}

// TestMetricsListeners checks the metrics' listeners, and that a broker works without them if it
// cannot listen.
func TestMetricsListeners(t *testing.T) {
	b, other := prepare(t, everything), prepare(t, everything)
	address, socket := engine.FreePort(t), filepath.Join(b.dir, "made/metrics.sock")
	start := func(b *broker, flags ...string) { b.start(t, exec.Command(shared.broker, b.args(flags...)...)) }
	start(b, "--metrics", address, "--metrics-socket", socket)
	scrape(t, address)
	if m := scrape(t, socket); m.Value("palisade_build_info", `program="authz-broker",version="unknown"`) != 1 || m.Value(loads, `result="success"`) != 1 {
		t.Errorf("%v", m)
	}
	if stat, err := os.Stat(socket); err != nil || stat.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", stat, err)
	}
	// A broker whose listener is in use still decides.
	for _, c := range []struct{ option, value, want string }{
		{"--metrics", address, "address already in use"}, {"--metrics-socket", socket, "another process listens to " + socket},
	} {
		start(other, c.option, c.value)
		engine.WaitFor(t, "a log line", func() bool { return strings.Contains(other.log.String(), "metrics are not served") })
		if text := ask(t, other.docker, info); text != `{"Allow":true}` || !strings.Contains(other.log.String(), c.want) {
			t.Errorf("%s, %s", text, other.log)
		}
		other.signal(t, syscall.SIGTERM)
		if code := other.wait(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	scrape(t, socket)
	// The socket of a broker that was killed is replaced, and removed at the end.
	b.signal(t, syscall.SIGKILL)
	b.wait(t)
	start(b, "--metrics", "0.0.0.0:"+address[strings.LastIndex(address, ":")+1:], "--metrics-socket", socket)
	scrape(t, address)
	scrape(t, socket)
	if !strings.Contains(b.log.String(), "metrics are served to any host that can reach the address") {
		t.Errorf("no warning: %s", b.log)
	}
	b.signal(t, syscall.SIGTERM)
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Errorf("%s still exists", socket)
	}
}

// TestMetricsUnderLoad checks that clients that hold all connections for metrics do not slow down
// decisions.
func TestMetricsUnderLoad(t *testing.T) {
	b := prepare(t, everything)
	address := engine.FreePort(t)
	b.start(t, exec.Command(shared.broker, b.args("--metrics", address)...))
	scrape(t, address)
	for i := range 200 {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, []string{"", "GET /metrics HTTP/1.1\r\nX", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"}[i%3]) // it may be closed already
	}
	took := make([]time.Duration, 50)
	for i := range took {
		began := time.Now()
		if text := ask(t, b.docker, info); text != `{"Allow":true}` {
			t.Error(text)
		}
		took[i] = time.Since(began)
	}
	if slices.Sort(took); took[25] > time.Second {
		t.Errorf("median decision took %v, want at most 1s", took[25])
	}
	if n := scrape(t, address).Value("palisade_authz_decision_duration_seconds", ""); n != 50 {
		t.Errorf("got %v decisions, want 50", n)
	}
}
