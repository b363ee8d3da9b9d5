package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// engineSocket is the socket of the engine.
const engineSocket = "/run/docker.sock"

//go:embed haproxy.cfg
var haproxyConfig []byte

// process is a running program.
type process struct{ cmd *exec.Cmd }

// start starts a program, with its standard output in the file log.
func start(log, program string, env []string, args ...string) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &process{exec.Command(program, args...)}
	p.cmd.Stdout = file
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return p, p.cmd.Start()
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	p.cmd.Wait() // haproxy's exit code is that of the signal
	return nil
}

// tick is the unit of CPU times in /proc.
const tick = time.Second / 100

// cpu returns the CPU time that the process has used, or 0 without one.
func (p *process) cpu() time.Duration {
	if p == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system time.Duration
	fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	return (user + system) * tick
}

// memory returns the current and the maximum resident memory.
func (p *process) memory() (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	var lines []string
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if key == "VmRSS" || key == "VmHWM" {
			lines = append(lines, key+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(lines, ", "), err
}

// waitFor waits until a server answers at a socket.
func waitFor(name, socket string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := latencies(socket, "/_ping", 1); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
}

// startEngine starts a dockerd whose state is in memory.
func startEngine(dir string) (stop func() error, err error) {
	if err := syscall.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755"); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--host", "unix://"+engineSocket, "--iptables=false",
		"--ip-masq=false", "--bridge=none", "--storage-driver=vfs", "--group=root")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		return cmd.Wait()
	}
	if err := waitFor("dockerd", engineSocket); err != nil {
		text, _ := os.ReadFile(log.Name()) // for the message only
		return nil, errors.Join(fmt.Errorf("%w: %s", err, text), stop())
	}
	return stop, nil
}

// fillEngine creates ten containers and an image of random data. It returns the path of a file of
// which the image was made.
func fillEngine(dir string, megabytes int) (path string, err error) {
	path = filepath.Join(dir, "image.tar")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	w := tar.NewWriter(file)
	size := int64(megabytes) * 1e6
	if err := w.WriteHeader(&tar.Header{Name: "data", Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	if _, err := io.CopyN(w, rand.Reader, size); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	var small bytes.Buffer
	if err := tar.NewWriter(&small).Close(); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if err := call("/images/create?fromSrc=-&repo=large", "application/x-tar", file); err != nil {
		return "", err
	}
	if err := call("/images/create?fromSrc=-&repo=small", "application/x-tar", &small); err != nil {
		return "", err
	}
	for range 10 {
		body := strings.NewReader(`{"Image":"small","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`)
		if err := call("/containers/create", "application/json", body); err != nil {
			return "", err
		}
	}
	return path, nil
}

// call sends a POST request to the engine.
func call(path, contentType string, body io.Reader) error {
	response, err := client(engineSocket).Post("http://engine"+path, contentType, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("POST %s: %s: %s", path, response.Status, text)
	}
	return err
}

// client returns a client for one request at a socket.
func client(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// startFront starts authz-broker front, which identifies its clients, decides by policy and writes
// the audit log.
func (o options) startFront(dir string) (t target, err error) {
	policy := filepath.Join(dir, "policy.json")
	const text = `{"name":"root","unix_users":["root"],"actions":["docker_","container","image"]}`
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		return t, err
	}
	t = target{name: "front", socket: filepath.Join(dir, "front.sock")}
	log, audit := filepath.Join(dir, "front.log"), filepath.Join(dir, "audit")
	t.process, err = start(log, o.broker, nil, "--policy-file", policy, "--audit", audit, "front",
		"--engine", "docker", "--upstream", "unix://"+engineSocket, "--listen", "unix://"+t.socket)
	if err != nil {
		return t, err
	}
	return t, waitFor("authz-broker front", t.socket)
}

// startHaproxy starts haproxy with docker-socket-proxy's rules. It neither identifies its clients
// nor examines bodies.
func (o options) startHaproxy(dir string) (t target, err error) {
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, haproxyConfig, 0o600); err != nil {
		return t, err
	}
	t = target{name: "haproxy, docker-socket-proxy", socket: filepath.Join(dir, "haproxy.sock")}
	env := []string{"SOCKET_PATH=" + engineSocket, "BIND_CONFIG=" + t.socket, "PING=1", "CONTAINERS=1",
		"IMAGES=1", "POST=1", "LOG_LEVEL=info"}
	log := filepath.Join(dir, "haproxy.log")
	if t.process, err = start(log, o.haproxy, env, "-q", "-db", "-f", config); err != nil {
		return t, err
	}
	return t, waitFor("haproxy", t.socket)
}
