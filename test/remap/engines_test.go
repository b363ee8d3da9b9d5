//go:build integration

package remap

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/engine"
)

// greetScript is the script of containers of engines: they print their ids, write a file, and wait.
const greetScript = `cat /proc/self/uid_map; stat -c %u / /bin/busybox; ` +
	`echo x >/root/made && stat -c %u /root/made; exec sleep 1000`

const greetOutput = "         0     100000      65535\n0\n0\n0\n"

// tarOf returns a root file system as an image.
func tarOf(t *testing.T) []byte {
	t.Helper()
	dir := filepath.Join(openDir(t), "rootfs")
	newRootfs(t, dir)
	image, err := exec.Command("tar", "-C", dir, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// podmanWith returns a function that runs podman with options.
func podmanWith(t *testing.T, global ...string) func(args ...string) engine.Ran {
	global = append([]string{"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}, global...)
	return func(args ...string) engine.Ran {
		t.Helper()
		return engine.Run(t, "", "podman", append(global, args...)...)
	}
}

// podmanWay is a way to make podman call userns-shift.
type podmanWay struct {
	name   string
	global []string
	shifts bool // whether the owners on the disk change
}

// podmanWays returns podman's configuration from hook-spec, and the wrapper.
func podmanWays(t *testing.T) []podmanWay {
	t.Helper()
	dir := openDir(t)
	hooks := filepath.Join(dir, "hooks.d")
	if err := os.Mkdir(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	text := must(t, "hook-spec", "--path", shared.shift, "podman").Stdout
	if err := os.WriteFile(filepath.Join(hooks, "userns.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(dir, "userns-shift-runc")
	if err := os.Symlink(shared.shift, wrapper); err != nil {
		t.Fatal(err)
	}
	return []podmanWay{
		{"precreate", []string{"--runtime", "runc", "--hooks-dir", hooks}, true},
		{"wrapper", []string{"--runtime", wrapper, "--hooks-dir", dir}, false},
	}
}

// rootfs returns a new root file system, in a closed directory for an idmapped mount.
func (w *podmanWay) rootfs(t *testing.T) string {
	t.Helper()
	rootfs := filepath.Join(openDir(t), "rootfs")
	newRootfs(t, rootfs)
	if !w.shifts {
		closeDir(t, filepath.Dir(rootfs))
	}
	return rootfs
}

// TestPodman checks containers with podman's configuration from hook-spec, and with the wrapper.
func TestPodman(t *testing.T) {
	engine.Need(t, "podman", "runc", "tar")
	engine.OwnLib(t)
	for _, tt := range podmanWays(t) {
		t.Run(tt.name, func(t *testing.T) {
			podman, rootfs := podmanWith(t, tt.global...), tt.rootfs(t)
			run := func(name string, args ...string) engine.Ran {
				args = append([]string{"run", "--detach", "--name", name, "--network", "none",
					"--cgroup-parent", engine.ParentCgroup(t)}, args...)
				t.Cleanup(func() { podman("rm", "--force", "--time", "0", name) })
				return podman(append(args, "--rootfs", rootfs, "/bin/sh", "-c", greetScript)...)
			}
			if r := run("plain"); r.Code != 0 {
				t.Fatalf("without annotation: %+v", r)
			}
			engine.WaitFor(t, "output without a user namespace", func() bool {
				return strings.HasPrefix(podman("logs", "plain").Stdout,
					"         0          0 4294967295\n0\n0\n0\n")
			})
			checkOwners(t, rootfs, 0)
			podman("rm", "--force", "--time", "0", "plain")

			if r := run("web", "--annotation", "palisade.user-remap="+remap100000); r.Code != 0 {
				t.Fatalf("with annotation: %+v", r)
			}
			engine.WaitFor(t, "output with a user namespace",
				func() bool { return podman("logs", "web").Stdout == greetOutput })
			if r := podman("exec", "web", "id", "-u"); r.Stdout != "0\n" {
				t.Errorf("exec: %+v", r)
			}
			disk := 0
			if tt.shifts {
				disk = firstID
			}
			if uid := owner(t, filepath.Join(rootfs, "root/made")); uid != disk {
				t.Errorf("its new file belongs to %d on the disk, want %d", uid, disk)
			}
			if r := podman("restart", "--time", "0", "web"); r.Code != 0 {
				t.Errorf("restart: %+v", r)
			}
			engine.WaitFor(t, "output after a restart",
				func() bool { return podman("logs", "web").Stdout == greetOutput+greetOutput })

			r := run("bad", "--annotation", "palisade.user-remap=1:2:3:4")
			want := `user remap "1:2:3:4" has 4 fields`
			if tt.shifts {
				want = "precreate" // podman does not show the message of such a hook
			}
			if r.Code == 0 || !strings.Contains(r.Stderr, want) {
				t.Errorf("with an invalid annotation: %+v", r)
			}
		})
	}
}

// startDockerd starts dockerd with options, the configuration of hook-spec and the image box until
// the test ends. spec are options of hook-spec.
func startDockerd(t *testing.T, image []byte, options []string, spec ...string) engine.Docker {
	t.Helper()
	engine.OwnLib(t)
	dir := openDir(t)
	var config map[string]any
	args := append([]string{"hook-spec", "--path", shared.shift, "--user-remap", remap100000}, spec...)
	text := must(t, append(args, "docker")...).Stdout
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "daemon.json")
	changed, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(file, changed, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	engine.Start(t, dir, "dockerd", append([]string{"--config-file", file, "--iptables=false",
		"--ip-masq=false", "--bridge=none"}, options...)...)
	d := engine.NewDocker("/run/docker.sock")
	engine.WaitFor(t, "dockerd to answer", func() bool {
		_, err := d.Call("GET", "/_ping", nil)
		return err == nil
	})
	_, err = d.Call("POST", "/images/create?fromSrc=-&repo=box", bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocker checks containers with dockerd's configuration from hook-spec: on directories, and on
// overlays, whose layers are idmapped.
func TestDocker(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "tar")
	image := tarOf(t)
	for _, driver := range []string{"vfs", "overlay2"} {
		t.Run(driver, func(t *testing.T) {
			d := startDockerd(t, image, []string{"--storage-driver", driver})
			create := func(name, user string) {
				parent := engine.ParentCgroup(t)
				d.Must(t, "POST", "/containers/create?name="+name, map[string]any{
					"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", greetScript}, "User": user,
					"HostConfig": map[string]any{"NetworkMode": "none", "CgroupParent": parent},
				})
				t.Cleanup(func() { d.Must(t, "DELETE", "/containers/"+name+"?force=true", nil) })
			}
			create("web", "0")
			for _, call := range []string{"start", "restart?t=0"} {
				d.Must(t, "POST", "/containers/web/"+call, nil)
				engine.WaitFor(t, "output with a user namespace after "+call, func() bool {
					text := strings.ReplaceAll(d.Must(t, "GET", "/containers/web/logs?stdout=1&stderr=1", nil),
						"\r", "")
					return strings.HasSuffix(text, greetOutput)
				})
			}
			var state struct{ State struct{ Pid int } }
			if err := json.Unmarshal([]byte(d.Must(t, "GET", "/containers/web/json", nil)),
				&state); err != nil {
				t.Fatal(err)
			}
			if uid := uidOf(t, state.State.Pid); uid != "100000" {
				t.Errorf("got uid %s of its init, want 100000", uid)
			}
			// The client gets the wrapper's message.
			create("bad", "70000")
			if _, err := d.Call("POST", "/containers/bad/start", nil); err == nil ||
				!strings.Contains(err.Error(), "uid 70000 of the container's process is not mapped") {
				t.Errorf("with an unmapped user: %v", err)
			}
		})
	}
}

// TestContainerd checks a task with the wrapper by its other name: containerd's configuration has
// no arguments.
func TestContainerd(t *testing.T) {
	engine.Need(t, "containerd", "ctr", "runc")
	engine.OwnLib(t)
	dir := openDir(t)
	wrapper := filepath.Join(dir, "userns-shift-runc")
	if err := os.Symlink(shared.shift, wrapper); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.toml")
	text := must(t, "hook-spec", "--path", filepath.Join(dir, "userns-shift"), "containerd").Stdout
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := engine.Run(t, "", "containerd", "--config", config, "config", "dump"); r.Code != 0 ||
		!strings.Contains(r.Stdout, `BinaryName = "`+wrapper+`"`) {
		t.Errorf("containerd does not accept the configuration: %+v", r)
	}
	if err := os.WriteFile(config,
		[]byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	engine.Start(t, dir, "containerd", "--config", config)
	ctr := func(args ...string) engine.Ran { return engine.Run(t, "", "ctr", args...) }
	engine.WaitFor(t, "containerd to answer", func() bool { return ctr("version").Code == 0 })
	rootfs := filepath.Join(t.TempDir(), "closed/rootfs")
	newRootfs(t, rootfs)
	closeDir(t, filepath.Dir(rootfs))
	r := ctr("run", "--rm", "--runc-binary", wrapper, "--annotation",
		"palisade.user-remap="+remap100000, "--cgroup", engine.ParentCgroup(t)+"/web",
		"--rootfs", rootfs, "web", "/bin/sh", "-c", inspectScript)
	if r.Code != 0 || r.Stdout != inspectOutput {
		t.Errorf("%+v", r)
	}
	checkOwners(t, rootfs, 0)
}
