//go:build integration

package authz

import (
	"fmt"
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
	for _, name := range []string{"authz-broker.service", "authz-broker.socket"} {
		text, err := os.ReadFile(units + name)
		if err != nil {
			t.Fatal(err)
		}
		// The program may not be installed.
		text = []byte(strings.ReplaceAll(string(text), "/usr/bin/authz-broker", shared.broker))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "authz-broker.service" && !strings.Contains(string(text), "\nBefore=docker.service isulad.service\n") {
			t.Error("engines may start before the broker")
		}
	}
	service := filepath.Join(dir, "authz-broker.service")
	if out, err := exec.Command("systemd-analyze", "verify", service, filepath.Join(dir, "authz-broker.socket")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	// 10 is the most exposed.
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=10", service).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUnitsFilter checks that the unit's filter allows the system calls that the service makes.
func TestUnitsFilter(t *testing.T) {
	text, err := os.ReadFile(units + "authz-broker.service")
	if err != nil {
		t.Fatal(err)
	}
	allowed := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^SystemCallFilter=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		groups, denies := strings.CutPrefix(line[1], "~")
		for group := range strings.FieldsSeq(groups) {
			for _, name := range engine.SystemCalls(t, group) {
				allowed[name] = !denies
			}
		}
	}
	b := prepare(t, everything)
	trace, address, socket := filepath.Join(b.dir, "trace"), freePort(t), filepath.Join(b.dir, "metrics.sock")
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
