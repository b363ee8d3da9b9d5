//go:build integration

package authz

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

// TestFrontLearn records what docker's client wants, makes policies of it, and checks that they
// allow that, and nothing else.
func TestFrontLearn(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc")
	startDockerd(t, "dockerd")
	f := newFront(t, "docker", "/run/docker.sock", `{"name":"none","users":["x"],"actions":[]}`,
		"alice", "bob")
	learned := filepath.Join(f.dir, "learned")
	f.begin(t, exec.Command(shared.broker, f.options("--learn", learned)...))
	h := &ownHost{T: t, front: f, client: []string{shared.docker}}
	h.importBox()
	do := func() {
		t.Helper()
		h.may("alice", "run", "--detach", "--name", "aweb", "--network", "none", "--tmpfs", "/x", "box", "sleep", "1000000")
		h.may("alice", "exec", "aweb", "true")
		h.may("alice", "rm", "--force", "aweb")
		h.may("bob", "run", "--rm", "--network", "none", "--volume", "/etc:/mnt:ro", "box", "true")
		h.may("bob", "images")
	}
	do()
	f.signal(t, syscall.SIGTERM)
	f.wait(t)
	var policies, warnings bytes.Buffer
	cmd := exec.Command(shared.broker, "learn", learned)
	cmd.Stdout, cmd.Stderr = &policies, &warnings
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &warnings)
	}
	for _, want := range []string{
		`"users":["alice"],"actions":["container_create","container_delete","container_exec_create",`,
		`"own":true,"deny":["privileged",`, `"users":["bob"]`,
	} {
		if !strings.Contains(policies.String(), want) {
			t.Errorf("no %s in %s", want, &policies)
		}
	}
	if want := `the policy of the user "bob" does not deny "binds": Binds has "/etc:/mnt:ro"`; !strings.Contains(warnings.String(), want) {
		t.Errorf("no %q in %s", want, &warnings)
	}
	f.write(t, policies.String())
	f.begin(t, nil)
	do()
	for user, all := range map[string][][]string{
		"alice": {
			{"run", "--rm", "--network", "none", "--volume", "/etc:/mnt", "box", "true"},
			{"run", "--rm", "--network", "none", "--privileged", "box", "true"}, {"images"}, {"ps"},
		},
		"bob": {{"run", "--rm", "--network", "none", "--privileged", "box", "true"}, {"ps"}, {"info"}},
	} {
		for _, args := range all {
			if r := h.as(user, args...); !strings.Contains(r.stderr, "authorization denied") &&
				!strings.Contains(r.stdout+r.stderr, "authz-broker") {
				t.Errorf("%s: %q: %+v", user, args, r)
			}
		}
	}
}

// TestFrontImport replaces a socket proxy for a reader of the engine.
func TestFrontImport(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc")
	startDockerd(t, "dockerd")
	cmd := exec.Command(shared.broker, "import", "socket-proxy", "--user", "bob")
	cmd.Stdin = strings.NewReader("CONTAINERS=1\nALLOW_LOGS=1\nPOST=0\n")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	f := startFront(t, "docker", "/run/docker.sock", string(text), "bob")
	h := &ownHost{T: t, front: f, client: []string{shared.docker}}
	h.importBox()
	h.may("", "run", "--detach", "--name", "web", "--network", "none", "box", "sleep", "1000000")
	for _, args := range [][]string{{"ps"}, {"logs", "web"}, {"inspect", "web"}, {"version"}} {
		h.may("bob", args...)
	}
	for _, args := range [][]string{{"stop", "web"}, {"images"}, {"exec", "web", "true"}, {"cp", "web:/etc", h.dir}} {
		if r := h.as("bob", args...); r.code == 0 || !strings.Contains(r.stderr, `policy "socket-proxy"`) {
			t.Errorf("%q: %+v", args, r)
		}
	}
}
