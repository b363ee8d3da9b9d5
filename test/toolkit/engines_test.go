//go:build integration

package toolkit

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/internal/oci/wiring"
	"palisade/test/engine"
)

// listed is a container in the output of list.
type listed struct {
	ID, Engine  string
	Names       []string
	PID         int
	Alive, Dead []string
}

func (h *host) listed(t *testing.T, name string) listed {
	t.Helper()
	var list struct{ Containers []listed }
	text := h.must(t, "list", "--json").Stdout
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Containers {
		if slices.Contains(c.Names, name) || c.ID == name {
			return c
		}
	}
	t.Fatalf("%s is not listed: %s", name, text)
	return listed{}
}

// checkEngine checks that a container is listed with its name and engine, and that umount and
// remount accept its name.
func checkEngine(t *testing.T, h *host, name, engine string) {
	t.Helper()
	c := h.listed(t, name)
	served := len(h.served(t))
	if c.Engine != engine || len(c.Alive) != served {
		t.Errorf("got %+v, want engine %s and %d files", c, engine, served)
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

// wiring returns the output of hook-spec for an engine.
func (h *host) wiring(t *testing.T, engine string) string {
	t.Helper()
	return h.must(t, "hook-spec", engine).Stdout
}

// hello is the script of containers: it prints the first line of meminfo at once.
const hello = "head -n 1 /proc/meminfo; cat /proc/partitions /proc/uptime >/dev/null; exec sleep 1000"

const helloMemory = "MemTotal:          65536 kB"

// TestPodman checks a container of podman that is configured only by the file in the documented
// directory.
func TestPodman(t *testing.T) {
	engine.Need(t, "podman", "runc")
	h := newHost(t)
	engine.OwnLib(t)
	engine.OwnCopy(t, "/usr/share/containers")
	h.start(t)
	if err := os.MkdirAll(wiring.DefaultHooksDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(wiring.DefaultHooksDir, "lxcfs.json"), []byte(h.wiring(t, "podman")), 0o600); err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		global := []string{"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}
		r := engine.Run(t, "", "podman", append(global, args...)...)
		if r.Code != 0 {
			t.Fatalf("podman %q: %+v", args, r)
		}
		return r.Stdout
	}
	podman("run", "--detach", "--name", "web", "--network", "none", "--cgroup-parent", engine.ParentCgroup(t), "--memory", "64m",
		"--rootfs", shared.rootfs, "/bin/sh", "-c", hello)
	t.Cleanup(func() { podman("rm", "--force", "--time", "0", "web") })
	engine.WaitFor(t, "output of the init", func() bool { return strings.HasPrefix(podman("logs", "web"), helloMemory) })
	checkEngine(t, h, "web", "podman")
	if text := podman("exec", "web", "head", "-n", "1", "/proc/meminfo"); text != helloMemory+"\n" {
		t.Errorf("exec reads %q, want %q", text, helloMemory)
	}
}

// startDocker starts dockerd with a configuration, options and the image box.
func (h *host) startDocker(
	t *testing.T, config []byte, options ...string,
) (engine.Docker, *os.Process) {
	t.Helper()
	file := filepath.Join(h.dir, "daemon.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := engine.Start(t, h.dir, "dockerd", append([]string{"--config-file", file, "--iptables=false",
		"--ip-masq=false", "--bridge=none"}, options...)...)
	d := engine.NewDocker("/run/docker.sock")
	engine.WaitFor(t, "dockerd to answer", func() bool {
		_, err := d.Call("GET", "/_ping", nil)
		return err == nil
	})
	image, err := exec.Command("tar", "-C", shared.rootfs, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Call("POST", "/images/create?fromSrc=-&repo=box", bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	return d, daemon
}

// TestDocker checks a container of dockerd that is configured only by the output of hook-spec.
func TestDocker(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "tar")
	h := newHost(t)
	engine.OwnLib(t)
	h.start(t)
	d, daemon := h.startDocker(t, h.addTimed(t, h.wiring(t, "docker")), "--storage-driver=vfs")
	d.Must(t, "POST", "/containers/create?name=web", map[string]any{
		"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", hello},
		"HostConfig": map[string]any{"Memory": 64 * mib, "NetworkMode": "none", "CgroupParent": engine.ParentCgroup(t)},
	})
	t.Cleanup(func() { d.Must(t, "DELETE", "/containers/web?force=true", nil) })
	d.Must(t, "POST", "/containers/web/start", nil)
	engine.WaitFor(t, "output of the init", func() bool {
		return strings.HasPrefix(d.Must(t, "GET", "/containers/web/logs?stdout=1&stderr=1", nil), helloMemory)
	})
	checkEngine(t, h, "web", "docker")
	d.Must(t, "POST", "/containers/web/restart?t=0", nil)
	checkEngine(t, h, "web", "docker")
	checkTimed(t, d)

	// A daemon that does not answer is reported, and does not delay commands.
	if err := daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer daemon.Signal(syscall.SIGCONT)
	started := time.Now()
	r := h.must(t, "remount", "--all")
	if took := time.Since(started); took > 10*time.Second || !strings.Contains(r.Stderr, "docker") ||
		strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("with dockerd stopped: %+v after %v", r, took)
	}
}

// addTimed adds to Docker's configuration the runtime timed, whose containers have the view of time.
func (h *host) addTimed(t *testing.T, config string) []byte {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(config), &all); err != nil {
		t.Fatal(err)
	}
	o := h.timeView(t, "runc")
	all["runtimes"].(map[string]any)["timed"] = map[string]any{
		"path": o.Wrapper[0], "runtimeArgs": o.Wrapper[1:],
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkTimed starts a container of the runtime timed twice: its clock begins with each start.
func checkTimed(t *testing.T, d engine.Docker) {
	t.Helper()
	d.Must(t, "POST", "/containers/create?name=timed", map[string]any{
		"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", showClocks + "; sleep 1000000"},
		"HostConfig": map[string]any{"Runtime": "timed", "NetworkMode": "none", "CgroupParent": engine.ParentCgroup(t)},
	})
	t.Cleanup(func() { d.Must(t, "DELETE", "/containers/timed?force=true", nil) })
	var before []string
	for _, action := range []string{"start", "restart?t=0"} {
		began := time.Now()
		d.Must(t, "POST", "/containers/timed/"+action, nil)
		var shown []string
		engine.WaitFor(t, "the clocks of the container", func() bool {
			shown = strings.Fields(d.Must(t, "GET", "/containers/timed/logs?stdout=1", nil))
			return len(shown) == len(before)+4
		})
		parseClocks(t, strings.Join(shown[len(before):], "\n")).check(t, action, began)
		before = shown
	}
}

// startContainerd starts containerd, and returns a function that runs ctr.
func (h *host) startContainerd(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	config := filepath.Join(h.dir, "containerd.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	engine.Start(t, h.dir, "containerd", "--config", config)
	ctr := func(args ...string) (string, error) {
		out, err := exec.Command("timeout", append([]string{"60", "ctr"}, args...)...).CombinedOutput()
		return string(out), err
	}
	engine.WaitFor(t, "containerd to answer", func() bool {
		_, err := ctr("version")
		return err == nil
	})
	return ctr
}

// TestContainerd checks a task of containerd with the wrapper by its other name.
func TestContainerd(t *testing.T) {
	engine.Need(t, "containerd", "ctr", "runc")
	h := newHost(t)
	engine.OwnLib(t)
	h.mountpoint = "/var/lib/lxc/lxcfs" // the default, as the configuration has no arguments
	h.start(t)
	wrapper := filepath.Join(h.dir, "lxcfs-runc")
	if err := os.Symlink(shared.toolkit, wrapper); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(h.dir, "config.toml")
	if err := os.WriteFile(config, []byte(h.wiring(t, "containerd")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := engine.Run(t, "", "containerd", "--config", config, "config", "dump"); r.Code != 0 ||
		!strings.Contains(r.Stdout, `BinaryName = "`+filepath.Dir(shared.toolkit)+`/lxcfs-runc"`) {
		t.Errorf("containerd does not accept the configuration: %+v", r)
	}
	ctr := h.startContainerd(t)
	if out, err := ctr("run", "--detach", "--runc-binary", wrapper, "--cgroup", engine.ParentCgroup(t)+"/web", "--rootfs", shared.rootfs,
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
