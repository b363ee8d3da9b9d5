//go:build integration

package packages

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// TestSystemd installs, starts, kills, upgrades, restarts, stops and removes the packages under a real systemd, while a container reads.
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "packages")
	for name, from := range map[string]string{"first": shared.first, "later": shared.later} {
		for _, path := range files(t, from, "*.deb", 4) {
			write(t, filepath.Join(data, name, filepath.Base(path)), read(t, path), 0o644)
		}
	}
	session := strings.NewReplacer("FIRST", version, "LATER", laterVersion).Replace(read(t, "testdata/session.sh"))
	write(t, filepath.Join(data, "session.sh"), session, 0o755)
	writeBundle(t, filepath.Join(data, "bundle"))
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	boot, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command("sh", "-c", `for dir; do [ "$dir" = -- ] && break; echo $$ >"$dir/cgroup.procs"; done
while [ "$1" != -- ]; do shift; done; shift; exec unshare --cgroup --mount --ipc --uts --pid --fork --kill-child sh "$@"`, "sh")
	cmd.Args = append(append(cmd.Args, ownCgroups(t)...), "--", boot, root, data)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }() // it is killed
	defer func() {
		cmd.Process.Kill()
		<-ended
	}()
	// The root is mounted where systemd is.
	inside := func(name string) string { return filepath.Join("/proc", child(cmd.Process.Pid), "root", name) }
	out := func() string { text, _ := os.ReadFile(inside("out")); return string(text) } // there is none at first
	deadline := time.Now().Add(time.Minute)
	asked := false
	for !strings.Contains(out(), "DONE") {
		if _, err := os.Stat(inside("upgraded")); err == nil && !asked {
			asked = true
			checkBroker(t, inside("run/docker/plugins/authz-broker.sock"))
			write(t, inside("asked"), "", 0o644)
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if text := out(); !strings.Contains(text, "DONE") || strings.Contains(text, "FAILED") || !asked {
		t.Errorf("the session: %s\nsystemd: %s", text, log.String())
	}
}

// child is the only child of a process, as a name in /proc.
func child(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil || len(text) == 0 {
		return "none"
	}
	return strings.Fields(string(text))[0]
}

// writeBundle makes a container that reads in a loop, and notes how often, and what was not its own.
func writeBundle(t *testing.T, dir string) {
	t.Helper()
	if err := ctr.NewRootfs(t.Context(), filepath.Join(dir, "rootfs")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "runc", "spec", "--bundle", dir)
	var spec specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "config.json"))), &spec); err != nil {
		t.Fatal(err)
	}
	limit := int64(64 << 20)
	spec.Process.Terminal, spec.Root.Readonly = false, false
	spec.Process.Args = []string{"/bin/busybox", "sh", "-c", `n=0; while :; do
while [ -e /tmp/pause ]; do echo >/tmp/paused; /bin/busybox sleep 0.1; done
read -r key size unit </proc/meminfo
[ "$size" = 65536 ] || echo "$key $size" >>/tmp/bad; n=$((n + 1)); echo $n >/tmp/new; /bin/busybox mv /tmp/new /tmp/count; done`}
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/usr/bin/lxcfs-toolkit", Args: []string{"lxcfs-toolkit", "hook", "--strict"}}}}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.json"), string(text), 0o644)
	write(t, filepath.Join(dir, "rootfs/tmp/count"), "0\n", 0o644)
}

// ownCgroups makes a cgroup in each hierarchy, for a systemd that takes it for all there is.
func ownCgroups(t *testing.T) (dirs []string) {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		fields := strings.Fields(line)
		_, kind, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(kind, "cgroup") {
			continue
		}
		dir := filepath.Join(fields[4], "palisade-systemd")
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 lets nobody in before
			if text, err := os.ReadFile(filepath.Join(fields[4], name)); err == nil {
				write(t, filepath.Join(dir, name), string(text), 0o644)
			}
		}
		dirs = append(dirs, dir)
	}
	t.Cleanup(func() {
		for _, dir := range dirs {
			engine.WaitFor(t, dir+" is empty", func() bool { removeTree(dir); _, err := os.Stat(dir); return err != nil })
		}
	})
	return dirs
}

// removeTree removes cgroups, the innermost first, as far as nobody is in them.
func removeTree(dir string) {
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // they may go by themselves
		if err == nil && entry.IsDir() && path != dir {
			removeTree(path)
			return fs.SkipDir
		}
		return nil
	})
	syscall.Rmdir(dir) // it is tried again
}

// checkBroker asks the broker of the package, with its policies unchanged, as dockerd does.
func checkBroker(t *testing.T, socket string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	for question, want := range map[string]string{
		`{"RequestMethod":"GET","RequestUri":"/info"}`:                                          `{"Allow":true}`,
		`{"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/info"}`:   `"Allow":false`,
		`{"User":"root","UserAuthNMethod":"TLS","RequestMethod":"GET","RequestUri":"/version"}`: `"Allow":false`,
	} {
		r, err := client.Post("http://broker/AuthZPlugin.AuthZReq", "", strings.NewReader(question))
		if err != nil {
			t.Errorf("%s: %v", question, err)
			continue
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, %v, want %s", question, text, err, want)
		}
	}
}
