//go:build integration

package authz

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
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

// identities is a policy file for the four kinds of clients in the tests of engines. Each may do
// anything but get a privileged container.
const identities = `{"name":"alice","users":["alice"],"actions":[""],"deny":["privileged"]}
{"name":"ops","groups":["ops"],"actions":[""],"deny":["privileged"]}
{"name":"daemon","unix_users":["daemon"],"actions":[""],"deny":["privileged"]}
{"name":"ci","containers":["role=ci"],"actions":[""],"deny":["privileged"]}
{"name":"watch","users":["bob"],"actions":[""],"readonly":true}
{"name":"admin","users":["admin"],"actions":[""]}`

// caller runs clients of an engine as one user.
type caller struct {
	// name is the user in the audit log, and policy the one that lists it.
	name, policy string
	// wrap changes a command so that it runs as the user.
	wrap func(*exec.Cmd)
}

// dockerHost is an engine with Docker's API behind a front, with the image box, which has docker's
// client.
type dockerHost struct {
	*front
	callers []caller
	// clients are docker's clients by series.
	clients map[string]string
	// work is a directory that all callers can write.
	work string
}

// latest is the series of the client that "make dockerd" builds.
const latest = "28"

// recent returns a program of "make dockerd". It skips the test if they were not built.
func recent(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(shared.engines, name)
	if _, err := os.Stat(path); shared.engines == "" || err != nil {
		t.Skipf("PALISADE_ENGINES: no %s (make dockerd builds it)", name)
	}
	return path
}

// startDockerd starts a dockerd at /run/docker.sock.
func startDockerd(t *testing.T, program string, flags ...string) {
	t.Helper()
	engine.OwnLib(t)
	log := new(output)
	args := []string{"--host", "unix:///run/docker.sock", "--iptables=false", "--ip6tables=false",
		"--ip-masq=false", "--bridge=none", "--storage-driver=vfs", "--group=root",
		"--cgroup-parent", engine.ParentCgroup(t)}
	cmd := exec.Command(program, append(args, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		<-ended
		kill.Stop()
		if t.Failed() {
			text := log.String()
			t.Logf("dockerd: %s", text[max(0, len(text)-4000):])
		}
	})
	engine.WaitFor(t, "dockerd to answer", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("dockerd ended: %v: %s", err, log)
		default:
		}
		code, _, err := oneRequest("unix", "/run/docker.sock", ping)
		return err == nil && code == 200
	})
}

// startDockerHost starts a front before the engine at a socket, and a container from which docker's
// client is called.
func startDockerHost(t *testing.T, kind, socket string, clients map[string]string) *dockerHost {
	t.Helper()
	h := &dockerHost{front: startFront(t, kind, socket, identities), clients: clients}
	h.work = filepath.Join(h.dir, "work")
	if err := os.Mkdir(h.work, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.work, 0o1777); err != nil {
		t.Fatal(err)
	}
	// Clients read their certificates.
	for _, user := range []string{"alice", "carol", "bob", "admin"} {
		if err := os.Chmod(filepath.Join(h.certs, user), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	direct := h.direct(t)
	for name, dir := range map[string]string{"box": shared.rootfs, "client": shared.clientRootfs} {
		image, err := exec.Command("tar", "-C", dir, "-c", ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		direct(image, "import", "-", name)
	}
	args := []string{"run", "--detach", "--name", "runner", "--label", "role=ci", "--network", "none",
		"--volume", h.dir + ":" + h.dir}
	if shared.engines != "" {
		args = append(args, "--volume", shared.engines+":"+shared.engines+":ro")
	}
	direct(nil, append(args, "client", "/bin/sleep", "1000000")...)
	t.Cleanup(func() {
		if all := strings.Fields(direct(nil, "ps", "--all", "--quiet")); len(all) > 0 {
			direct(nil, append([]string{"rm", "--force"}, all...)...)
		}
	})
	h.callers = []caller{
		{"alice", "alice", h.withCertificate("alice")},
		{"carol", "ops", h.withCertificate("carol")},
		{"unix:daemon", "daemon", func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+h.unix)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
		}},
		{"container:runner", "ci", func(cmd *exec.Cmd) {
			program := cmd.Path
			if shared.engines == "" || !strings.HasPrefix(program, shared.engines) {
				program = "/bin/docker"
			}
			args := []string{shared.docker, "--host", "unix://" + socket, "exec", "--interactive",
				"--workdir", h.work, "--env", "DOCKER_HOST=unix://" + h.unix}
			for _, variable := range cmd.Env {
				args = append(args, "--env", variable)
			}
			args = append(args, "runner", program)
			cmd.Path, cmd.Args = shared.docker, append(args, cmd.Args[1:]...)
		}},
	}
	h.newHomes(t)
	return h
}

// withCertificate returns a function that makes docker's client use a user's certificate.
func (h *dockerHost) withCertificate(user string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=tcp://"+h.tcp, "DOCKER_TLS_VERIFY=1",
			"DOCKER_CERT_PATH="+filepath.Join(h.certs, user))
	}
}

// direct returns a function that runs docker's client without the front.
func (h *dockerHost) direct(t *testing.T) func(stdin []byte, args ...string) string {
	return func(stdin []byte, args ...string) string {
		t.Helper()
		cmd := exec.Command(shared.docker, append([]string{"--host", "unix://" + h.upstream}, args...)...)
		cmd.Stdin = bytes.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("docker %q: %v: %s", args, err, &stderr)
		}
		return string(out)
	}
}

// session runs one of docker's clients as a caller.
type session struct {
	*testing.T
	host    *dockerHost
	caller  caller
	program string
	// name is unique, for containers and images.
	name string
}

// command returns a command of docker's client.
func (s *session) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = []string{"HOME=" + s.host.home(s.caller), "PATH=" + os.Getenv("PATH")}
	cmd.Dir = s.host.work
	cmd.WaitDelay = time.Second
	return cmd
}

// home returns the home directory of a caller, in which docker's client finds buildx.
func (h *dockerHost) home(c caller) string { return filepath.Join(h.work, c.policy) }

func (h *dockerHost) newHomes(t *testing.T) {
	t.Helper()
	for _, c := range append(h.callers, caller{policy: "watch"}, caller{policy: "admin"}) {
		plugins := filepath.Join(h.home(c), ".docker/cli-plugins")
		if err := os.MkdirAll(plugins, 0o755); err != nil {
			t.Fatal(err)
		}
		const plugin = "docker-buildx"
		err := os.Symlink(filepath.Join(shared.engines, plugin), filepath.Join(plugins, plugin))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{h.home(c), filepath.Join(h.home(c), ".docker")} {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// clientTime is the time limit of a client.
const clientTime = 3 * time.Minute

func (s *session) runWith(stdin io.Reader, env []string, args ...string) ran {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), clientTime)
	defer cancel()
	cmd := s.command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	s.caller.wrap(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		s.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a command that succeeds, and returns its output.
func (s *session) must(args ...string) string {
	s.Helper()
	return s.mustWith(nil, nil, args...)
}

func (s *session) mustWith(stdin io.Reader, env []string, args ...string) string {
	s.Helper()
	r := s.runWith(stdin, env, args...)
	if r.code != 0 {
		s.Fatalf("docker %q: exit code %d: %s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// start starts a command, whose output is collected, and which is killed at the end of the test.
func (s *session) start(stdin io.Reader, args ...string) (out *output, done <-chan error) {
	s.Helper()
	cmd := s.command(s.Context(), args...)
	s.caller.wrap(cmd)
	out = new(output)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return out, ended
}

// terminal runs a command with a terminal of 33 lines. It types again and again until the answer is
// shown, then types the last keys, and returns all that was shown before the command ended.
func (s *session) terminal(typed, answer, last string, args ...string) string {
	s.Helper()
	cmd := s.command(s.Context(), args...)
	s.caller.wrap(cmd)
	if i := slices.Index(cmd.Args, "exec"); i >= 0 && cmd.Args[0] == shared.docker {
		// The outer client must pass on the keys that detach the inner one.
		cmd.Args = slices.Insert(cmd.Args, i+1, "--tty", "--detach-keys", "ctrl-z,z")
	}
	line := "stty rows 33 cols 99; exec"
	for _, arg := range cmd.Args {
		line += " '" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	shown := exec.CommandContext(s.Context(), "script", "--quiet", "--return", "--command", line,
		"/dev/null")
	shown.Env, shown.Dir, shown.SysProcAttr = cmd.Env, cmd.Dir, cmd.SysProcAttr
	in, err := shown.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	defer in.Close()
	out := new(output)
	shown.Stdout, shown.Stderr = out, out
	if err := shown.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- shown.Wait() }()
	engine.WaitFor(s, "an answer in a terminal", func() bool {
		io.WriteString(in, typed)
		return strings.Contains(out.String(), answer)
	})
	io.WriteString(in, last)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		shown.Process.Kill()
		s.Errorf("%q does not end: %q", args, out)
	}
	return out.String()
}

// operation is something that clients do.
type operation struct {
	name string
	run  func(*session)
}

// operations are those with docker's client.
var operations = []operation{
	{"run", func(s *session) {
		if out := s.must("run", "--rm", "--network", "none", "box", "echo", "hello"); out != "hello\n" {
			s.Errorf("got %q", out)
		}
		// Podman 4.3 loses the exit code with --rm.
		s.clean()
		r := s.runWith(nil, nil, "run", "--name", s.name, "--network", "none", "box", "sh", "-c",
			"echo error >&2; exit 7")
		if r.code != 7 || r.stderr != "error\n" || r.stdout != "" {
			s.Errorf("got %+v, want exit code 7", r)
		}
	}},
	{"terminal", func(s *session) {
		// The client sets the size after the start.
		shown := s.terminal("world\n", "33 99", "end\n", "run", "-it", "--rm", "--network", "none",
			"box", "sh", "-c", "while read x && [ $x != end ]; do echo hello $x; stty size; done")
		if !strings.Contains(shown, "hello world") {
			s.Errorf("got %q", shown)
		}
	}},
	{"stdin", func(s *session) {
		const size = 100 << 20
		out := s.mustWith(&zeros{size}, nil, "run", "-i", "--rm", "--network", "none", "box", "wc", "-c")
		if strings.TrimSpace(out) != fmt.Sprint(size) {
			s.Errorf("got %q, want %d", out, size)
		}
	}},
	{"stdout", func(s *session) {
		size := ctr.Repeat(20, 100) << 20
		out := s.must("run", "--rm", "--network", "none", "box", "head", "-c", fmt.Sprint(size),
			"/dev/zero")
		if len(out) != size {
			s.Errorf("got %d bytes, want %d", len(out), size)
		}
	}},
	{"exec", func(s *session) {
		s.sleeper()
		if out := s.mustWith(strings.NewReader("text"), nil, "exec", "-i", s.name, "cat"); out != "text" {
			s.Errorf("got %q", out)
		}
		if r := s.runWith(nil, nil, "exec", s.name, "sh", "-c", "exit 3"); r.code != 3 {
			s.Errorf("got %+v, want exit code 3", r)
		}
	}},
	{"attach", func(s *session) {
		s.must("run", "-dit", "--name", s.name, "--network", "none", "box", "sh", "-c",
			"while read x; do echo ready $x; done")
		s.clean()
		s.terminal("one\n", "ready one", "\x10\x11", "attach", s.name)
		if out := s.must("inspect", "--format", "{{.State.Running}}", s.name); out != "true\n" {
			s.Errorf("after detaching: running %s", out)
		}
	}},
	{"cp", func(s *session) {
		s.sleeper()
		from, to := filepath.Join(s.host.work, s.name+".from"), filepath.Join(s.host.work, s.name+".to")
		text := bytes.Repeat([]byte("line\n"), 1<<20)
		if err := os.WriteFile(from, text, 0o644); err != nil {
			s.Fatal(err)
		}
		s.must("cp", from, s.name+":/tmp/file")
		s.must("cp", s.name+":/tmp/file", to)
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, text) {
			s.Errorf("got %d bytes, %v, want %d", len(got), err, len(text))
		}
	}},
	{"legacy build", func(s *session) { s.build("DOCKER_BUILDKIT=0") }},
	{"logs", func(s *session) {
		s.must("run", "-d", "--name", s.name, "--network", "none", "box", "sh", "-c",
			"for i in 1 2 3; do echo line $i; sleep 0.3; done")
		s.clean()
		if out := s.must("logs", "-f", s.name); out != "line 1\nline 2\nline 3\n" {
			s.Errorf("got %q", out)
		}
	}},
	{"events", func(s *session) {
		out, _ := s.start(nil, "events", "--filter", "container="+s.name, "--format", "{{.Action}}")
		// The stream may begin after an event: create until one is seen.
		engine.WaitFor(s, "an event", func() bool {
			s.must("create", "--name", s.name, "--network", "none", "box", "true")
			s.must("rm", s.name)
			return strings.Contains(out.String(), "create\n")
		})
	}},
	{"stats", func(s *session) {
		s.sleeper()
		if out := s.must("stats", "--no-stream", "--format", "{{.Name}}", s.name); out == "\n" ||
			!strings.HasSuffix(s.name+"\n", out) { // Podman leaves out a slash, the client a letter
			s.Errorf("got %q", out)
		}
		out, _ := s.start(nil, "stats", "--format", "{{.PIDs}} pids", s.name)
		engine.WaitFor(s, "two lines of a stream", func() bool {
			return strings.Count(out.String(), " pids") >= 2
		})
	}},
	{"save and load", func(s *session) {
		file := filepath.Join(s.host.work, s.name+".tar")
		s.must("save", "--output", file, "box")
		if out := s.must("load", "--input", file); !strings.Contains(out, "Loaded image") {
			s.Errorf("got %q", out)
		}
	}},
	{"denied", func(s *session) {
		r := s.runWith(nil, nil, "run", "--rm", "--privileged", "--network", "none", "box", "true")
		if r.code == 0 || !strings.Contains(r.stderr, "Privileged is set") ||
			!strings.Contains(r.stderr, "authorization denied by authz-broker: ") {
			s.Errorf("got %+v", r)
		}
	}},
}

// zeros reads as the given number of zero bytes.
type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

// sleeper starts the session's container.
func (s *session) sleeper() {
	s.Helper()
	s.must("run", "-d", "--name", s.name, "--network", "none", "box", "sleep", "1000000")
	s.clean()
}

// clean removes the session's container after the test.
func (s *session) clean() {
	direct := s.host.direct(s.T)
	s.Cleanup(func() { direct(nil, "rm", "--force", s.name) })
}

// build builds an image from a directory with a large file.
func (s *session) build(env string) {
	s.Helper()
	dir := filepath.Join(s.host.work, s.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.Fatal(err)
	}
	for name, text := range map[string]string{
		"Dockerfile": "FROM box\nCOPY large /large\nRUN wc -c </large >/size\nCMD cat /size\n",
		"large":      strings.Repeat("x", 4<<20),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	s.mustWith(nil, []string{env}, "build", "--network", "none", "--tag", s.name, dir)
	direct := s.host.direct(s.T)
	s.Cleanup(func() { direct(nil, "rmi", "--force", s.name) })
	out := s.must("run", "--rm", "--network", "none", s.name)
	if strings.TrimSpace(out) != fmt.Sprint(4<<20) {
		s.Errorf("the image prints %q", out)
	}
}

// exercise runs the operations, each with one client and as one caller, in the soak with all.
func (h *dockerHost) exercise(t *testing.T, all []operation) {
	versions := slices.Sorted(maps.Keys(h.clients))
	for i, o := range all {
		for j := range ctr.Repeat(1, len(versions)*len(h.callers)) {
			version := versions[(i+j)%len(versions)]
			c := h.callers[(i/len(versions)+j/len(versions))%len(h.callers)]
			s := &session{
				host: h, caller: c, program: h.clients[version], name: fmt.Sprintf("test%d-%d", i, j),
			}
			name := strings.Join([]string{version, strings.ReplaceAll(o.name, " ", "-"), c.policy}, "/")
			t.Run(name, func(t *testing.T) {
				s.T = t
				o.run(s)
			})
		}
	}
}

// checkAudit checks that the front knew each caller, and allowed nothing to others.
func (h *dockerHost) checkAudit(t *testing.T) {
	t.Helper()
	counts := make(map[string]int)
	for _, r := range h.records(t) {
		if r.Allow {
			counts[r.User+" by "+r.Policy]++
		}
	}
	for _, c := range h.callers {
		key := c.name + " by " + c.policy
		if counts[key] == 0 {
			t.Errorf("no request was allowed to %s: %v", key, counts)
		}
		delete(counts, key)
	}
	delete(counts, "bob by watch")
	delete(counts, "admin by admin")
	if len(counts) > 0 {
		t.Errorf("allowed to others: %v", counts)
	}
}

// refuseOthers checks that users without a policy get nothing, and that reading is not writing.
func (h *dockerHost) refuseOthers(t *testing.T) {
	t.Helper()
	cmd := exec.Command(shared.docker, "--host", "unix://"+h.unix, "ps") // as root
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "unix:root") {
		t.Errorf("root: %v: %s", err, out)
	}
	bob := caller{"bob", "watch", h.withCertificate("bob")}
	for _, program := range h.clients {
		s := &session{T: t, host: h, caller: bob, program: program}
		if out := s.must("ps", "--format", "{{.Names}}"); !strings.Contains(out, "runner") {
			t.Errorf("bob sees %q", out)
		}
		for _, args := range [][]string{{"kill", "runner"}, {"exec", "runner", "true"},
			{"run", "--rm", "--network", "none", "box", "true"}} {
			if r := s.runWith(nil, nil, args...); r.code == 0 || !strings.Contains(r.stderr, "read-only") {
				t.Errorf("bob: docker %q: %+v", args, r)
			}
		}
	}
}

// TestFrontDocker checks the clients of Docker with Debian's engine.
func TestFrontDocker(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "script", "docker-compose", "docker-registry")
	startDockerd(t, "dockerd")
	clients := map[string]string{"20.10": shared.docker}
	if shared.engines != "" {
		clients[latest] = recent(t, "docker")
	}
	h := startDockerHost(t, "docker", "/run/docker.sock", clients)
	h.exercise(t, operations)
	h.exerciseOthers(t)
	h.refuseOthers(t)
	h.checkAudit(t)
}

// TestFrontDocker29 checks them with an engine of the series 29.
func TestFrontDocker29(t *testing.T) {
	dockerd := recent(t, "dockerd")
	engine.Need(t, "containerd", "runc", "script", "docker-compose", "docker-registry")
	// Debian's runc has no time namespaces.
	startDockerd(t, dockerd, "--feature", "containerd-snapshotter=false",
		"--feature", "time-namespaces=false")
	clients := map[string]string{latest: recent(t, "docker")}
	h := startDockerHost(t, "docker", "/run/docker.sock", clients)
	h.exercise(t, operations)
	t.Run("buildkit", h.buildkit)
	t.Run("websocket", h.attachWebsocket)
	t.Run("registry", h.pushAndPull)
	t.Run("large image", h.largeImage)
	h.refuseOthers(t)
	h.checkAudit(t)
}

// TestFrontPodman checks Podman's and Docker's clients with Podman's service.
func TestFrontPodman(t *testing.T) {
	engine.Need(t, "script")
	socket := startPodman(t)
	h := startDockerHost(t, "podman", socket, map[string]string{"20.10": shared.docker})
	h.exercise(t, operations)
	t.Run("podman/daemon", func(t *testing.T) { h.podman(t, h.callers[2], h.unix) })
	t.Run("podman/alice", func(t *testing.T) {
		h.podman(t, caller{"alice", "alice", func(*exec.Cmd) {}}, h.connect(t, "alice"))
	})
	h.refuseOthers(t)
	h.checkAudit(t)
}
