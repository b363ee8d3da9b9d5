//go:build integration

package authz

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/engine"
)

// dockerd is a running dockerd with TLS that asks a broker.
type dockerd struct {
	*broker
	address string
	certs   string
	process *exec.Cmd
	// auditText is the broker's standard output.
	auditText *output
	// flags are options of the broker.
	flags []string
}

// startEngine starts a broker with its default paths and a dockerd as documented, with certificates
// of authz-broker, the image box and a sleeping container web.
func startEngine(t *testing.T, flags ...string) *dockerd {
	t.Helper()
	engine.OwnLib(t)
	e := &dockerd{certs: filepath.Join(t.TempDir(), "certs"), auditText: new(output), flags: flags, broker: &broker{
		policy: "/var/lib/authz-broker/policy.json", docker: "/run/docker/plugins/authz-broker.sock", isulad: "/run/isulad/plugins/authz-broker.sock",
		kept: true,
	}}
	t.Cleanup(func() { e.kill(t) })
	if out, err := exec.Command(shared.broker, "certs", "--dir", e.certs, "--server", "localhost", "--server", "127.0.0.1",
		"--client", "alice", "--client", "bob", "--client", "service_account").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(shared.broker, "certs", "--dir", e.certs, "--client", "carol", "--group", "ops").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e.write(t, everything)
	e.restart(t)
	e.startDocker(t)
	image, err := exec.Command("tar", "-C", shared.rootfs, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	e.must(t, anonymous, image, "import", "-", "box")
	e.must(t, anonymous, nil, "create", "--name", "web", "--network", "none", "--memory", "64m",
		"box", "/bin/sleep", "1000000")
	e.must(t, anonymous, nil, "start", "web")
	t.Cleanup(func() {
		e.replace(t, `{"name":"cleanup","users":[""],"actions":[""]}`)
		if all := strings.Fields(e.must(t, anonymous, nil, "ps", "--all", "--quiet")); len(all) > 0 {
			e.must(t, anonymous, nil, append([]string{"rm", "--force"}, all...)...)
		}
	})
	return e
}

// restart starts the broker.
func (e *dockerd) restart(t *testing.T) {
	t.Helper()
	cmd := exec.Command(shared.broker, e.flags...)
	cmd.Stdout = e.auditText
	e.start(t, cmd)
}

func (e *dockerd) startDocker(t *testing.T) {
	t.Helper()
	e.address = engine.FreePort(t)
	log := new(output)
	e.process = exec.Command("dockerd", "--host", "unix:///run/docker.sock", "--host", "tcp://"+e.address, "--tlsverify",
		"--tlscacert", filepath.Join(e.certs, "ca.pem"), "--tlscert", filepath.Join(e.certs, "server-cert.pem"),
		"--tlskey", filepath.Join(e.certs, "server-key.pem"), "--authorization-plugin=authz-broker",
		"--iptables=false", "--ip-masq=false", "--bridge=none", "--storage-driver=vfs",
		"--cgroup-parent", engine.ParentCgroup(t))
	e.process.Stdout, e.process.Stderr = log, log
	if err := e.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.process.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { e.process.Process.Kill() })
		e.process.Wait()
		kill.Stop()
		if t.Failed() {
			text := log.String()
			t.Logf("dockerd: %s", text[max(0, len(text)-4000):])
		}
	})
	engine.WaitFor(t, "dockerd to answer", func() bool { return e.run(anonymous, nil, "version").code == 0 })
}

// anonymous is the name of clients of the unix socket.
const anonymous = ""

// ran is the result of a command.
type ran struct {
	code           int
	stdout, stderr string
}

// command returns a command of docker's client as user.
func (e *dockerd) command(ctx context.Context, user string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, shared.docker, args...)
	// The manual's policies do not let all users ask for the version of the API.
	cmd.Env = append(os.Environ(), "HOME="+e.certs, "DOCKER_API_VERSION=1.41")
	if user == anonymous {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix:///run/docker.sock")
	} else {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=tcp://"+e.address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+filepath.Join(e.certs, user))
	}
	cmd.WaitDelay = time.Second
	return cmd
}

func (e *dockerd) run(user string, stdin []byte, args ...string) ran {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := e.command(ctx, user, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		return ran{-1, "", err.Error()}
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func (e *dockerd) must(t *testing.T, user string, stdin []byte, args ...string) string {
	t.Helper()
	r := e.run(user, stdin, args...)
	if r.code != 0 {
		t.Fatalf("docker %q: exit code %d: %s", args, r.code, r.stderr)
	}
	return r.stdout
}

// refused checks that the broker refuses a command for the given reason.
func (e *dockerd) refused(t *testing.T, user, reason string, args ...string) {
	t.Helper()
	r := e.run(user, nil, args...)
	output := r.stdout + r.stderr // info prints the error to stdout
	if r.code == 0 || !strings.Contains(output, "authorization denied by plugin authz-broker: ") || !strings.Contains(output, reason) {
		t.Errorf("%s: docker %q: exit code %d: %s%s; want %s", user, args, r.code, r.stdout, r.stderr, reason)
	}
}
