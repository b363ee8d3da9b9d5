//go:build integration

package authz

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// exerciseOthers runs clients other than docker's, and operations that need other programs.
func (h *dockerHost) exerciseOthers(t *testing.T) {
	t.Run("buildkit", h.buildkit)
	t.Run("compose", h.compose)
	t.Run("docker-py", h.dockerPy)
	t.Run("websocket", h.attachWebsocket)
	t.Run("registry", h.pushAndPull)
	t.Run("large image", h.largeImage)
}

// tool runs a program as a caller.
func (h *dockerHost) tool(t *testing.T, c caller, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"HOME=" + h.home(c), "PATH=" + os.Getenv("PATH")}
	cmd.Dir = h.work
	c.wrap(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %s %q: %v: %s", c.name, program, args, err, out)
	}
	return string(out)
}

// outside returns the callers that run on the host.
func (h *dockerHost) outside() []caller { return h.callers[:3] }

// buildkit builds by the client of 20.10, which has a session with BuildKit, and by buildx, which
// speaks with all of it and so needs a policy without "deny".
func (h *dockerHost) buildkit(t *testing.T) {
	for version, program := range h.clients {
		callers := h.callers[:ctr.Repeat(1, len(h.callers))]
		if version == latest {
			callers = []caller{{"admin", "admin", h.withCertificate("admin")}}
		}
		for _, c := range callers {
			s := &session{T: t, host: h, caller: c, program: program, name: "buildkit" + c.policy}
			s.build("DOCKER_BUILDKIT=1")
		}
	}
	if program := h.clients[latest]; program != "" {
		s := &session{T: t, host: h, caller: h.callers[0], program: program}
		r := s.runWith(nil, nil, "buildx", "build", "--builder", "default", h.work)
		if r.code == 0 {
			t.Errorf("buildx with rules: %+v", r)
		}
	}
}

const composeFile = `version: "2.4"
services:
  one:
    image: box
    network_mode: none
    command: sh -c "echo started; exec sleep 1000000"
`

func (h *dockerHost) compose(t *testing.T) {
	file := filepath.Join(h.work, "compose.yml")
	if err := os.WriteFile(file, []byte(composeFile), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, c := range h.outside()[:ctr.Repeat(1, 3)] {
		compose := func(args ...string) string {
			project := fmt.Sprintf("project%d", i)
			args = append([]string{"--file", file, "--project-name", project}, args...)
			return h.tool(t, c, "docker-compose", args...)
		}
		compose("up", "--detach")
		engine.WaitFor(t, "the log of a service", func() bool {
			return strings.Contains(compose("logs", "--no-color"), "started")
		})
		if out := compose("ps"); !strings.Contains(out, "Up") {
			t.Errorf("got %q", out)
		}
		if out := compose("exec", "-T", "one", "echo", "hello"); !strings.Contains(out, "hello") {
			t.Errorf("got %q", out)
		}
		compose("down", "--timeout", "0")
	}
}

// pyScript prints what the API of docker-py returns.
const pyScript = `
import docker, sys
c = docker.from_env()
assert c.ping()
options = {"detach": True, "network_mode": "none"}
x = c.containers.run("box", ["sh", "-c", "echo one; sleep 0.2; echo two"], **options)
print([line for line in x.logs(stream=True, follow=True)])
print(x.wait()["StatusCode"])
x.remove()
x = c.containers.run("box", ["sleep", "1000000"], **options)
try:
    print(x.exec_run("echo hello").output)
    _, s = x.exec_run("cat", stdin=True, socket=True)
    raw = getattr(s, "_sock", s)
    raw.sendall(b"text\n")
    print(raw.recv(100)[-5:])
    s.close()
    print(next(x.stats(stream=True))[:1])
    x.put_archive("/tmp", b"\0" * 1024)
    print(sum(map(len, x.get_archive("/bin/busybox")[0])) > 1 << 16)
    print(x.top()["Titles"][0])
finally:
    x.remove(force=True)
print(sum(map(len, c.images.get("box").save())) > 1 << 20)
`

func (h *dockerHost) dockerPy(t *testing.T) {
	const want = "[b'one\\n', b'two\\n']\n0\nb'hello\\n'\nb'text\\n'\nb'{'\nTrue\n"
	for _, c := range h.outside()[:ctr.Repeat(1, 3)] {
		if out := h.tool(t, c, "/usr/bin/python3", "-c", pyScript); !strings.HasPrefix(out, want) ||
			!strings.HasSuffix(out, "True\n") {
			t.Errorf("%s: got %q, want %q", c.name, out, want)
		}
	}
}

// pushAndPull pushes an image to a registry, and pulls it.
func (h *dockerHost) pushAndPull(t *testing.T) {
	address := engine.FreePort(t)
	config := filepath.Join(h.work, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n",
		t.TempDir(), address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	engine.Start(t, t.TempDir(), "docker-registry", "serve", config)
	engine.WaitFor(t, "the registry", func() bool {
		code, _, err := oneRequest("tcp", address, strings.Replace(ping, "_ping", "v2/", 1))
		return err == nil && code == 200
	})
	direct := h.direct(t)
	for version, program := range h.clients {
		for _, c := range h.callers[:ctr.Repeat(1, len(h.callers))] {
			s := &session{T: t, host: h, caller: c, program: program}
			image := address + "/" + "box:" + version
			s.must("tag", "box", image)
			s.must("push", image)
			direct(nil, "rmi", image)
			s.must("pull", image)
			if out := s.must("run", "--rm", "--network", "none", image, "echo", "hello"); out != "hello\n" {
				t.Errorf("got %q", out)
			}
			direct(nil, "rmi", image)
		}
	}
}

// largeImage saves and loads an image, of 1 GB in the soak, and compares it.
func (h *dockerHost) largeImage(t *testing.T) {
	dir := filepath.Join(h.work, "large")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	size := ctr.Repeat(50, 1000) << 20
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("head -c %d /dev/urandom >%s/data; "+
		"tar -C %[2]s -cf %[2]s.tar data; rm %[2]s/data", size, dir)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer os.Remove(dir + ".tar")
	direct := h.direct(t)
	alice := &session{T: t, host: h, caller: h.callers[0], program: h.anyClient()}
	alice.must("import", dir+".tar", "large")
	id := strings.TrimSpace(alice.must("inspect", "--format", "{{.Id}}", "large"))
	started := time.Now()
	alice.must("save", "--output", dir+"/saved.tar", "large")
	saved := time.Since(started)
	direct(nil, "rmi", "large")
	started = time.Now()
	alice.must("load", "--input", dir+"/saved.tar")
	t.Logf("%d MB: save %v, load %v", size>>20, saved, time.Since(started))
	if got := strings.TrimSpace(alice.must("inspect", "--format", "{{.Id}}", "large")); got != id {
		t.Errorf("got image %s, want %s", got, id)
	}
	direct(nil, "rmi", "large")
}

// attachWebsocket attaches to a container by a websocket.
func (h *dockerHost) attachWebsocket(t *testing.T) {
	t.Helper()
	direct := h.direct(t)
	direct(nil, "run", "-di", "--name", "ws", "--network", "none", "box", "sh", "-c",
		"read x; echo got $x")
	t.Cleanup(func() { direct(nil, "rm", "--force", "ws") })
	config, err := websocket.NewConfig(
		"wss://"+h.tcp+"/containers/ws/attach/ws?stream=1&stdin=1&stdout=1", "https://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	config.TlsConfig = h.tlsConfig(t, "alice")
	c, err := config.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "text\n")
	text := ""
	for buffer := make([]byte, 1000); !strings.Contains(text, "got text\n"); {
		n, err := c.Read(buffer)
		if text += string(buffer[:n]); err != nil {
			t.Fatalf("%q, %v", text, err)
		}
	}
}

// anyClient returns one of the clients.
func (h *dockerHost) anyClient() string {
	for _, program := range h.clients {
		return program
	}
	panic("no clients")
}

// connect starts authz-broker connect with the certificate of a user, and returns its socket.
func (h *dockerHost) connect(t *testing.T, user string) (socket string) {
	t.Helper()
	socket = filepath.Join(h.dir, "connect-"+user+".sock")
	dir := filepath.Join(h.certs, user)
	engine.Start(t, t.TempDir(), shared.broker, "connect", "--listen", "unix://"+socket,
		"--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"),
		"--ca", filepath.Join(dir, "ca.pem"), "tcp://"+h.tcp)
	engine.WaitFor(t, "authz-broker connect", func() bool { return canDial(socket) })
	return socket
}

// podman runs podman's own client at a socket, and checks that it gets nothing that is denied.
func (h *dockerHost) podman(t *testing.T, c caller, socket string) {
	remote := []string{"--remote", "--url", "unix://" + socket}
	podman := func(args ...string) string {
		t.Helper()
		return h.tool(t, c, "podman", append(remote, args...)...)
	}
	if out := podman("run", "--rm", "--network", "none", "box", "echo", "hello"); out != "hello\n" {
		t.Errorf("got %q", out)
	}
	podman("run", "--detach", "--name", "own", "--network", "none", "box", "sh", "-c",
		"echo started; exec sleep 1000000")
	direct := h.direct(t)
	t.Cleanup(func() { direct(nil, "rm", "--force", "own") })
	engine.WaitFor(t, "the log", func() bool { return podman("logs", "own") == "started\n" })
	for _, tt := range []struct{ args, want string }{
		{"exec own echo hello", "hello\n"},
		{"ps --format {{.Names}}", "own\n"},
		{"inspect --format {{.Name}} own", "own\n"},
		{"top own comm", "sleep\n"},
		{"stats --no-stream --format {{.Name}} own", "own\n"},
		{"images --format {{.Repository}}", "box\n"},
		{"pod create --name pod --infra=false", ""},
		{"pod ps --format {{.Name}}", "pod\n"},
		{"pod rm pod", ""},
		{"volume create data", "data\n"},
		{"volume rm data", "data\n"},
		{"info --format {{.Host.OS}}", "linux\n"},
	} {
		if out := podman(strings.Fields(tt.args)...); !strings.Contains(out, tt.want) {
			t.Errorf("podman %s: got %q, want %q", tt.args, out, tt.want)
		}
	}
	file := filepath.Join(h.home(c), "file")
	podman("cp", "own:/bin/busybox", file)
	podman("cp", file, "own:/tmp/copy")
	podman("rm", "--force", "--time", "0", "own")
	play := filepath.Join(h.work, "play.yml")
	if err := os.WriteFile(play, []byte("kind: Pod\nmetadata: {name: p}\nspec: {containers: "+
		"[{name: c, image: box, securityContext: {privileged: true}}]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", "--rm", "--privileged", "--network", "none", "box", "true"},
		{"create", "--privileged", "box"},
		{"play", "kube", play},
	} {
		cmd := exec.CommandContext(t.Context(), "podman", append(remote, args...)...)
		cmd.Env = []string{"HOME=" + h.home(c), "PATH=" + os.Getenv("PATH")}
		c.wrap(cmd)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "authorization denied by authz-broker: ") {
			t.Errorf("podman %q: %v: %s", args, err, out)
		}
	}
}
