//go:build integration

package remap

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

// stayScript is the script of containers whose files are looked at from outside.
const stayScript = `cat /proc/self/uid_map; stat -c '%n %u' / /bin/busybox /root/*; ` +
	`echo x >/root/made; echo more >>/etc/append; exec sleep 1000`

// imageTar returns an image of a root file system with a file that stayScript changes.
func imageTar(t *testing.T) []byte {
	t.Helper()
	dir := filepath.Join(openDir(t), "rootfs")
	newRootfs(t, dir)
	for _, file := range []string{"etc/append", "root/first"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("first\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := exec.Command("tar", "-C", dir, "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// owners returns the owners of files in an archive, by their paths.
func owners(t *testing.T, archive string) map[string]int {
	t.Helper()
	r, found := tar.NewReader(strings.NewReader(archive)), make(map[string]int)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(h.Name, "./")] = h.Uid
	}
}

// archiveOf returns an archive with one file that belongs to the host's root.
func archiveOf(t *testing.T, name string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o600}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

// layersDaemon is a dockerd with the wrapper as a runtime.
type layersDaemon struct {
	engine.Docker
	args    []string
	process *os.Process
}

func (d *layersDaemon) start(t *testing.T) {
	t.Helper()
	d.process = engine.Start(t, openDir(t), d.args[0], d.args[1:]...)
	engine.WaitFor(t, "dockerd to answer", func() bool {
		_, err := d.Call("GET", "/_ping", nil)
		return err == nil
	})
}

// stop ends dockerd with a signal.
func (d *layersDaemon) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := d.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if _, err := d.process.Wait(); err != nil {
		t.Fatal(err)
	}
	// Docker's containerd dies with it a moment later. The next dockerd would take it for a running one.
	if pid, err := os.ReadFile("/run/docker/containerd/containerd.pid"); err == nil {
		engine.WaitFor(t, "the end of Docker's containerd", func() bool {
			_, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// output returns what a container has printed since its last start.
func (d *layersDaemon) output(t *testing.T, name string) string {
	t.Helper()
	text := strings.ReplaceAll(d.Must(t, "GET", "/containers/"+name+"/logs?stdout=1&stderr=1", nil),
		"\r", "")
	return text[strings.LastIndex(text, "\n         0 ")+1:]
}

// waitFor waits until a container has printed a text since its last start. what begins with its
// name.
func (d *layersDaemon) waitFor(t *testing.T, what, want string) {
	t.Helper()
	name, _, _ := strings.Cut(what, " ")
	engine.WaitFor(t, fmt.Sprintf("output of %s: %s", what, want),
		func() bool { return d.output(t, name) == want })
}

// TestLayersDocker checks what Docker does with a container whose layers are idmapped: it sees the
// mount of the wrapper as its own.
func TestLayersDocker(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "tar")
	recent := filepath.Join(os.Getenv("PALISADE_ENGINES"), "dockerd")
	// Debian's runc has no time namespaces.
	const ownStore, noTime = "--feature=containerd-snapshotter=false", "--feature=time-namespaces=false"
	for _, tt := range []struct {
		name, dockerd string
		flags         []string
	}{
		{"overlay2", "/usr/sbin/dockerd", []string{"--storage-driver=overlay2"}},
		{"29 overlay2", recent, []string{"--ip6tables=false", "--storage-driver=overlay2", ownStore, noTime}},
		{"29 containerd", recent, []string{"--ip6tables=false", "--feature=containerd-snapshotter", noTime}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat(tt.dockerd); err != nil {
				t.Skip("PALISADE_ENGINES: no dockerd (make dockerd builds it)")
			}
			engine.OwnLib(t)
			runtimes := make(map[string]any)
			for name, first := range map[string]int{"one": firstID, "three": 3 * firstID} {
				remap := fmt.Sprintf("%d:%d:65535", first, first)
				args := []string{"runtime", "--runtime", "runc", "--user-remap", remap, "--"}
				runtimes[name] = map[string]any{"path": shared.shift, "runtimeArgs": args}
			}
			text, err := json.Marshal(map[string]any{"runtimes": runtimes, "live-restore": true})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(openDir(t), "daemon.json")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			d := &layersDaemon{Docker: engine.NewDocker("/run/docker.sock"), args: slices.Concat(
				[]string{tt.dockerd, "--config-file", file, "--iptables=false", "--ip-masq=false",
					"--bridge=none"}, tt.flags)}
			d.start(t)
			if _, err := d.Call("POST", "/images/create?fromSrc=-&repo=box",
				bytes.NewReader(imageTar(t))); err != nil {
				t.Fatal(err)
			}
			testLayersDocker(t, d)
		})
	}
}

func testLayersDocker(t *testing.T, d *layersDaemon) {
	create := func(name, image, runtime string) {
		t.Helper()
		d.Must(t, "POST", "/containers/create?name="+name, map[string]any{
			"Image": image, "Tty": true, "Cmd": []string{"/bin/sh", "-c", stayScript},
			"HostConfig": map[string]any{"NetworkMode": "none", "Runtime": runtime,
				"CgroupParent": engine.ParentCgroup(t)},
		})
		t.Cleanup(func() { d.Call("DELETE", "/containers/"+name+"?force=true", nil) }) // again
		d.Must(t, "POST", "/containers/"+name+"/start", nil)
	}
	greeting := func(first int, files ...string) string {
		text := fmt.Sprintf("%10d %10d %10d\n", 0, first, 65535)
		for _, file := range append([]string{"/", "/bin/busybox"}, files...) {
			text += file + " 0\n"
		}
		return text
	}
	create("web", "box", "one")
	create("mail", "box", "three") // at the same time, with the same layers
	d.waitFor(t, "mail", greeting(3*firstID, "/root/first"))
	d.waitFor(t, "web", greeting(firstID, "/root/first"))
	if _, err := d.Call("PUT", "/containers/web/archive?path=/root", archiveOf(t, "copied")); err != nil {
		t.Fatal(err)
	}
	// Docker sees the host's ids in all files.
	for what, archive := range map[string]string{
		"cp":     d.Must(t, "GET", "/containers/web/archive?path=/root", nil),
		"export": d.Must(t, "GET", "/containers/web/export", nil),
	} {
		found := owners(t, archive)
		for _, file := range []string{"root/first", "root/made"} {
			if uid, ok := found[file]; !ok || uid != firstID {
				t.Errorf("%s has %s of %d: %v", what, file, uid, found)
			}
		}
		if uid, ok := found["root/copied"]; !ok || uid != 0 {
			t.Errorf("%s has root/copied of %d: %v", what, uid, found)
		}
	}
	again := greeting(firstID, "/root/copied", "/root/first", "/root/made")
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"restart", func() { d.Must(t, "POST", "/containers/web/restart?t=0", nil) }},
		{"stop and start", func() {
			d.Must(t, "POST", "/containers/web/stop?t=0", nil)
			d.Must(t, "POST", "/containers/web/start", nil)
		}},
		{"a restart of the daemon", func() {
			d.stop(t, syscall.SIGTERM)
			d.start(t)
			d.Must(t, "GET", "/containers/web/archive?path=/root/made", nil)
			d.Must(t, "POST", "/containers/web/restart?t=0", nil)
		}},
		{"a crash of the daemon", func() {
			d.stop(t, syscall.SIGKILL)
			d.start(t)
			d.Must(t, "POST", "/containers/web/restart?t=0", nil)
		}},
		{"the death of the container", func() {
			d.Must(t, "POST", "/containers/web/kill", nil)
			engine.WaitFor(t, "the end of web", func() bool {
				return strings.Contains(d.Must(t, "GET", "/containers/web/json", nil), `"Running":false`)
			})
			d.Must(t, "POST", "/containers/web/start", nil)
		}},
	} {
		step.do()
		d.waitFor(t, "web after "+step.name, again)
	}
	d.waitFor(t, "mail", greeting(3*firstID, "/root/first"))
	var state struct{ State struct{ Pid int } }
	if err := json.Unmarshal([]byte(d.Must(t, "GET", "/containers/web/json", nil)), &state); err != nil {
		t.Fatal(err)
	}
	if uid := uidOf(t, state.State.Pid); uid != "100000" {
		t.Errorf("got uid %s of its init, want 100000", uid)
	}
	upper := upperOf(t, state.State.Pid)
	checkUpper(t, upper, firstID)

	// An image has the container's ids if the upper layer is unshifted before.
	d.Must(t, "POST", "/containers/web/stop?t=0", nil)
	var changes []struct{ Path string }
	if err := json.Unmarshal([]byte(d.Must(t, "GET", "/containers/web/changes", nil)),
		&changes); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(changes, func(c struct{ Path string }) bool { return c.Path == "/bin" }) {
		t.Errorf("unchanged files are in the diff: %+v", changes)
	}
	must(t, "unshift", "--keep-setid", upper)
	d.Must(t, "POST", "/commit?container=web&repo=snap", map[string]any{})
	create("snap", "snap", "one")
	d.waitFor(t, "snap", again)
	create("plain", "snap", "runc")
	plain := fmt.Sprintf("%10d %10d %10d\n", 0, 0, uint32(1<<32-1)) + again[strings.Index(again, "/ 0"):]
	d.waitFor(t, "plain", plain)
	for _, name := range []string{"web", "mail", "snap", "plain"} {
		d.Must(t, "DELETE", "/containers/"+name+"?force=true", nil)
	}
	if _, err := os.Stat(upper); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the upper layer of a removed container: %v", err)
	}
}

// upperOf returns the upper layer of a process's root file system.
func upperOf(t *testing.T, pid int) string {
	t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if _, rest, ok := strings.Cut(fields[3], ",upperdir="); ok && fields[1] == "/" {
			upper, _, _ := strings.Cut(rest, ",")
			return upper
		}
	}
	t.Fatalf("no overlay: %s", table)
	return ""
}

// TestLayersPodman checks Podman with the overlay driver, also with overlays that it mounts as
// volatile (--rm), and with a mount of its own that it keeps.
func TestLayersPodman(t *testing.T) {
	engine.Need(t, "podman", "runc", "tar")
	engine.OwnLib(t)
	wrapper := filepath.Join(openDir(t), "userns-shift-runc")
	if err := os.Symlink(shared.shift, wrapper); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(openDir(t), "image.tar")
	if err := os.WriteFile(image, imageTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		global := []string{"--runtime", wrapper, "--storage-driver", "overlay", "--cgroup-manager",
			"cgroupfs"}
		r := engine.Run(t, "", "podman", append(global, args...)...)
		if r.Code != 0 {
			t.Fatalf("podman %q: %+v", args, r)
		}
		return r.Stdout
	}
	podman("import", image, "box")
	run := func(args ...string) string {
		t.Helper()
		return podman(slices.Concat([]string{"run", "--network", "none", "--cgroup-parent",
			engine.ParentCgroup(t), "--annotation", "palisade.user-remap=" + remap100000}, args)...)
	}
	const list = "stat -c '%n %u' / /bin/busybox /root/*"
	const want = "/ 0\n/bin/busybox 0\n/root/first 0\n"
	if out := run("--rm", "box", "/bin/sh", "-c", list+"; rm -r /root/first"); out != want {
		t.Errorf("--rm: %q", out)
	}
	run("--detach", "--name", "web", "box", "/bin/sh", "-c", stayScript)
	t.Cleanup(func() { podman("rm", "--force", "--time", "0", "web") })
	engine.WaitFor(t, "a file", func() bool {
		return strings.Contains(podman("exec", "web", "ls", "/root"), "made")
	})
	again := want + "/root/made 0\n"
	merged := strings.TrimSpace(podman("mount", "web"))
	if uid := owner(t, filepath.Join(merged, "root/made")); uid != firstID {
		t.Errorf("podman mount: root/made belongs to %d", uid)
	}
	podman("restart", "--time", "0", "web") // while the mount is kept
	if out := podman("exec", "web", "/bin/sh", "-c", list); out != again {
		t.Errorf("restart: %q", out)
	}
	podman("umount", "web")
	podman("cp", image, "web:/root/copied")
	podman("stop", "--time", "0", "web")
	upper := strings.TrimSpace(podman("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", "web"))
	checkOwner := func(file string, want int) {
		t.Helper()
		if uid := owner(t, filepath.Join(upper, file)); uid != want {
			t.Errorf("%s belongs to %d, want %d", file, uid, want)
		}
	}
	checkOwner("root/made", firstID)
	checkOwner("root/copied", 0)
	podman("start", "web")
	checkOwner("root/copied", firstID)
	podman("stop", "--time", "0", "web")
	if status := must(t, "status", upper).Stdout; status != "shifted "+remap100000+"\n" {
		t.Errorf("status of the upper layer: %s", status)
	}
	must(t, "unshift", upper)
	podman("commit", "web", "snap")
	again = want + "/root/made 0\n"
	if out := run("--rm", "snap", "/bin/sh", "-c", list); !strings.HasPrefix(out, "/ 0\n") ||
		!strings.Contains(out, "/root/copied 0\n") || !strings.HasSuffix(out, "/root/made 0\n") {
		t.Errorf("an image of the container: %q", out)
	}
}
