//go:build integration

package authz

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"palisade/internal/authz/action"
	listen "palisade/internal/authz/front"
	"palisade/test/engine"
)

// peerProgram connects to the socket in its argument and prints the answer to a request, and that
// to another one for each line of its standard input.
const peerProgram = `
import http.client, socket, sys
c = http.client.HTTPConnection("front")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(sys.argv[1])
while True:
    c.request("GET", "/")
    print(c.getresponse().read().decode(), flush=True)
    if not sys.stdin.readline():
        break
`

// identified is what a server of identities answers.
type identified struct {
	listen.Client
	Err string
}

// serveIdentities answers each request at a unix socket with who has sent it. It returns the path
// of the socket.
func serveIdentities(t *testing.T, engine action.Engine, upstream string) string {
	t.Helper()
	path := filepath.Join("/run", "identities-"+filepath.Base(t.TempDir())+".sock")
	listeners, err := listen.ListenAll([]string{"unix://" + path + ",mode=0666"}, listen.Env{
		Log: slog.New(slog.DiscardHandler), Engine: engine,
		Containers: listen.NewContainers(engine, upstream),
	})
	if err != nil {
		t.Fatal(err)
	}
	type connKey struct{}
	server := &http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, err := r.Context().Value(connKey{}).(*listen.Conn).Client(r.Context())
			answer := identified{Client: client}
			if err != nil {
				answer.Err = err.Error()
			}
			json.NewEncoder(w).Encode(answer)
		}),
	}
	go server.Serve(listeners[0])
	t.Cleanup(func() { server.Close() })
	return path
}

// check compares an answer in JSON with a name, or with an error if want begins with "error: ".
func (i identified) check(t *testing.T, what, text, want string) identified {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		t.Fatalf("%s: parse %q: %v", what, text, err)
	}
	problem, isError := strings.CutPrefix(want, "error: ")
	if isError && !strings.Contains(i.Err, problem) || !isError && (i.Err != "" || i.Name() != want) {
		t.Errorf("%s: got %s, want %s", what, text, want)
	}
	return i
}

// inHost are arguments of busybox's chroot, for a container with the host's files in /host.
func inHost(path string) []string {
	return []string{"/bin/chroot", "/host", "/usr/bin/python3", "-c", peerProgram, path}
}

// TestPeersOfDocker identifies clients in containers of a real dockerd.
func TestPeersOfDocker(t *testing.T) {
	engine.Need(t, "python3")
	e := startEngine(t)
	path := serveIdentities(t, action.Docker, "/run/docker.sock")
	run := func(args ...string) string {
		t.Helper()
		args = append([]string{"run", "--rm", "--network", "none", "--volume", "/:/host"}, args...)
		return e.must(t, anonymous, nil, append(append(args, "box"), inHost(path)...)...)
	}
	out, err := exec.Command("python3", "-c", peerProgram, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var i identified
	if got := i.check(t, "host", string(out), "unix:root"); got.Method != "unix" {
		t.Errorf("host: %+v", got)
	}
	got := i.check(t, "container", run("--name", "peer", "--label", "team=ci"), "container:peer")
	if got.Method != "container" || got.Container.Labels["team"] != "ci" || got.UnixUser != "" {
		t.Errorf("container: %+v", got)
	}
	i.check(t, "host's pids", run("--name", "pids", "--pid", "host"), "container:pids")
	i.check(t, "host's namespaces", run("--name", "strong", "--cap-add", "SYS_ADMIN", "--pid", "host",
		"--ipc", "host", "--uts", "host"), "container:strong")

	// The container of a user with the right to create containers poses as another one.
	web := strings.TrimSpace(e.must(t, anonymous, nil, "inspect", "--format", "{{.Id}}", "web"))
	cgroups, err := exec.Command("cat", "/proc/"+strings.TrimSpace(e.must(t, anonymous, nil,
		"inspect", "--format", "{{.State.Pid}}", "web"))+"/cgroup").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, parent, ok := strings.Cut(string(cgroups), "pids:")
	if parent, _, _ = strings.Cut(parent, "\n"); !ok || !strings.HasSuffix(parent, web) {
		t.Fatalf("web has the cgroups %s", cgroups)
	}
	i.check(t, "cgroup of another", run("--cgroup-parent", parent), "error: that of two containers")

	// A connection stays open while its container is renamed, and others get its name.
	args := append([]string{"run", "--rm", "--interactive", "--network", "none", "--volume", "/:/host",
		"--name", "first", "box"}, inHost(path)...)
	cmd := e.command(t.Context(), anonymous, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	decoder := json.NewDecoder(answers)
	if err := decoder.Decode(&i); err != nil || i.Name() != "container:first" {
		t.Errorf("before the rename: %+v, %v", i, err)
	}
	e.must(t, anonymous, nil, "rename", "first", "second")
	e.must(t, anonymous, nil, "rename", "web", "first")
	engine.WaitFor(t, "the new name", func() bool {
		var next identified
		in.Write([]byte("\n"))
		if err := decoder.Decode(&next); err != nil || next.Err != "" {
			t.Fatalf("after the rename: %+v, %v", next, err)
		}
		return next.Name() == "container:second"
	})
}

// TestPeersOfPodman identifies clients in containers of Podman.
func TestPeersOfPodman(t *testing.T) {
	engine.Need(t, "podman", "runc", "python3")
	engine.OwnLib(t)
	upstream := "/run/identities-podman.sock"
	global := []string{"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}
	service := exec.Command("podman", append(global, "system", "service", "--time", "0",
		"unix://"+upstream)...)
	log := new(output)
	service.Stdout, service.Stderr = log, log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		service.Process.Signal(syscall.SIGTERM)
		service.Wait()
		if t.Failed() {
			t.Logf("podman: %s", log)
		}
	})
	engine.WaitFor(t, "podman's service", func() bool { return canDial(upstream) })
	path := serveIdentities(t, "podman", upstream)
	run := func(args ...string) string {
		t.Helper()
		args = append(append(global, "run", "--rm", "--network", "none", "--volume", "/:/host"), args...)
		args = append(append(args, "--rootfs", shared.rootfs), inHost(path)...)
		r := engine.Run(t, "", "podman", args...)
		if r.Code != 0 {
			t.Fatalf("podman %q: %+v", args, r)
		}
		return r.Stdout
	}
	parent := engine.ParentCgroup(t)
	var i identified
	got := i.check(t, "container", run("--cgroup-parent", parent, "--name", "peer",
		"--label", "team=ci"), "container:peer")
	if got.Method != "container" || got.Container.Labels["team"] != "ci" {
		t.Errorf("container: %+v", got)
	}
	i.check(t, "host's namespaces", run("--cgroup-parent", parent, "--name", "pids", "--pid", "host",
		"--cgroupns", "host"), "container:pids")
}
