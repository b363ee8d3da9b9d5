//go:build integration

package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// ownPolicies limits alice and bob to their own containers.
const ownPolicies = `{"name":"own","users":["alice","bob"],"actions":[""],"own":true}
{"name":"ops","users":["ops"],"actions":[""]}`

// ownHost is an engine behind a front with ownPolicies.
type ownHost struct {
	*testing.T
	*front
	client []string
	// isPodman reports that the client is Podman's.
	isPodman bool
}

// as runs the client as a user, or without the front as "".
func (h *ownHost) as(user string, args ...string) ran {
	h.Helper()
	socket := h.upstream
	if user != "" {
		socket = h.socketOf(user)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.client[0], append(slices.Clone(h.client[1:]), args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket, "CONTAINER_HOST=unix://"+socket,
		"HOME="+h.dir, "DOCKER_BUILDKIT=0")
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		h.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// may runs a command that succeeds, and returns the words in its output.
func (h *ownHost) may(user string, args ...string) []string {
	h.Helper()
	r := h.as(user, args...)
	if r.code != 0 {
		h.Fatalf("%s: %q: %+v", user, args, r)
	}
	return strings.Fields(r.stdout)
}

// mayNot runs a command that the front denies.
func (h *ownHost) mayNot(user string, args ...string) {
	h.Helper()
	if r := h.as(user, args...); r.code == 0 || !strings.Contains(r.stderr, "own containers") {
		h.Errorf("%s: %q: %+v", user, args, r)
	}
}

// request sends a request of a user, and returns the status code and the body.
func (h *ownHost) request(user, method, path, body string) (int, string) {
	h.Helper()
	code, text, err := oneRequest("unix", h.socketOf(user), fmt.Sprintf("%s %s HTTP/1.1\r\n"+
		"Host: docker\r\nConnection: close\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n%s", method, path, len(body), body))
	if err != nil {
		h.Fatal(err)
	}
	return code, text
}

// sleep starts a container of a user, and returns its id.
func (h *ownHost) sleep(user, name string, args ...string) string {
	h.Helper()
	args = append([]string{"run", "--detach", "--name", name, "--network", "none"}, args...)
	return h.may(user, append(args, "box", "sleep", "1000000")...)[0]
}

func (h *ownHost) owner(ref string) string {
	h.Helper()
	return strings.Join(h.may("", "inspect", "--format", `{{index .Config.Labels "palisade.owner"}}`, ref), " ")
}

// importBox makes the image box, and removes all containers after the test.
func (h *ownHost) importBox() {
	h.Helper()
	image, err := exec.Command("tar", "-C", shared.rootfs, "-c", ".").Output()
	if err != nil {
		h.Fatal(err)
	}
	file := filepath.Join(h.dir, "box.tar")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		h.Fatal(err)
	}
	h.may("", "import", file, "box")
	h.Cleanup(func() {
		for _, id := range h.may("", "ps", "--all", "--quiet") {
			h.may("", "rm", "--force", id)
		}
	})
}

// check has alice, bob, and an operator, with a client of the engine.
func (h *ownHost) check() {
	h.importBox()
	a, b := h.sleep("alice", "aweb"), h.sleep("bob", "bweb")
	for ref, want := range map[string]string{a: "user:alice", b: "user:bob"} {
		if got := h.owner(ref); got != want {
			h.Errorf("the owner is %q, want %q", got, want)
		}
	}
	h.sleep("ops", "oweb")
	if got := h.owner("oweb"); got != "user:ops" {
		h.Errorf("the owner is %q, want user:ops", got)
	}
	h.lists(a, b)
	for _, ref := range []string{"bweb", b, b[:12], "oweb"} {
		h.denied(ref)
	}
	if got := h.may("", "inspect", "--format", "{{.State.Running}} {{.State.Paused}}", "bweb"); got[0] != "true" ||
		got[1] != "false" {
		h.Errorf("bob's container is running, paused: %q", got)
	}
	h.allowed()
	h.names()
	h.references()
	h.execs(a, b)
	h.race(a, b)
	h.images()
	h.prunes()
}

func (h *ownHost) lists(a, b string) {
	for user, want := range map[string][]string{"alice": {a}, "bob": {b}} {
		for _, args := range [][]string{
			{"ps", "--no-trunc", "--quiet"},
			{"ps", "--no-trunc", "--quiet", "--all", "--filter", "status=running"},
		} {
			if got := h.may(user, args...); !slices.Equal(got, want) {
				h.Errorf("%s: %q lists %q, want %q", user, args, got, want)
			}
		}
	}
	if got := h.may("alice", "ps", "--quiet", "--filter", "label=palisade.owner=user:bob"); len(got) > 0 {
		h.Errorf("alice lists %q", got)
	}
	if got := h.may("ops", "ps", "--quiet"); len(got) != 3 {
		h.Errorf("the operator lists %q", got)
	}
	// Podman shows nothing until a time that is over.
	until := fmt.Sprint(time.Now().Add(3 * time.Second).Unix())
	text := strings.Join(h.may("alice", "events", "--since", "10m", "--until", until,
		"--format", "{{json .}}"), " ")
	if !strings.Contains(text, a) || strings.Contains(text, b) {
		h.Errorf("alice sees the events %s", text)
	}
	got := h.may("alice", "stats", "--no-stream", "--format", "{{.Name}}")
	if len(got) != 1 || !strings.HasSuffix("aweb", got[0]) { // docker cuts the first byte of Podman's names
		h.Errorf("alice sees the statistics of %q", got)
	}
	if code, text := h.request("alice", "GET", "/system/df", ""); code != 403 {
		h.Errorf("/system/df: %d, %s", code, text)
	}
}

// denied checks that alice can do nothing with a container, and learns nothing from the denial.
func (h *ownHost) denied(ref string) {
	for _, args := range [][]string{
		{"stop", "--time", "0", ref}, {"kill", ref}, {"rm", "--force", ref}, {"restart", ref},
		{"pause", ref}, {"rename", ref, "x"}, {"exec", ref, "true"}, {"logs", ref}, {"top", ref},
		{"wait", ref}, {"attach", ref}, {"cp", ref + ":/etc", h.dir}, {"export", ref}, {"diff", ref},
		{"commit", ref, "stolen"}, {"stats", "--no-stream", ref}, {"port", ref}, {"start", ref},
	} {
		// rm --force ignores missing containers.
		if r := h.as("alice", args...); r.code == 0 && args[0] != "rm" {
			h.Errorf("alice: %q: %+v", args, r)
		}
	}
	missing := strings.Repeat("z", len(ref))
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/containers/%s/json", ""}, {"POST", "/containers/%s/stop", ""},
		{"DELETE", "/containers/%s?force=1", ""}, {"POST", "/containers/%s/exec", `{"Cmd":["id"]}`},
		{"GET", "/containers/%s/archive?path=/etc", ""}, {"POST", "/commit?container=%s", "{}"},
		{"POST", "/containers/create", `{"Image":"box","HostConfig":{"NetworkMode":"container:%s"}}`},
		{"POST", "/containers/create", `{"Image":"box","HostConfig":{"VolumesFrom":["%s"]}}`},
	} {
		fill := func(name string) (int, string) {
			code, text := h.request("alice", c.method, strings.Replace(c.path, "%s", name, 1),
				strings.Replace(c.body, "%s", name, 1))
			return code, strings.ReplaceAll(text, name, "REF")
		}
		code, text := fill(ref)
		want := map[bool]int{true: 403, false: 404}[c.path == "/containers/create"]
		if missingCode, missingText := fill(missing); code != want || code != missingCode || text != missingText {
			h.Errorf("%s %s: %d, %s; a missing one: %d, %s", c.method, c.path, code, text, missingCode, missingText)
		}
	}
}

// allowed checks that alice can do everything with her container.
func (h *ownHost) allowed() {
	if got := h.may("alice", "exec", "aweb", "echo", "hello"); !slices.Equal(got, []string{"hello"}) {
		h.Errorf("exec prints %q", got)
	}
	for _, args := range [][]string{
		{"inspect", "aweb"}, {"inspect", "box"}, {"top", "aweb"}, {"cp", "aweb:/etc", h.dir},
		{"logs", "aweb"}, {"diff", "aweb"}, {"restart", "--time", "0", "aweb"},
		{"run", "--rm", "--network", "none", "box", "true"},
	} {
		h.may("alice", args...)
	}
}

// names checks names that change their container.
func (h *ownHost) names() {
	h.may("alice", "rename", "aweb", "afterwards")
	h.may("alice", "exec", "afterwards", "true")
	h.sleep("bob", "aweb")
	if r := h.as("alice", "exec", "aweb", "true"); r.code == 0 {
		h.Errorf("alice: %+v", r)
	}
	h.may("bob", "exec", "aweb", "true")
	if r := h.as("bob", "exec", "afterwards", "true"); r.code == 0 {
		h.Errorf("bob: %+v", r)
	}
	h.may("bob", "rm", "--force", "aweb")
	h.may("alice", "rename", "afterwards", "aweb")
}

// references checks containers that share something with others.
func (h *ownHost) references() {
	for _, c := range [][]string{
		{"--network", "container:"}, {"--pid", "container:"}, {"--ipc", "container:"}, {"--volumes-from", ""},
	} {
		if c[0] == "--ipc" { // only shareable ones can be shared
			h.mayNot("alice", "run", "--rm", c[0], c[1]+"bweb", "box", "true")
			continue
		}
		h.mayNot("alice", "run", "--rm", c[0], c[1]+"bweb", "box", "true")
		h.may("alice", "run", "--rm", c[0], c[1]+"aweb", "box", "true")
	}
	h.mayNot("alice", "run", "--rm", "--label", "palisade.owner=user:bob", "box", "true")
	h.may("alice", "run", "--rm", "--label", "palisade.owner=user:alice", "--network", "none", "box", "true")
	code, text := h.request("alice", "POST", "/networks/none/connect", `{"Container":"bweb"}`)
	if code != 404 {
		h.Errorf("connect: %d, %s", code, text)
	}
}

// execs checks the ids of execs.
func (h *ownHost) execs(a, b string) {
	for user, id := range map[string]string{"alice": a, "bob": b} {
		code, text := h.request(user, "POST", "/containers/"+id+"/exec", `{"Cmd":["true"]}`)
		var exec struct{ ID string }
		if err := json.Unmarshal([]byte(text), &exec); code != 201 || err != nil {
			h.Fatalf("exec: %d, %s", code, text)
		}
		for _, path := range []string{"/json", "/start", "/resize?h=1&w=1"} {
			method := map[bool]string{true: "GET", false: "POST"}[path == "/json"]
			code, text := h.request("alice", method, "/exec/"+exec.ID+path, `{"Detach":true}`)
			if isDenied := strings.Contains(text, "own containers"); isDenied != (user == "bob") {
				h.Errorf("alice: exec %s of %s: %d, %s", path, user, code, text)
			}
		}
	}
}

// race checks that alice cannot reach bob's container by a name that goes from hers to his.
func (h *ownHost) race(a, b string) {
	stop, ended := make(chan struct{}), make(chan struct{})
	var hits int
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			code, _, err := oneRequest("unix", h.socketOf("alice"), "POST /containers/swap/pause HTTP/1.1\r\n"+
				"Host: docker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			if err == nil && code < 300 {
				hits++
			}
		}
	}()
	for range ctr.Repeat(30, 500) {
		h.request("bob", "POST", "/containers/"+b+"/rename?name=bweb", "")
		h.request("alice", "POST", "/containers/"+a+"/rename?name=swap", "")
		h.request("alice", "POST", "/containers/"+a+"/unpause", "")
		h.request("alice", "POST", "/containers/"+a+"/rename?name=aweb", "")
		h.request("bob", "POST", "/containers/"+b+"/rename?name=swap", "")
	}
	h.request("bob", "POST", "/containers/"+b+"/rename?name=bweb", "")
	close(stop)
	<-ended
	h.request("alice", "POST", "/containers/"+a+"/unpause", "")
	if got := h.may("", "inspect", "--format", "{{.State.Paused}}", b); got[0] != "false" || hits == 0 {
		h.Errorf("alice paused bob's container: %q; hers: %d times", got, hits)
	}
}

// images checks labels in images.
func (h *ownHost) images() {
	h.may("alice", "commit", "aweb", "committed")
	h.may("alice", "run", "--rm", "--network", "none", "committed", "true")
	h.may("", "run", "--detach", "--name", "plain", "--network", "none", "committed", "sleep", "1000000")
	if r := h.as("alice", "exec", "plain", "true"); r.code == 0 {
		h.Errorf("a container of alice's image: %+v", r)
	}
	if got := h.owner("plain"); got != "" {
		h.Errorf("the owner of a container of alice's image is %q", got)
	}
	h.may("alice", "import", "--change", "LABEL palisade.owner=user:alice", filepath.Join(h.dir, "box.tar"), "forged")
	h.mayNot("alice", "run", "--rm", "--network", "none", "forged", "true")
	h.may("", "run", "--detach", "--name", "victim", "--network", "none", "forged", "sleep", "1000000")
	if got := h.owner("victim"); got != "user:alice" {
		h.Errorf("the image gives the owner %q", got)
	}
	for _, args := range [][]string{{"exec", "victim", "true"}, {"kill", "victim"}, {"logs", "victim"}} {
		if r := h.as("alice", args...); r.code == 0 {
			h.Errorf("alice: %q: %+v", args, r)
		}
	}
	code, text := h.request("alice", "POST", "/containers/prune", "")
	if code != 403 || !strings.Contains(text, "from its image") {
		h.Errorf("prune: %d, %s", code, text)
	}
	h.may("", "rm", "--force", "victim", "plain")
}

func (h *ownHost) prunes() {
	h.may("", "stop", "--time", "0", "aweb", "bweb", "oweb")
	h.may("alice", "container", "prune", "--force")
	got := h.may("", "ps", "--all", "--format", "{{.Names}}")
	slices.Sort(got)
	if !slices.Equal(got, []string{"bweb", "oweb"}) {
		h.Errorf("after alice's prune: %q", got)
	}
}

// compose checks two users with the same project.
func (h *ownHost) compose() {
	file := filepath.Join(h.dir, "compose.yaml")
	if err := os.WriteFile(file, []byte("version: '2.4'\nservices:\n  app:\n    image: box\n"+
		"    command: sleep 1000000\n    network_mode: none\n"), 0o600); err != nil {
		h.Fatal(err)
	}
	c := *h
	c.client = []string{"docker-compose", "--project-name", "p", "--file", file}
	c.may("alice", "up", "--detach")
	if got := c.may("bob", "ps", "--quiet"); len(got) > 0 {
		h.Errorf("bob sees %q of alice's project", got)
	}
	c.may("bob", "down", "--timeout", "0")
	mine := c.may("alice", "ps", "--quiet")
	if len(mine) != 1 {
		h.Errorf("alice sees %q of her project", mine)
	}
	c.may("alice", "up", "--detach", "--force-recreate", "--timeout", "0")
	if got := c.may("alice", "ps", "--quiet"); len(got) != 1 || slices.Equal(got, mine) {
		h.Errorf("alice recreated %q as %q", mine, got)
	}
	c.may("alice", "down", "--timeout", "0")
}

// TestFrontOwn checks policies with "own" at Debian's dockerd.
func TestFrontOwn(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "docker-compose")
	startDockerd(t, "dockerd")
	h := &ownHost{
		T: t, client: []string{shared.docker},
		front: startFront(t, "docker", "/run/docker.sock", ownPolicies, "alice", "bob", "ops"),
	}
	h.check()
	h.compose()
}

// TestFrontOwn29 checks them at an engine of the series 29.
func TestFrontOwn29(t *testing.T) {
	dockerd := recent(t, "dockerd")
	engine.Need(t, "containerd", "runc")
	for name, store := range map[string][]string{
		"graphdriver": {"--feature", "containerd-snapshotter=false"},
		"containerd":  {"--feature", "containerd-snapshotter=true", "--storage-driver", "native"},
	} {
		t.Run(name, func(t *testing.T) {
			// Debian's runc has no time namespaces.
			startDockerd(t, dockerd, append(store, "--feature", "time-namespaces=false")...)
			f := startFront(t, "docker", "/run/docker.sock", ownPolicies, "alice", "bob", "ops")
			(&ownHost{T: t, front: f, client: []string{recent(t, "docker")}}).check()
		})
	}
}

// TestFrontOwnPodman checks policies with "own" at Podman, with its own client and Docker's.
func TestFrontOwnPodman(t *testing.T) {
	for name, client := range map[string][]string{
		"podman": {"podman", "--remote"}, "docker": {shared.docker},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "podman", startPodman(t), ownPolicies, "alice", "bob", "ops")
			(&ownHost{T: t, front: f, client: client, isPodman: name == "podman"}).check()
		})
	}
}
