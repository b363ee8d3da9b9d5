//go:build integration

package toolkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needEngine makes sure that an engine is there. The virtual machine has none: its kernel and cgroups are what is tested there.
func needEngine(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("PALISADE_VM") != "" {
		t.Skip("the virtual machine has no engines")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v (make deps installs it)", err)
		}
	}
}

// ownLib gives the test an empty /var/lib, where engines keep what they know.
func ownLib(t *testing.T) {
	t.Helper()
	if err := syscall.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, "/var/lib") })
}

// parentCgroup is a cgroup for an engine's containers, which ends with the test.
func parentCgroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("palisade-engine-%d-%d", os.Getppid(), time.Now().UnixNano())
	t.Cleanup(func() {
		groups, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
		if err != nil {
			t.Error(err)
		}
		for _, group := range groups {
			var dirs []string
			filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				if err := removeCgroup(dir); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return "/" + name
}

// removeCgroup removes a cgroup whose last processes are just ending.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Rmdir(dir)
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// startEngine starts a daemon that ends with the test, and returns its process.
func startEngine(t *testing.T, dir, program string, args ...string) *os.Process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, program+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // for the message alone
			t.Logf("%s: %s", program, text[max(0, len(text)-4000):])
		}
	})
	return cmd.Process
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// listed is the container that list shows under a name.
type listed struct {
	ID, Engine  string
	Names       []string
	PID         int
	Alive, Dead []string
}

func (h *host) listed(t *testing.T, name string) listed {
	t.Helper()
	var list struct{ Containers []listed }
	text := h.must(t, "list", "--json").stdout
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Containers {
		if slices.Contains(c.Names, name) || c.ID == name {
			return c
		}
	}
	t.Fatalf("list does not have %s: %s", name, text)
	return listed{}
}

// checkEngine makes sure that a container is known by its name and engine, and that its files can be taken away and put
// back by its name.
func checkEngine(t *testing.T, h *host, name, engine string) {
	t.Helper()
	c := h.listed(t, name)
	served := len(h.served(t))
	if c.Engine != engine || len(c.Alive) != served {
		t.Errorf("list has %+v, want one of %s with %d files", c, engine, served)
	}
	for _, tt := range []struct {
		command string
		want    int
	}{{"umount", 0}, {"remount", served}} {
		h.must(t, tt.command, "-c", name)
		if n := len(lxcfsMounts(t, strconv.Itoa(c.PID))); n != tt.want {
			t.Errorf("%d mounts after %s, want %d", n, tt.command, tt.want)
		}
	}
}

// wiring is what hook-spec prints for an engine.
func (h *host) wiring(t *testing.T, engine string) string {
	t.Helper()
	return h.must(t, "hook-spec", engine).stdout
}

// hello is what containers of engines do: they show what their first process reads.
const hello = "head -n 1 /proc/meminfo; cat /proc/partitions /proc/uptime >/dev/null; exec sleep 1000"

const helloMemory = "MemTotal:          65536 kB"

// TestPodman starts a container of podman with a hooks folder.
func TestPodman(t *testing.T) {
	needEngine(t, "podman", "runc")
	h := newHost(t)
	ownLib(t)
	h.start(t)
	hooks := filepath.Join(h.dir, "hooks.d")
	if err := os.Mkdir(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hooks, "lxcfs.json"), []byte(h.wiring(t, "podman")), 0o600); err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		global := []string{"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--hooks-dir", hooks}
		r := runProgram(t, "", "podman", append(global, args...)...)
		if r.code != 0 {
			t.Fatalf("podman %q: %+v", args, r)
		}
		return r.stdout
	}
	podman("run", "--detach", "--name", "web", "--network", "none", "--cgroup-parent", parentCgroup(t), "--memory", "64m",
		"--rootfs", shared.rootfs, "/bin/sh", "-c", hello)
	t.Cleanup(func() { podman("rm", "--force", "--time", "0", "web") })
	waitFor(t, "the first process shows its memory", func() bool { return strings.HasPrefix(podman("logs", "web"), helloMemory) })
	checkEngine(t, h, "web", "podman")
	if text := podman("exec", "web", "head", "-n", "1", "/proc/meminfo"); text != helloMemory+"\n" {
		t.Errorf("another process reads %q", text)
	}
}

// docker is dockerd's API.
type docker struct{ client *http.Client }

func newDocker(socket string) docker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return docker{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}
}

func (d docker) call(method, path string, body io.Reader) (string, error) {
	request, err := http.NewRequest(method, "http://docker"+path, body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := d.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return string(text), err
}

func (d docker) must(t *testing.T, method, path string, body any) string {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := d.call(method, path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestDocker starts a container of dockerd, with nothing but what hook-spec prints in its configuration.
func TestDocker(t *testing.T) {
	needEngine(t, "dockerd", "containerd", "runc", "tar")
	h := newHost(t)
	ownLib(t)
	h.start(t)
	config := filepath.Join(h.dir, "daemon.json")
	if err := os.WriteFile(config, []byte(h.wiring(t, "docker")), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := startEngine(t, h.dir, "dockerd", "--config-file", config, "--iptables=false", "--ip-masq=false", "--bridge=none",
		"--storage-driver=vfs")
	d := newDocker("/run/docker.sock")
	waitFor(t, "dockerd answers", func() bool {
		_, err := d.call("GET", "/_ping", nil)
		return err == nil
	})
	image, err := exec.Command("tar", "-C", shared.rootfs, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.call("POST", "/images/create?fromSrc=-&repo=box", bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	d.must(t, "POST", "/containers/create?name=web", map[string]any{
		"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", hello},
		"HostConfig": map[string]any{"Memory": 64 * mib, "NetworkMode": "none", "CgroupParent": parentCgroup(t)},
	})
	t.Cleanup(func() { d.must(t, "DELETE", "/containers/web?force=true", nil) })
	d.must(t, "POST", "/containers/web/start", nil)
	waitFor(t, "the first process shows its memory", func() bool {
		return strings.HasPrefix(d.must(t, "GET", "/containers/web/logs?stdout=1&stderr=1", nil), helloMemory)
	})
	checkEngine(t, h, "web", "docker")
	// Started again, it has them again.
	d.must(t, "POST", "/containers/web/restart?t=0", nil)
	checkEngine(t, h, "web", "docker")

	// A daemon that does not answer is named, and holds nobody up.
	if err := daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer daemon.Signal(syscall.SIGCONT)
	started := time.Now()
	r := h.must(t, "remount", "--all")
	if took := time.Since(started); took > 10*time.Second || !strings.Contains(r.stderr, "docker") ||
		strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("with dockerd stopped: %+v after %v", r, took)
	}
}

// TestContainerd starts a task of containerd with the wrapper by the name that its configuration needs.
func TestContainerd(t *testing.T) {
	needEngine(t, "containerd", "ctr", "runc")
	h := newHost(t)
	ownLib(t)
	h.mountpoint = "/var/lib/lxc/lxcfs" // a name takes no arguments
	h.start(t)
	wrapper := filepath.Join(h.dir, "lxcfs-runc")
	if err := os.Symlink(shared.toolkit, wrapper); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(h.dir, "config.toml")
	if err := os.WriteFile(config, []byte(h.wiring(t, "containerd")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runProgram(t, "", "containerd", "--config", config, "config", "dump"); r.code != 0 ||
		!strings.Contains(r.stdout, `BinaryName = "`+filepath.Dir(shared.toolkit)+`/lxcfs-runc"`) {
		t.Errorf("containerd does not take the configuration: %+v", r)
	}
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startEngine(t, h.dir, "containerd", "--config", config)
	ctr := func(args ...string) (string, error) {
		out, err := exec.Command("timeout", append([]string{"60", "ctr"}, args...)...).CombinedOutput()
		return string(out), err
	}
	waitFor(t, "containerd answers", func() bool {
		_, err := ctr("version")
		return err == nil
	})
	if out, err := ctr("run", "--detach", "--runc-binary", wrapper, "--cgroup", parentCgroup(t)+"/web", "--rootfs", shared.rootfs,
		"web", "/bin/sh", "-c", hello); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		for _, args := range [][]string{{"task", "rm", "--force", "web"}, {"container", "rm", "web"}} {
			if out, err := ctr(args...); err != nil {
				t.Errorf("ctr %q: %v: %s", args, err, out)
			}
		}
	})
	checkEngine(t, h, "web", "containerd")
}
