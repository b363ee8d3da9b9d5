//go:build integration

package authz

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

const units = "../../rpm/"

// TestUnits checks the units with systemd-analyze, for mistakes and for exposure.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"authz-broker.service", "authz-broker.socket", "authz-front@.service", "authz-front@.socket"} {
		// The program may not be installed.
		text := strings.ReplaceAll(readUnit(t, name), "/usr/bin/authz-broker", shared.broker)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "authz-broker.service" && !strings.Contains(text, "\nBefore=docker.service isulad.service\n") {
			t.Error("engines may start before the broker")
		}
	}
	verify := []string{"verify"}
	for _, name := range []string{"authz-broker.service", "authz-broker.socket", "authz-front@docker.service", "authz-front@docker.socket"} {
		verify = append(verify, filepath.Join(dir, name))
	}
	if out, err := exec.Command("systemd-analyze", verify...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	// 100 is the most exposed.
	for name, most := range map[string]string{"authz-broker.service": "10", "authz-front@.service": "15"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+most, filepath.Join(dir, name)).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func readUnit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(units + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnitsFilter checks that the units' filters allow the system calls that the services make.
func TestUnitsFilter(t *testing.T) {
	b := prepare(t, everything)
	trace, address, socket := filepath.Join(b.dir, "trace"), engine.FreePort(t), filepath.Join(b.dir, "metrics.sock")
	b.start(t, exec.Command("strace", append([]string{"-f", "-o", trace, shared.broker}, b.args("--metrics", address, "--metrics-socket", socket)...)...))
	for _, at := range []string{address, socket} {
		scrape(t, at)
	}
	if text := ask(t, b.docker, info); text != `{"Allow":true}` {
		t.Error(text)
	}
	if code, _ := isuladCode(t, b.isulad, "alice:pull"); code != 200 {
		t.Error(code)
	}
	checkCalls(t, b, trace, "authz-broker.service")
}

// TestFrontFilter does the same for the unit of the front.
func TestFrontFilter(t *testing.T) {
	upstream := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", upstream)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "OK") })}
	go s.Serve(l)
	defer s.Close()
	b := prepare(t, everything)
	trace := filepath.Join(b.dir, "trace")
	b.start(t, exec.Command("strace", "-f", "-o", trace, shared.broker, "front", "--engine", "docker", "--upstream", "unix://"+upstream,
		"--listen", "unix://"+b.docker+",user=alice", "--listen", "unix://"+b.isulad,
		"--policy-file", b.policy, "--audit", b.audit, "--pid-file", filepath.Join(b.dir, "pid")))
	for _, socket := range []string{b.docker, b.isulad} {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
		answer, err := client.Get("http://front/_ping")
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(answer, err)
		}
		answer.Body.Close()
		client.CloseIdleConnections()
	}
	checkCalls(t, b, trace, "authz-front@.service")
}

// checkCalls reloads the policies, stops the traced program, and checks that the unit's filter allows
// all its system calls.
func checkCalls(t *testing.T, b *broker, trace, unit string) {
	t.Helper()
	allowed := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^SystemCallFilter=(.*)$`).FindAllStringSubmatch(readUnit(t, unit), -1) {
		groups, denies := strings.CutPrefix(line[1], "~")
		for group := range strings.FieldsSeq(groups) {
			for _, name := range engine.SystemCalls(t, group) {
				allowed[name] = !denies
			}
		}
	}
	b.replace(t, `{"name":"new","users":[""],"actions":[""]}`)
	var pid int
	number, err := os.ReadFile(filepath.Join(b.dir, "pid"))
	if _, scanErr := fmt.Sscan(string(number), &pid); err != nil || scanErr != nil {
		t.Fatal(err, scanErr)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := b.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, found := range regexp.MustCompile(`(?m)^\d+ +([a-z][a-z0-9_]*)\(`).FindAllStringSubmatch(string(calls), -1) {
		if !slices.Contains(made, found[1]) {
			made = append(made, found[1])
		}
	}
	if len(made) < 20 {
		t.Errorf("traced only %q", made)
	}
	for _, name := range made {
		if !allowed[name] {
			t.Errorf("the service calls %s, which its filter does not allow", name)
		}
	}
}
